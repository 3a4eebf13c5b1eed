"""What all files that keep a person's work have in common: nothing in them or for them is lost."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Written = TypeVar("Written")


def file_hash(path: Path) -> str:
    """Return what tells a file's present content from another; empty where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


def free(path: Path, beside: Callable[[Path], tuple[Path, ...]] = lambda _: ()) -> Path:
    """Return the first of ``path``, and it with a number from 2 on, that is no file yet.

    Nor is any of the files that go ``beside`` it.
    """
    found, number = path, 2
    while any(one.exists() for one in (found, *beside(found))):
        found = path.with_name(f"{path.stem}_{number}{path.suffix}")
        number += 1
    return found


def rescue(write: Callable[[Path], Written]) -> Written | None:
    """Write into the first folder that takes it: the current one, one's own, that of temporary files.

    Returns what ``write`` returned of the folder; ``None`` where it raised OSError for all.
    """
    for folder in rescue_folders():
        with suppress(OSError):
            return write(folder)
    return None


def rescue_folders() -> Iterator[Path]:
    """Yield the folders in which what could not be saved is written, and looked for."""
    for folder in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError):  # a current folder that is gone
            yield folder()
