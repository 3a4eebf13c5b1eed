"""Files that are whole or not there: written under a temporary name, renamed when complete.

The content reaches the disk before the new name does, so that a power cut leaves the old file or
the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from registration.files.plain_json import json_text, plain

HASH_EDGE_BYTES = 8 * 2**20
ABANDONED_S = 3600.0
"""What another machine has not written to for so long is nobody's."""
MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-(\d{1,9})\.part(?:\..*)?", re.DOTALL)


def temporary(path: Path) -> Path:
    """Return a name beside ``path`` for what is to become it; it tells which process it belongs to.

    What killed processes left in that folder under such names is removed, once per process.
    """
    _sweep(path.parent.absolute(), os.getpid())
    return path.with_name(f".{path.stem}.{MACHINE}-{os.getpid()}.part{path.suffix}")


@cache
def _sweep(folder: Path, _process: int) -> None:
    """Remove temporary files and folders whose processes are gone."""
    with suppress(OSError):  # another process may be sweeping, too
        for part in folder.iterdir():
            if (owner := _TEMPORARY.fullmatch(part.name)) and _is_abandoned(part, *owner.groups()):
                _remove(part)


def _is_abandoned(part: Path, machine: str, process: str) -> bool:
    """Return whether nobody writes to a temporary file any more."""
    written = max(path.lstat().st_mtime for path in (part, *part.glob("*")))
    if machine != MACHINE:
        return time.time() - written > ABANDONED_S
    try:
        # A process that is younger than the file has the number, not the file.
        return psutil.Process(int(process)).create_time() > written + 1
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it when the block ends, remove it on error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    try:
        with naming(path):
            yield part
            _flush(part)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add ``path`` to what the system says without naming a file, such as of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Give a new temporary folder beside ``path``; it replaces ``path`` when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        with naming(path):
            yield part
        for file in part.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, two spaces deep; NaN becomes ``null``."""
    write_text(path, json_text(value) + "\n")


def write_npz(path: Path, **arrays: Any) -> None:
    """Write a compressed NPZ file of plain arrays."""
    with written_whole(path) as part:
        np.savez_compressed(part, **arrays)


def content_hash(path: Path) -> str:
    """Return a short SHA-256 of a file's size, first and last 8 MiB.

    Whole-slide images are gigabytes; headers, directories and the first tiles tell them apart.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(HASH_EDGE_BYTES))
        if size > HASH_EDGE_BYTES:
            file.seek(max(HASH_EDGE_BYTES, size - HASH_EDGE_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:16]


def settings_hash(*values: Any) -> str:
    """Return a short hash of plain values, the same for equal values on every machine."""
    text = json.dumps(plain(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _flush(path: Path) -> None:
    """Force a file's content to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
