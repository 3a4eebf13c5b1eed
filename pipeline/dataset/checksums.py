"""Checksums of every file of a dataset, in the format of ``sha256sum``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import DatasetError
from registration.files.storage import write_text

SUMS_NAME = "SHA256SUMS"
CARD_NAME = "README.md"


@dataclass(frozen=True)
class Verification:
    """How a folder compares with its checksums."""

    checked: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unlisted: tuple[str, ...]


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files below ``folder`` but the card, on which a person may write."""
    lines = [
        f"{_sum(folder / name)}  {name}" for name in visible_files(folder) if not is_notes(name)
    ]
    write_text(folder / SUMS_NAME, "\n".join(lines) + "\n")


def verify(folder: Path) -> Verification:
    """Compare a folder with its checksums. Raises :class:`DatasetError` where it has none."""
    if not (folder / SUMS_NAME).is_file():
        raise DatasetError(
            f"{folder} has no {SUMS_NAME}: incomplete, or not written by this program"
        )
    sums = {name: digest for name, digest in listed(folder).items() if not is_notes(name)}
    present = {name for name in visible_files(folder) if not is_notes(name)} - {SUMS_NAME}
    missing = tuple(name for name in sums if name not in present)
    changed = tuple(
        name for name, digest in sums.items() if name in present and _sum(folder / name) != digest
    )
    return Verification(len(sums), missing, changed, tuple(sorted(present - sums.keys())))


def listed(folder: Path) -> dict[str, str]:
    """Return the checksums that a folder lists, by relative path; empty where it lists none.

    Raises :class:`DatasetError` for a damaged list, and for one that names files elsewhere.
    """
    path = folder / SUMS_NAME
    if not path.is_file():
        return {}
    sums: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or not is_within(name):
            raise DatasetError(f"{path} is damaged: {line[:80]!r}")
        sums[name] = digest
    return sums


def is_within(name: str) -> bool:
    """Return whether a name out of a file is one of a file below its folder."""
    plain = bool(name) and "\0" not in name and not name.startswith("/")
    return plain and ".." not in PurePosixPath(name).parts


def visible_files(folder: Path) -> list[str]:
    """Return the relative paths of all files, hidden ones left out, sorted."""
    relative = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    shown = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    return sorted(path.as_posix() for path in shown)


def is_notes(name: str) -> bool:
    """Return whether a file of a dataset is a person's to write on: the card, ``NOTES`` and such."""
    return name == CARD_NAME or PurePosixPath(name).stem.upper() == "NOTES"


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
