"""Checksums of every file of a dataset, in the format of ``sha256sum``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DatasetError
from registration.files.storage import write_text

SUMS_NAME = "SHA256SUMS"


@dataclass(frozen=True)
class Verification:
    """How a folder compares with its checksums."""

    checked: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether every listed file is there and unchanged."""
        return not self.missing and not self.changed


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files below ``folder``."""
    lines = [f"{_sum(folder / name)}  {name}" for name in _files(folder)]
    write_text(folder / SUMS_NAME, "\n".join(lines) + "\n")


def verify(folder: Path) -> Verification:
    """Compare a folder with its checksums. Raises :class:`DatasetError` where it has none."""
    path = folder / SUMS_NAME
    if not path.is_file():
        raise DatasetError(
            f"{folder} has no {SUMS_NAME}: incomplete, or not written by this program"
        )
    listed: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, separator, name = line.partition("  ")
        if not separator:
            raise DatasetError(f"{path} is damaged: {line!r}")
        listed[name] = digest
    missing = [name for name in listed if not (folder / name).is_file()]
    changed = [
        name
        for name, digest in listed.items()
        if name not in missing and _sum(folder / name) != digest
    ]
    unlisted = [name for name in _files(folder) if name not in listed]
    return Verification(len(listed), tuple(missing), tuple(changed), tuple(unlisted))


def _files(folder: Path) -> list[str]:
    """Return the relative paths of all files, hidden ones and the checksums left out, sorted."""
    relative = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    shown = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    return sorted(path.as_posix() for path in shown if path.name != SUMS_NAME)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
