"""A finished registration to be judged, without a window: what is flagged, and the judgement."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from napari_plugin.kept import Patient
from napari_plugin.levels import Source, Tiles
from napari_plugin.overlay import warped_tiles
from napari_plugin.review.patches import Patch, read_patches, recorded_beside
from napari_plugin.review.places import Flag, around, corners
from napari_plugin.review.rescued import Said, keep, kept
from napari_plugin.views import XY
from registration.errors import RunError, SlideError
from registration.files.words import reason
from registration.geometry import Box, Points, axis_positions, mesh
from registration.nonrigid.grid import BlockGrid
from registration.pair import SlidePair
from registration.patch_reasons import REASON_WORDS
from registration.quality.seams import border_jumps
from registration.quality.verdict import LARGE_RESIDUAL_UM
from registration.residual_map import ResidualMap
from registration.result import (
    RECORD_NAME,
    Judgement,
    Registration,
    RejectedArea,
    ReviewNotes,
    read_record,
    write_review,
)
from registration.slides.slide import open_slide
from registration.transforms import jacobian_determinant

JUDGEMENTS: tuple[Judgement, ...] = get_args(Judgement)
CASE_RUN = "registration"
"""The run folder in the folder of each case of a cohort."""
MAP_NODES = 256
LEAST_VIEW_UM = 100.0
MOST_FLAGS = 200


@dataclass(frozen=True, eq=False)
class FieldMap:
    """A quantity over the fixed slide, ``(rows, columns)`` float32 of a level with ``downsample``."""

    values: NDArray[np.float32]
    downsample: float


@dataclass(frozen=True, eq=False)
class PlaceMap:
    """A quantity at ``N`` level-0 points of the fixed slide."""

    points: Points
    values: NDArray[np.float64]


class Review:
    """An open run folder."""

    def __init__(self, registration: Registration, pair: SlidePair) -> None:
        self.registration = registration
        self.pair = pair
        self.judgement = registration.review
        self.notes = registration.notes
        self.is_saved = True
        """Whether judgement and notes are in the run."""
        self._seen = _said(registration.folder)
        self._disk = Patient()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a run folder. Raises :class:`RunError` or :class:`SlideError` with the remedy."""
        registration = Registration.load(folder)
        return cls(registration, registration.open_pair())

    @property
    def headline(self) -> str:
        """The verdict and its reasons, in one line."""
        found = self.registration
        return f"{found.verdict}: {'; '.join(found.reasons)}"

    @cached_property
    def fixed_source(self) -> Source:
        """The slide that kept its pixels."""
        return Tiles.of_slide(self.pair.fixed_slide)

    @cached_property
    def moved_source(self) -> Source:
        """The other slide in its frame: as it was written, or warped anew when looked at."""
        found, size = self.registration, self.pair.fixed_slide.size
        path = None if found.image is None else found.folder / found.image
        if path is not None and path.is_file():
            try:
                return Tiles.of_slide(open_slide(path, self.pair.fixed_slide.mpp))
            except SlideError:
                pass  # a registered slide that cannot be read is warped anew
        return warped_tiles(self.pair.moving_slide, found.chain, size)

    @cached_property
    def displacement_um(self) -> FieldMap:
        """How far the non-rigid part moves tissue."""
        shift, step = self._shift
        length = np.hypot(shift[..., 0], shift[..., 1]) * self.pair.fixed_slide.mpp
        return FieldMap(length.astype(np.float32), step)

    @cached_property
    def folding(self) -> FieldMap:
        """Change of area by the non-rigid part: 1 keeps it, 0 and less is folded tissue."""
        shift, step = self._shift
        return FieldMap(jacobian_determinant(shift, step).astype(np.float32), step)

    @cached_property
    def seam_px(self) -> PlaceMap:
        """How far the field jumps along the borders of blocks."""
        points, values = [np.zeros((0, 2))], [np.zeros(0)]
        for border in border_jumps(self.registration.chain.steps[0], self._grid):
            across = np.full(len(border.along), border.position - 0.5)
            pair = (across, border.along) if border.vertical else (border.along, across)
            points.append(np.stack(pair, axis=1))
            values.append(border.jump_px)
        return PlaceMap(np.concatenate(points), np.concatenate(values))

    @cached_property
    def residual_um(self) -> PlaceMap:
        """The shift that is left wherever it could be measured."""
        found = self._residual
        if found is None:
            return PlaceMap(np.zeros((0, 2)), np.zeros(0))
        return PlaceMap(found.points[found.matched], np.hypot(*self._shifts_um.T))

    @property
    def residual_px(self) -> NDArray[np.float64]:
        """The same as ``(N, 2)`` level-0 pixels: where from its place the other slide shows it."""
        return self._shifts_um / self.pair.fixed_slide.mpp

    @property
    def _shifts_um(self) -> NDArray[np.float64]:
        """The shift at each of these places, ``(N, 2)``."""
        found = self._residual
        return np.zeros((0, 2)) if found is None else found.shift_um[found.matched]

    @property
    def block_flags(self) -> list[Flag]:
        """Blocks that were not registered, with the reason; blank ones need no look."""
        return [
            Flag(
                "block", block.name, Box(block.x, block.y, block.width, block.height), block.reason
            )
            for block in self.registration.blocks
            if block.status == "fallback"
        ]

    @property
    def place_flags(self) -> list[Flag]:
        """Places where a large shift is left, the largest first."""
        places, mpp = self.residual_um, self.pair.fixed_slide.mpp
        shifts = self.residual_px
        order = [i for i in np.argsort(-places.values) if places.values[i] > LARGE_RESIDUAL_UM]
        # So much is shown around a place that both ends of its shift are seen.
        return [
            Flag(
                "place",
                f"shift {number + 1}",
                around(
                    places.points[index], round(max(LEAST_VIEW_UM, 3 * places.values[index]) / mpp)
                ),
                f"{places.values[index]:.0f} µm are left",
                (float(shifts[index, 0]), float(shifts[index, 1])),
            )
            for number, index in enumerate(order[:MOST_FLAGS])
        ]

    @property
    def patch_record(self) -> Path | None:
        """Where ``bci-pipeline run`` keeps the patches that were cut from this run."""
        return recorded_beside(self.registration.folder)

    def patches(self, place: Path) -> list[Patch]:
        """Return this registration's patches in a dataset or a case folder; see read_patches."""
        return read_patches(self.registration, place)

    def patch_flags(self, patches: Iterable[Patch]) -> list[Flag]:
        """Rejected patches that are not merely blank, the largest shift first."""
        flagged = [one for one in patches if not one.kept and "blank" not in one.reason]
        flagged.sort(key=lambda one: -np.nan_to_num(one.shift_um, nan=-1.0))
        return [
            Flag("patch", one.name, one.box, REASON_WORDS.get(one.reason, one.reason))
            for one in flagged[:MOST_FLAGS]
        ]

    def he_at(self, xy: XY) -> XY | None:
        """Return where the H&E slide shows a level-0 place of the fixed slide; ``None`` where nowhere."""
        found = self.registration
        x, y = found.chain([xy])[0] if found.moving == "he" else xy
        return (float(x), float(y)) if np.isfinite([x, y]).all() else None

    def judge(self, judgement: Judgement | None) -> None:
        """Write a person's judgement into the run. Raises :class:`RunError`."""
        self._write(judgement, self.notes)

    def say(self, comment: str, initials: str) -> None:
        """Write a comment and who made it into the run. Raises :class:`RunError`."""
        self._write(self.judgement, replace(self.notes, comment=comment, initials=initials))

    def reject_area(self, name: str, *outlines: Points) -> None:
        """Reject an area of the fixed slide, ``(N, 2)`` level-0 pixels each: its patches are dropped.

        Raises :class:`RunError`.
        """
        rings = (tuple((float(x), float(y)) for x, y in outline) for outline in outlines)
        areas = (*self.notes.rejected, *(RejectedArea(name, ring) for ring in rings))
        self._write(self.judgement, replace(self.notes, rejected=areas))

    def reject_flag(self, flag: Flag) -> None:
        """Reject a flagged place, block or patch."""
        self.reject_area(f"{flag.kind} {flag.name}", corners(flag.box))

    @cached_property
    def parts(self) -> dict[str, tuple[Points, ...]]:
        """Outlines of the pieces of tissue and of the blocks, by their names, to be rejected whole."""
        found, pieces = self.registration, self.registration.pieces
        outlines = {
            f"piece {piece.number}": tuple(np.array(ring) for ring in piece.fixed_outlines)
            for piece in pieces
            if piece.fixed_outlines
        }
        return outlines | {
            f"block {b.name}": (corners(Box(b.x, b.y, b.width, b.height)),) for b in found.blocks
        }

    def reject_part(self, name: str) -> None:
        """Reject a piece of tissue or a block. Raises :class:`RunError` where there is none such."""
        if name not in self.parts:
            raise RunError(f"this registration has no {name}")
        self.reject_area(name, *self.parts[name])

    @cached_property
    def stains(self) -> list[Path]:
        """The run folders of this H&E slide with its stains, this one among them, by their names."""
        own, he = self.registration.folder.resolve(), self.registration.he.hash
        beside = own.parent.glob(f"*/{RECORD_NAME}")
        of_cases: Iterable[Path] = ()
        if own.name == CASE_RUN:
            of_cases = own.parent.parent.glob(f"*/{own.name}/{RECORD_NAME}")
        found = {own}
        for path in (*beside, *of_cases):
            with suppress(RunError, OSError):
                if he.encode() not in path.read_bytes():
                    continue
                if read_record(path.parent)["inputs"]["he"]["hash"] == he:
                    found.add(path.parent.resolve())
        return sorted(found)

    def take_back(self, name: str) -> None:
        """Let areas of a name into the dataset again. Raises :class:`RunError`."""
        areas = tuple(area for area in self.notes.rejected if area.name != name)
        self._write(self.judgement, replace(self.notes, rejected=areas))

    @property
    def rejected_names(self) -> tuple[str, ...]:
        """The areas that were rejected, each once."""
        return tuple(dict.fromkeys(area.name for area in self.notes.rejected))

    @property
    def new_area(self) -> str:
        """A name that no rejected area has yet."""
        used = [name.split() for name in self.rejected_names]
        numbers = [int(words[1]) for words in used if words[0] == "area" and words[1].isdecimal()]
        return f"area {1 + max(numbers, default=0)}"

    def _write(
        self, judgement: Judgement | None, notes: ReviewNotes, *, last: bool = False
    ) -> None:
        """Keep judgement and notes, also where the run cannot take them now."""
        self.judgement, self.notes, self.is_saved = judgement, notes, False
        try:
            self._disk.do(partial(self._enter, judgement, notes), last=last)
        except OSError as error:
            raise RunError(
                f"Not saved, the judgement could not be written: {reason(error)}"
            ) from error
        self.is_saved = True

    def _enter(self, judgement: Judgement | None, notes: ReviewNotes) -> None:
        """Write them into the run, if nobody else said something of it meanwhile."""
        folder = self.registration.folder
        if _said(folder) != self._seen:
            raise RunError(
                f"Not saved: {folder} was judged or registered anew meanwhile, and stays as it is. "
                "Open it again to see that."
            )
        write_review(folder, judgement, notes)
        self._seen = _said(folder)

    def came_back(self) -> bool:
        """Tell once that a drive which did not answer answers now."""
        return self._disk.came_back()

    def write_again(self) -> None:
        """Write what could not be written. Raises :class:`RunError`."""
        self._write(self.judgement, self.notes)

    def close(self) -> str:
        """Release the slides, and write what the run did not take into a file elsewhere.

        Returns where that is, in words, or nothing.
        """
        self.pair.he.close()
        self.pair.ihc.close()
        if not self.is_saved:
            with suppress(RunError):
                self._write(self.judgement, self.notes, last=True)
        if self.is_saved:
            return ""
        folder, what = self.registration.folder, "your judgement, comment and rejected areas"
        path = keep(Said(self._absolute, self._seen, self.judgement, self.notes))
        if path is None:
            return f"{folder} could not be written, nor any other file: {what} are lost."
        return f"{folder} could not be written: {what} are in {path}. Open it again to enter them."

    def take_up_kept(self) -> str:
        """Enter what was said of the run when it could not be written.

        Returns what became of it, in words, or nothing.
        """
        words = []
        for path, said in kept(Path(self._absolute)):
            if said.seen != self._seen:
                words.append(
                    f"{path} holds what was said of this run when it could not be written. "
                    "The run was judged or registered anew since, and stays as it is."
                )
                continue
            try:
                self._write(said.review, said.notes)
                path.unlink()
                words.append("What could not be written of this run before is in it now.")
            except (RunError, OSError) as error:
                words.append(reason(error))
        return " ".join(words)

    @property
    def _absolute(self) -> str:
        return str(self.registration.folder.absolute())

    @cached_property
    def _grid(self) -> BlockGrid:
        settings = self.registration.settings
        return BlockGrid(self.pair.fixed_slide.size, settings.rows, settings.columns)

    @cached_property
    def _residual(self) -> ResidualMap | None:
        return self.registration.residual_map

    @cached_property
    def _shift(self) -> tuple[NDArray[np.float64], float]:
        """Return the displacement in pixels on a grid of a level, and that level's downsample."""
        size = self.pair.fixed_slide.size
        step = max(1.0, max(size.width, size.height) / MAP_NODES)
        level = size.downsampled(step)
        xs, ys = axis_positions(0, level.width, step), axis_positions(0, level.height, step)
        mapped = self.registration.chain.steps[0].on_grid(xs, ys)
        return mapped - mesh(xs, ys).reshape(mapped.shape), step


def _said(folder: Path) -> tuple[Any, ...]:
    """Return which registration a run folder holds and what was said of it, as it lies on the disk."""
    record = read_record(folder)
    return tuple(record.get(name) for name in ("key", "review", "notes"))
