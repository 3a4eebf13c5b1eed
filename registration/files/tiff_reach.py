"""How far a TIFF file reaches, to tell a whole file from a cut one.

The chain of directories is walked here, because tifffile leaves out what lies beyond the end of a
file; where tiles and strips lie is asked of tifffile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import tifffile

from registration.files.memory import check_memory

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NDPI_MARK = 65420
MOST_DIRECTORIES = 256
MEMORY_PER_BYTE = 12
"""Of a directory's value: its numbers become Python's."""
CLASSIC_BYTES = 2**32
"""Where classic TIFF ends; a larger one is Hamamatsu's NDPI, whose offsets have 8 bytes."""


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as TIFF and BigTIFF files do."""
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def bytes_missing(path: Path) -> int:
    """Return how many bytes of a TIFF lie beyond its end, as far as can be known; 0 if whole.

    Raises what tifffile raises where the file is damaged.
    """
    size = path.stat().st_size
    tags: set[int] = set()
    with path.open("rb") as file:
        end = max(_directory_ends(file, _format(file.read(4), size), size, tags), default=0)
    if end <= size:
        with tifffile.TiffFile(path, is_ndpi=NDPI_MARK in tags) as opened:
            end = max(end, _data_end(opened))
    return max(0, end - size)


def _format(magic: bytes, size: int) -> Any:
    """Return how the numbers of a file are stored."""
    formats = tifffile.TIFF
    if magic[:2] == b"II":
        classic = formats.CLASSIC_LE if size <= CLASSIC_BYTES else formats.NDPI_LE
        return formats.BIG_LE if magic[2] == 43 else classic
    return formats.BIG_BE if magic[3] == 43 else formats.CLASSIC_BE


def _directory_ends(file: IO[bytes], kind: Any, size: int, tags: set[int]) -> Iterator[int]:
    """Yield where each directory and its values end, and add to ``tags``.

    Stops after the first directory beyond the end of the file.
    """
    offset_at = 8 if kind.version == 43 else 4
    for _ in range(MOST_DIRECTORIES):
        yield offset_at + kind.offsetsize
        position = _number(file, offset_at, kind.offsetformat)
        if position:
            yield position + kind.tagnosize
        if not position or position + kind.tagnosize > size:
            return
        entries = position + kind.tagnosize
        offset_at = entries + kind.tagsize * _number(file, position, kind.tagnoformat)
        file.seek(entries)
        stored = file.read(offset_at - entries)
        for start in range(0, len(stored) - kind.tagsize + 1, kind.tagsize):
            entry = stored[start : start + kind.tagsize]
            tags.add(struct.unpack_from(kind.tagformat1, entry)[0])
            start, length = _value(entry, kind)
            check_memory(
                file.name, MEMORY_PER_BYTE * length, remedy="The file is damaged, or empty."
            )
            yield start + length


def _value(entry: bytes, kind: Any) -> tuple[int, int]:
    """Return where the value of a directory's entry begins, and its bytes; 0 within the entry."""
    width = kind.tagoffsetthreshold
    whole = kind.byteorder + ("Q" if width == 8 else "I")
    data_type = struct.unpack_from(kind.tagformat1, entry)[1]
    count, offset = (struct.unpack_from(whole, entry, at)[0] for at in (4, 4 + width))
    code = tifffile.TIFF.DATA_FORMATS.get(data_type)
    length = 0 if code is None else count * struct.calcsize(kind.byteorder + code)
    if length <= width or kind is tifffile.TIFF.NDPI_LE:
        return 0, 0
    return int(offset), int(length)


def _number(file: IO[bytes], position: int, code: str) -> int:
    """Return the whole number at a position; 0 where the file ends before it."""
    file.seek(position)
    stored = file.read(struct.calcsize(code))
    return int(struct.unpack(code, stored.ljust(struct.calcsize(code), b"\0"))[0])


def _data_end(file: tifffile.TiffFile) -> int:
    """Return where the last tile or strip ends."""
    return max(
        (
            offset + count
            for page in islice(file.pages, MOST_DIRECTORIES)
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
            if count
        ),
        default=0,
    )
