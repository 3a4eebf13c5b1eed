"""Files that are whole or not there: written under a temporary name, renamed when complete.

The content reaches the disk before the new name does, so that a power cut leaves the old file or
the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from registration.files.plain_json import json_text, plain

HASH_EDGE_BYTES = 8 * 2**20


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it when the block ends, remove it on error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        _flush(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Give a new temporary folder beside ``path``; it replaces ``path`` when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.is_dir():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of ``path``, a file or a folder, under temporary names."""
    stem, name, suffix = (re.escape(text) for text in (path.stem, path.name, path.suffix))
    temporary = re.compile(rf"\.{stem}\.\d+\.part{suffix}|\.{name}\.\d+\.part")
    for part in [part for part in path.parent.iterdir() if temporary.fullmatch(part.name)]:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


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
