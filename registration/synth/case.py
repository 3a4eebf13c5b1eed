"""One synthetic case: two slides, a few picked landmarks, and the whole truth.

A case folder holds::

    <id>_he.ndpi, <id>_ihc.ndpi   the slides
    landmarks.csv                 a few noisy picks: id,he_x,he_y,ihc_x,ihc_y,enabled
    truth.csv                     exact pairs, nuclei seen in both: id,he_x,he_y,ihc_x,ihc_y
    truth/truth.json              settings, the map IHC -> HE, damage outlines, meaning of the masks
    truth/field_0.npz             the non-rigid part of the map
    truth/mask_he.png, mask_ihc.png   what lies where, bit flags at downsample 32

With several pieces on a glass, both tables have a column ``piece``, ``truth.json`` holds the pieces
with the map of each, whose field lies in ``truth/piece_<number>``, and ``truth/pieces_he.png`` and
``truth/pieces_ihc.png`` hold the number of the piece at every pixel of the masks.

Of a stain of nuclei ``truth/nuclei.csv`` lists the tumour nuclei on the IHC slide and which are positive:
ihc_x,ihc_y,positive. Where a case has several stains, all but the H&E slide lies in a folder per stain,
``<folder>/KI67/<id>_ki67.ndpi`` and so on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.errors import SynthError
from registration.files.storage import write_json, write_text, written_whole
from registration.files.text import json_record, read_json
from registration.geometry import (
    Image,
    Points,
    Size,
    farthest_first,
    outermost,
)
from registration.stored_chain import load_chain, save_chain
from registration.synth.cells import TUMOUR, positive_share
from registration.synth.damage import plan_damage
from registration.synth.glass import GlassPiece, PlacedPiece, piece_truth, plan_glass
from registration.synth.masks import MASK_DOWNSAMPLE, Ground, glass_masks, ground_mask
from registration.synth.paint import Painter
from registration.synth.rendering import Progress, SlideJob, render_slides
from registration.synth.section import Cut, cut_sections
from registration.synth.settings import SECTIONS, Section, SynthSettings
from registration.transforms import Chain

TRUTH_MARGIN_PX = 24
"""Exact pairs keep this far from the slides' edges and from damage."""


@dataclass(frozen=True, slots=True)
class SynthCase:
    """Paths of one written case."""

    name: str
    settings: SynthSettings
    folder: Path
    several: bool = False
    """Whether other stains share the H&E slide."""

    @property
    def own(self) -> Path:
        """Folder of all that belongs to this stain alone."""
        return self.folder / self.settings.stain if self.several else self.folder

    @property
    def he(self) -> Path:
        """The HE slide."""
        return self.folder / f"{self.name}_he.ndpi"

    @property
    def ihc(self) -> Path:
        """The IHC slide."""
        stain = self.settings.stain.lower() if self.several else "ihc"
        return self.own / f"{self.name}_{stain}.ndpi"

    @property
    def landmarks(self) -> Path:
        """A few noisy picked pairs."""
        return self.own / "landmarks.csv"

    @property
    def truth(self) -> Path:
        """Hundreds of exact pairs."""
        return self.own / "truth.csv"

    @property
    def truth_folder(self) -> Path:
        """The exact map, masks and damage."""
        return self.own / "truth"

    def jobs(self) -> list[SlideJob]:
        """Return the two slides to write."""
        return [SlideJob(self.settings, "he", self.he), SlideJob(self.settings, "ihc", self.ihc)]

    def is_complete(self) -> bool:
        """Whether the case was written whole with these very settings."""
        stored = self.truth_folder / "truth.json"
        if not (stored.exists() and self.he.exists() and self.ihc.exists()):
            return False
        settings = json_record(stored).get("settings")
        return bool(settings == json.loads(json.dumps(asdict(self.settings))))


def write_case(
    folder: Path,
    settings: SynthSettings,
    *,
    name: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> SynthCase:
    """Write a case into ``folder``; ``name`` is by default the folder's.

    With two workers the slides are written by two fresh processes at once (a script that does so
    needs the usual ``if __name__ == "__main__"``). Raises :class:`SynthError` for settings that
    cannot be met.
    """
    case = SynthCase(name or folder.name, settings, folder)
    folder.mkdir(parents=True, exist_ok=True)
    render_slides(case.jobs(), workers, progress)
    write_truth(case)
    return case


def render_pair(settings: SynthSettings) -> tuple[Image, Image, Chain]:
    """Return HE pixels, IHC pixels and the exact map IHC -> HE of one section, without files."""
    he, ihc, truth = cut_sections(settings)
    return Painter(he).image(), Painter(ihc).image(), truth


def truth_pairs(settings: SynthSettings) -> tuple[Points, Points]:
    """Return ``(N, 2)`` HE and IHC points of nuclei that both slides show, spread over tissue."""
    he, ihc, _ = cut_sections(settings)
    return _pairs_of(he, ihc)


def _pairs_of(he: Cut, ihc: Cut) -> tuple[Points, Points]:
    cells, settings = he.cells, he.settings
    cells = cells.take(np.flatnonzero(cells.in_he & cells.in_ihc & (cells.has_nucleus)))
    on_he, on_ihc = he.placed(cells).center, ihc.placed(cells).center
    keep = _well_inside(on_he, he.size) & _well_inside(on_ihc, ihc.size)
    keep &= _undamaged(he, on_he) & _undamaged(ihc, on_ihc)
    on_he, on_ihc = on_he[keep], on_ihc[keep]
    chosen = _spread(on_he, settings.truth_points, np.random.default_rng([settings.seed, 701]))
    return on_he[chosen], on_ihc[chosen]


@dataclass(frozen=True, eq=False)
class _PieceTruth:
    """One piece of a glass: its two sections and what is known of them."""

    piece: GlassPiece
    he: Cut
    ihc: Cut
    ihc_to_he: Chain
    """Between the piece's own cells."""

    @classmethod
    def of(cls, piece: GlassPiece) -> _PieceTruth:
        return cls(piece, *cut_sections(piece.settings))

    def pairs(self) -> tuple[Points, Points]:
        """Return the exact pairs in pixels of the glasses; none for a piece on one glass only."""
        if self.piece.he is None or self.piece.ihc is None:
            return np.zeros((0, 2)), np.zeros((0, 2))
        on_he, on_ihc = _pairs_of(self.he, self.ihc)
        on_he += (self.piece.he.x, self.piece.he.y)
        on_ihc += (self.piece.ihc.x, self.piece.ihc.y)
        return on_he, on_ihc

    def placed(self, section: Section) -> PlacedPiece | None:
        """Return the piece on one glass, if it lies there."""
        cell = self.piece.cell(section)
        cut = self.he if section == "he" else self.ihc
        return None if cell is None else PlacedPiece(self.piece, cell, cut)


def load_truth(folder: Path) -> Chain:
    """Read the exact map IHC -> HE of a case from its folder.

    Raises :class:`SynthError` when the folder holds no case.
    """
    stored = folder / "truth" / "truth.json"
    if not stored.exists():
        raise SynthError(f"no synthetic case in {folder}: {stored} is missing")
    return load_chain(_truth(stored).get("ihc_to_he", []), stored.parent)


def load_piece_truths(folder: Path) -> dict[int, Chain]:
    """Read the exact maps IHC -> HE of the pieces on both glasses of a case, by number.

    Raises :class:`SynthError` when the folder holds no case with several pieces.
    """
    stored = folder / "truth" / "truth.json"
    described = _truth(stored) if stored.exists() else {}
    if "pieces" not in described:
        raise SynthError(f"no synthetic case with several pieces in {folder}")
    return {
        piece["number"]: load_chain(piece["ihc_to_he"], _piece_folder(stored.parent, piece))
        for piece in described["pieces"]
        if piece["ihc_to_he"] is not None
    }


def _truth(stored: Path) -> dict[str, Any]:
    """Return what ``truth.json`` holds. Raises :class:`SynthError` where it is damaged."""
    described = read_json(stored, SynthError)
    if not isinstance(described, dict):
        raise SynthError(f"{stored} is damaged; draw the case again")
    return described


def write_truth(case: SynthCase) -> None:
    """Write everything of a case except its slides; ``truth.json`` comes last."""
    case.truth_folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "settings": asdict(case.settings),
        "positive_share": positive_share(case.settings),
        "mask_downsample": MASK_DOWNSAMPLE,
        "mask_flags": {flag.name: flag.value for flag in Ground},
    }
    write = _write_section if case.settings.glass is None else _write_glass
    write_json(case.truth_folder / "truth.json", facts | write(case))


def _write_section(case: SynthCase) -> dict[str, Any]:
    """Write tables and masks of a single section and return the rest of its record."""
    he, ihc, truth = cut_sections(case.settings)
    on_he, on_ihc = _pairs_of(he, ihc)
    _write_pairs(case.truth, on_he, on_ihc)
    _write_landmarks(case.landmarks, [(on_he, on_ihc)], case.settings)
    for cut in (he, ihc):
        _write_mask(case.truth_folder / f"mask_{cut.section}.png", ground_mask(cut))
    _write_nuclei(case, [(ihc, (0, 0))])
    return {
        "ihc_to_he": save_chain(truth, case.truth_folder),
        "damage": [entry for cut in (he, ihc) for entry in _damage_entries(cut, (0, 0))],
    }


def _write_glass(case: SynthCase) -> dict[str, Any]:
    """Write tables and masks of several pieces and return the rest of their record."""
    plan = plan_glass(case.settings)
    pieces = [_PieceTruth.of(piece) for piece in plan.pieces]
    pairs = [piece.pairs() for piece in pieces]
    numbers = np.repeat([p.piece.number for p in pieces], [len(he) for he, _ in pairs])
    on_he, on_ihc = (np.concatenate(points) for points in zip(*pairs, strict=True))
    _write_pairs(case.truth, on_he, on_ihc, numbers)
    _write_landmarks(case.landmarks, pairs, case.settings)
    damage = []
    for section in SECTIONS:
        placed = [place for piece in pieces if (place := piece.placed(section)) is not None]
        flags, labels = glass_masks(plan.size_of(section), placed)
        _write_mask(case.truth_folder / f"mask_{section}.png", flags)
        _write_mask(case.truth_folder / f"pieces_{section}.png", labels)
        if section == "ihc":
            _write_nuclei(case, [(place.cut, (place.cell.x, place.cell.y)) for place in placed])
        for place in placed:
            damage += _damage_entries(place.cut, (place.cell.x, place.cell.y))
    return {"pieces": [_piece_entry(piece, case) for piece in pieces], "damage": damage}


def _piece_entry(known: _PieceTruth, case: SynthCase) -> dict[str, Any]:
    """Return the record of one piece and write the field of its map."""
    piece = known.piece
    entry: dict[str, Any] = {"number": piece.number, "kind": piece.kind, "ihc_to_he": None}
    for section in SECTIONS:
        cell = piece.cell(section)
        entry[section] = cell and [cell.x, cell.y, cell.width, cell.height]
    if piece.kind == "both":
        folder = _piece_folder(case.truth_folder, entry)
        folder.mkdir(exist_ok=True)
        entry["ihc_to_he"] = save_chain(piece_truth(piece, known.ihc_to_he), folder)
    return entry


def _piece_folder(truth: Path, entry: dict[str, Any]) -> Path:
    return truth / f"piece_{entry['number']}"


def _damage_entries(cut: Cut, corner: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the damage of a section whose cell begins at ``corner`` of the slide."""
    return [
        {"slide": cut.section, "kind": item.kind, "outline": item.shape.outline() + corner}
        for item in plan_damage(cut)
    ]


def _undamaged(cut: Cut, points: Points) -> NDArray[np.bool_]:
    """Return which points lie well outside all damage of a slide."""
    keep = np.ones(len(points), np.bool_)
    for damage in plan_damage(cut):
        keep &= damage.shape.distance(points) < -TRUTH_MARGIN_PX
    return keep


def _well_inside(points: Points, size: Size) -> NDArray[np.bool_]:
    low, high = TRUTH_MARGIN_PX, (size.width - TRUTH_MARGIN_PX, size.height - TRUTH_MARGIN_PX)
    return np.asarray(((points > low) & (points < high)).all(axis=1))


def _spread(points: Points, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose ``count`` points evenly: the first of every square before the second of any."""
    order = rng.permutation(len(points))
    extent = np.ptp(points, axis=0)
    side = np.sqrt(extent.prod() / max(count, 1))
    squares = np.floor((points[order] - points.min(axis=0)) / side).astype(np.int64)
    _, number = np.unique(squares, axis=0, return_inverse=True)
    by_square = np.argsort(number, kind="stable")
    sorted_number = number[by_square]
    rank = np.empty(len(points), np.int64)
    rank[by_square] = np.arange(len(points)) - np.searchsorted(sorted_number, sorted_number)
    return np.sort(order[np.argsort(rank, kind="stable")[:count]])


def _write_pairs(
    path: Path, he: Points, ihc: Points, pieces: NDArray[np.int64] | None = None
) -> None:
    """Write exact pairs, with the number of the piece of each where there are several."""
    lines = ["id,he_x,he_y,ihc_x,ihc_y" + ("" if pieces is None else ",piece")]
    for index, (a, b) in enumerate(zip(he, ihc, strict=True)):
        piece = "" if pieces is None else f",{pieces[index]}"
        lines.append(f"t{index + 1},{a[0]:.4f},{a[1]:.4f},{b[0]:.4f},{b[1]:.4f}{piece}")
    write_text(path, "\n".join(lines) + "\n")


def _write_nuclei(case: SynthCase, cuts: Sequence[tuple[Cut, tuple[int, int]]]) -> None:
    """Write the tumour nuclei that sections of a stain of nuclei show, and which are positive."""
    if positive_share(case.settings) is None:
        return
    lines = ["ihc_x,ihc_y,positive"]
    for cut, corner in cuts:
        cells = cut.cells.take(np.flatnonzero(cut.cells.in_ihc & (cut.cells.kind == TUMOUR)))
        placed = cut.placed(cells).center
        inside = _well_inside(placed, cut.size)
        for (x, y), antigen in zip(placed[inside] + corner, cells.antigen[inside], strict=True):
            lines.append(f"{x:.2f},{y:.2f},{str(antigen > 0).lower()}")
    write_text(case.truth_folder / "nuclei.csv", "\n".join(lines) + "\n")


def _write_landmarks(
    path: Path, pairs: Sequence[tuple[Points, Points]], settings: SynthSettings
) -> None:
    """Write a few pairs of each piece far from each other, each clicked with some noise."""
    rng = np.random.default_rng([settings.seed, 702])
    several = settings.glass is not None
    lines = ["id,he_x,he_y,ihc_x,ihc_y,enabled" + (",piece" if several else "")]
    for piece, (he, ihc) in enumerate(pairs, 1):
        for index in farthest_first(he, settings.picks, outermost(he)) if len(he) else ():
            a = he[index] + rng.normal(0, settings.pick_noise_px, 2)
            b = ihc[index] + rng.normal(0, settings.pick_noise_px, 2)
            end = f",{piece}" if several else ""
            numbers = f"{a[0]:.1f},{a[1]:.1f},{b[0]:.1f},{b[1]:.1f}"
            lines.append(f"p{len(lines)},{numbers},true{end}")
    write_text(path, "\n".join(lines) + "\n")


def _write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    _, content = cv2.imencode(".png", mask)
    with written_whole(path) as part:
        part.write_bytes(content.tobytes())
