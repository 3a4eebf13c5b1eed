"""Autosave and recovery: nothing that was picked is ever lost.

The landmark file always holds the whole, accepted pairs. A recovery file beside it holds what a
landmark file cannot: a half picked pair and open proposals. It is written first, with the hash of
the landmark file before and after, so that after a crash between the two it is known which is newer;
a landmark file that somebody else changed since then wins.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_plugin.kept import file_hash, free
from napari_plugin.picker.picks import PickedPair, Picks
from napari_plugin.picker.regions import outline_paths
from napari_plugin.views import SIDES, STAIN, XY
from registration.errors import LandmarkError
from registration.files.storage import content_hash, write_json
from registration.files.tables import read_table
from registration.files.words import counted, split_files
from registration.geometry import Size
from registration.landmarks.geojson import Origin
from registration.landmarks.landmarks import (
    COORDINATES,
    SLIDES,
    Landmarks,
    check_inside,
    parse_landmark_argument,
    read_landmarks,
    write_landmarks,
)
from registration.slides.slide import Slide

FORMAT = "bci-pipeline picking session"
SUFFIX = "_landmarks.csv"


@dataclass(frozen=True)
class PairOfSlides:
    """What tells the two slides of a landmark file from all others."""

    names: tuple[str, str]
    """Hash, size and µm per pixel of the H&E and of the IHC slide, in one word each."""
    sizes: tuple[Size, Size]
    origins: tuple[Origin, Origin] = ((0, 0), (0, 0))
    """Pixels from which QuPath counts."""

    @classmethod
    def of(cls, he: Slide, ihc: Slide) -> PairOfSlides:
        """Describe two open slides."""
        names = (
            f"{content_hash(one.path)} {one.size.width}x{one.size.height} {one.mpp:.4g}"
            for one in (he, ihc)
        )
        return cls((*names,), (he.size, ihc.size), (he.origin, ihc.origin))  # type: ignore[arg-type]

    def check(self, path: Path, names: Sequence[str]) -> None:
        """Raise :class:`LandmarkError` where a file names other slides than these."""
        for side, ours, theirs in zip(SIDES, self.names, names, strict=True):
            if theirs and theirs.split()[0] != ours.split()[0]:
                raise LandmarkError(
                    f"{path} holds pairs of another {STAIN[side]} slide ({theirs}; this one is "
                    f"{ours}). Name another landmark file, or leave the field empty for a new one."
                )

    def check_inside(self, path: Path, landmarks: Landmarks) -> None:
        """Raise :class:`LandmarkError` where a pair lies off these slides."""
        try:
            check_inside(landmarks, *self.sizes)
        except LandmarkError as error:
            raise LandmarkError(f"{path}: {error} Are these the pairs of other slides?") from error


@dataclass(frozen=True)
class Restored:
    """What a session begins with."""

    picks: Picks = field(default_factory=Picks)
    message: str = ""


class Journal:
    """The landmark file of a session and its recovery file."""

    def __init__(
        self, path: Path, begin_with: Landmarks | None = None, slides: PairOfSlides | None = None
    ) -> None:
        self.path = path
        """Our own CSV."""
        self.slides = slides
        """The slides whose pairs it holds; those of others are refused."""
        self._begin_with = begin_with
        self._written = Picks().pairs
        self._backed_up = False
        self._seen: str | None = None
        """Hash of the landmark file as this session left or found it; None before it looked."""

    @classmethod
    def of_argument(cls, text: str, slides: PairOfSlides | None = None) -> Journal:
        """Return the journal for what a user gives as ``--landmarks``.

        Our own CSV is kept up to date itself. Of another format the pairs are taken over into
        ``<name>_landmarks.csv`` beside it, again whenever that file is the newer one. Raises
        :class:`LandmarkError` for an unusable file.
        """
        names = split_files(text)
        first = Path(names[0])
        if len(names) == 1 and (not first.exists() or _is_ours(first)):
            return cls(first, slides=slides)
        origins = ((0, 0), (0, 0)) if slides is None else slides.origins
        begin_with = parse_landmark_argument(text, 0, origins)
        return cls(first.with_name(first.stem + SUFFIX), begin_with, slides)._newer_than(first)

    @classmethod
    def beside(
        cls, he: Path, ihc: Path, slides: PairOfSlides | None = None, folder: Path | None = None
    ) -> Journal:
        """Return the journal for two slides when no file is named: ``<he>_<ihc>_landmarks.csv``.

        It lies in ``folder``, by default beside the H&E slide, or in the current folder where that
        cannot be written to. Where a file of other slides has the name, the next free number is
        added.
        """
        folders = (folder or he.parent, Path.cwd(), Path.home())
        where = next((one for one in folders if _writable(one)), folders[0])
        stem = f"{he.stem}_{ihc.stem}"
        found, number = cls(where / f"{stem}{SUFFIX}", slides=slides), 2
        while not found._may_hold_ours():
            found = cls(where / f"{stem}_{number}{SUFFIX}", slides=slides)
            number += 1
        return found

    @property
    def recovery_path(self) -> Path:
        """Where the half picked pair and open proposals are kept."""
        return self.path.with_name(f".{self.path.stem}.recovery.json")

    def restore(self) -> Restored:
        """Return what was picked before.

        Raises :class:`LandmarkError` for an unusable file, and for pairs of other slides.
        """
        self._seen = file_hash(self.path)
        if self._begin_with is not None:
            if self.slides is not None:
                self.slides.check_inside(self.path, self._begin_with)
            taken = Picks.of(self._begin_with)
            return Restored(taken, f"{_pairs(taken)} taken over into {self.path}.")
        last, is_current = self._last()
        if last.pairs and is_current:
            return Restored(last, f"{_pairs(last)} taken up again from the last session.")
        if self.path.exists():
            picks = self._read()
            self._written = picks.pairs
            message = f"{_pairs(picks)} read from {self.path}."
            if last.half is None:
                return Restored(picks, message)
            name = picks.new_names(1)[0]  # the file was changed since, and may have its number
            pairs = (*picks.pairs, replace(last.half, name=name))
            return Restored(Picks(pairs, name), f"{message} Pair {name} is half picked.")
        return Restored()

    def _newer_than(self, source: Path) -> Journal:
        """Return a journal that takes pairs over only where its own file is older, or not there."""
        if self.path.exists() and self.path.stat().st_mtime >= source.stat().st_mtime:
            return Journal(self.path, slides=self.slides)
        return self

    def _may_hold_ours(self) -> bool:
        """Return whether the file is free, or holds pairs of these slides."""
        try:
            self.restore()
        except LandmarkError:
            return False
        return True

    def store(self, picks: Picks) -> str:
        """Write both files; return what a person must know of it, in words, or nothing.

        A landmark file that somebody else changed meanwhile stays as it is: the pairs of this
        session are kept in a file of their own from then on. Raises OSError where none can be written.
        """
        if picks.pairs == self._written:
            return ""
        message = ""
        if self.path.exists() and self._seen not in (None, file_hash(self.path)):
            message = self.step_aside(self.path)
        self._back_up()
        self._write(picks)
        self._written = picks.pairs
        self._seen = file_hash(self.path)
        return message

    def step_aside(self, theirs: Path) -> str:
        """Keep pairs and outlines in other files from now on; return what to tell."""
        self.path = free(self.path, outline_paths)
        self._written = Picks().pairs
        return (
            f"{theirs} was changed by another program meanwhile and stays as it is; "
            f"the pairs and outlines of this window are kept in and beside {self.path} from now on."
        )

    def holds(self, picks: Picks) -> bool:
        """Return whether these pairs are in the landmark file."""
        return picks.pairs == self._written

    def close(self, picks: Picks) -> None:
        """Leave the files; without open ends the recovery file goes."""
        if self.holds(picks) and picks.half is None and not picks.proposals:
            with suppress(OSError):
                self.recovery_path.unlink()

    def _write(self, picks: Picks) -> None:
        part = self.path.with_name(f".{self.path.stem}.next.csv")
        names = None if self.slides is None else self.slides.names
        write_landmarks(part, picks.landmarks(), names)
        state = {
            "format": FORMAT,
            "slides": names,
            "before": file_hash(self.path),
            "after": file_hash(part),
            "pairs": [asdict(pair) for pair in picks.pairs],
            "selected": picks.selected,
        }
        write_json(self.recovery_path, state)
        part.replace(self.path)

    def _read(self) -> Picks:
        """Read our CSV; one without any pair is what a session without points leaves."""
        if len(self.path.read_text(encoding="utf-8").split()) <= 1:
            return Picks()
        landmarks = read_landmarks(self.path, minimum=0)
        if self.slides is not None:
            for _, cells in read_table(self.path, LandmarkError, short_rows=True).records(SLIDES):
                self.slides.check(self.path, [cells.get(name, "") for name in SLIDES])
            self.slides.check_inside(self.path, landmarks)
        return Picks.of(landmarks)

    def _last(self) -> tuple[Picks, bool]:
        """Return the session that a crash or a closed window interrupted, and if its file is current."""
        try:
            state = json.loads(self.recovery_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Picks(), False
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            return Picks(), False
        picks = Picks(tuple(_pair(entry) for entry in state["pairs"]), state["selected"])
        is_current = file_hash(self.path) in (state["before"], state["after"])
        if self.slides is not None and picks.pairs:
            try:
                self.slides.check(self.recovery_path, state.get("slides") or ("", ""))
            except LandmarkError:
                if is_current:
                    raise
                return Picks(), False
        return picks, is_current

    def _back_up(self) -> None:
        """Keep the file as it was before this session first changed it."""
        if not self._backed_up and self.path.exists():
            shutil.copy2(self.path, self.path.with_name(self.path.name + ".bak"))
        self._backed_up = True


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline().lower()
    return all(name in first for name in COORDINATES)


def _writable(folder: Path) -> bool:
    """Return whether a file can be made in a folder; asked by trying, as network shares need it."""
    probe = folder / ".bci-pipeline-probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _pairs(picks: Picks) -> str:
    """Return how many pairs there are, in words."""
    return counted(len(picks.pairs), "pair")


def _pair(entry: dict[str, Any]) -> PickedPair:
    pair = PickedPair(**entry)
    return replace(pair, he=_xy(pair.he), ihc=_xy(pair.ihc))


def _xy(value: XY | None) -> XY | None:
    return None if value is None else (float(value[0]), float(value[1]))
