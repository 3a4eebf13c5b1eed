"""What was said of a run that could not take it, in a file elsewhere, until the run can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_plugin.kept import HangsError, Patient, free, rescue, rescue_folders
from registration.files.storage import write_json
from registration.result import Judgement, ReviewNotes


@dataclass(frozen=True)
class Said:
    """What a person said of a run."""

    run: str
    """The run folder, absolute."""
    seen: tuple[Any, ...]
    """The run's key, judgement and notes as the person saw them."""
    review: Judgement | None
    notes: ReviewNotes


_SAID = TypeAdapter(Said)


def keep(said: Said) -> Path | None:
    """Write it where it can be found again; return the file, ``None`` where no folder takes it."""

    def write(path: Path) -> Path:
        write_json(path, asdict(said))
        return path

    for path, before in kept(Path(said.run)):
        if before.seen == said.seen:  # it says more than before of the same
            with suppress(OSError):
                return write(path)
    return rescue(lambda folder: write(free(folder / _name(said.run))))


def kept(run: Path) -> Iterator[tuple[Path, Said]]:
    """Yield what was said of a run, its folder absolute, and not saved, with the file that holds it."""
    for folder in rescue_folders():
        with suppress(HangsError):
            yield from Patient().do(partial(_kept_in, folder, run), last=True)


def _kept_in(folder: Path, run: Path) -> list[tuple[Path, Said]]:
    """Return what was said of a run and lies in a folder."""
    found, name = [], Path(_name(str(run)))
    for path in sorted(folder.glob(f"{escape(name.stem)}*{name.suffix}")):
        with suppress(OSError, ValidationError):
            said = _SAID.validate_json(path.read_bytes())
            if said.run == str(run):
                found.append((path, said))
    return found


def _name(run: str) -> str:
    return f"{Path(run).name}_review.json"
