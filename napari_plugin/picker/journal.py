"""Autosave and recovery: nothing that was picked is ever lost.

The landmark file always holds the whole, accepted pairs. A recovery file beside it holds what a
landmark file cannot: a half picked pair and open proposals. It is written first, with the hash of
the landmark file before and after, so that after a crash between the two it is known which is newer;
a landmark file that somebody else changed since then wins.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_plugin.picker.picks import PickedPair, Picks
from napari_plugin.views import XY
from registration.files.storage import write_json
from registration.landmarks.landmarks import (
    COORDINATES,
    Landmarks,
    parse_landmark_argument,
    read_landmarks,
    write_landmarks,
)

FORMAT = "bci-pipeline picking session"
SUFFIX = "_landmarks.csv"


@dataclass(frozen=True)
class Restored:
    """What a session begins with."""

    picks: Picks = field(default_factory=Picks)
    message: str = ""


class Journal:
    """The landmark file of a session and its recovery file."""

    def __init__(self, path: Path, begin_with: Landmarks | None = None) -> None:
        self.path = path
        """Our own CSV."""
        self._begin_with = begin_with
        self._written = Picks().pairs
        self._backed_up = False
        self._seen: str | None = None
        """Hash of the landmark file as this session left or found it; None before it looked."""

    @classmethod
    def of_argument(cls, text: str) -> Journal:
        """Return the journal for what a user gives as ``--landmarks``.

        Our own CSV is kept up to date itself. Of another format the pairs are taken over into
        ``<name>_landmarks.csv`` beside it. Raises :class:`LandmarkError` for an unusable file.
        """
        path = Path(text)
        if not path.exists() and "," not in text:
            return cls(path)
        if path.exists() and _is_ours(path):
            return cls(path)
        first = path if path.exists() else Path(text.split(",")[0].strip())
        return cls(first.with_name(first.stem + SUFFIX), parse_landmark_argument(text, minimum=0))

    @classmethod
    def beside(cls, slide: Path) -> Journal:
        """Return the journal for a slide when no file is named: ``<slide>_landmarks.csv``.

        It lies beside the slide, or in the current folder where that cannot be written to.
        """
        for folder in (slide.parent, Path.cwd(), Path.home()):
            if _writable(folder):
                return cls(folder / (slide.stem + SUFFIX))
        return cls(slide.parent / (slide.stem + SUFFIX))

    @property
    def recovery_path(self) -> Path:
        """Where the half picked pair and open proposals are kept."""
        return self.path.with_name(f".{self.path.stem}.recovery.json")

    def restore(self) -> Restored:
        """Return what was picked before. Raises :class:`LandmarkError` for an unusable file."""
        self._seen = _hash(self.path)
        recovered = self._recovered()
        if recovered is not None:
            return recovered
        if self.path.exists():
            picks = self._read()
            self._written = picks.pairs
            return Restored(picks, f"{len(picks.pairs)} pairs read from {self.path}.")
        if self._begin_with is not None:
            return Restored(Picks.of(self._begin_with))
        return Restored()

    def store(self, picks: Picks) -> str:
        """Write both files; return what a person must know of it, in words, or nothing.

        A landmark file that somebody else changed meanwhile stays as it is: the pairs of this
        session are kept in a file of their own from then on.
        """
        if picks.pairs == self._written:
            return ""
        message = ""
        try:
            if self.path.exists() and self._seen not in (None, _hash(self.path)):
                message = self._step_aside()
            self._back_up()
            self._write(picks)
        except OSError as error:
            return f"Not saved: {error}. Choose another file with “Save as”."
        self._written = picks.pairs
        self._seen = _hash(self.path)
        return message

    def _step_aside(self) -> str:
        """Keep the pairs in another file from now on; return what to tell."""
        theirs, number = self.path, 2
        while self.path.exists():
            self.path = theirs.with_name(f"{theirs.stem}_{number}{theirs.suffix}")
            number += 1
        return (
            f"{theirs} was changed by another program meanwhile and stays as it is; "
            f"the pairs of this window are kept in {self.path} from now on."
        )

    def close(self, picks: Picks) -> None:
        """Write what is left; without open ends the recovery file goes."""
        self.store(picks)
        if picks.half is None and not picks.proposals:
            with suppress(OSError):
                self.recovery_path.unlink()

    def _write(self, picks: Picks) -> None:
        part = self.path.with_name(f".{self.path.stem}.next.csv")
        write_landmarks(part, picks.landmarks())
        state = {
            "format": FORMAT,
            "before": _hash(self.path),
            "after": _hash(part),
            "pairs": [asdict(pair) for pair in picks.pairs],
            "selected": picks.selected,
        }
        write_json(self.recovery_path, state)
        part.replace(self.path)

    def _read(self) -> Picks:
        """Read our CSV; one without any pair is what a session without points leaves."""
        if len(self.path.read_text(encoding="utf-8").split()) <= 1:
            return Picks()
        return Picks.of(read_landmarks(self.path, minimum=0))

    def _recovered(self) -> Restored | None:
        """Return the session that a crash or a closed window interrupted, if its file is current."""
        try:
            state = json.loads(self.recovery_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            return None
        if _hash(self.path) not in (state["before"], state["after"]):
            return None
        picks = Picks(tuple(_pair(entry) for entry in state["pairs"]), state["selected"])
        if not picks.pairs:
            return None
        return Restored(picks, f"{len(picks.pairs)} pairs taken up again from the last session.")

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


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


def _pair(entry: dict[str, Any]) -> PickedPair:
    pair = PickedPair(**entry)
    return replace(pair, he=_xy(pair.he), ihc=_xy(pair.ihc))


def _xy(value: XY | None) -> XY | None:
    return None if value is None else (float(value[0]), float(value[1]))
