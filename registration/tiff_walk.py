"""How far a TIFF file reaches: enough of its directories to tell a whole file from a cut one.

Reads classic TIFF, BigTIFF, and Hamamatsu's NDPI, which is classic TIFF whose offsets have a second,
high half: 4 bytes per entry after each directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSION, OFFSETS, COUNTS, NDPI_MARK = 259, (273, 324), (279, 325), 65420
WIDTHS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Bytes per value of the types of whole numbers."""
MOST_DIRECTORIES = 256


@dataclass(frozen=True)
class Layout:
    """How the numbers of a file are stored."""

    order: str
    count: str
    """Struct code of a directory's number of entries."""
    offset: str
    """Struct code of an offset."""

    @property
    def entry_bytes(self) -> int:
        """Length of an entry: tag, type, count, value."""
        return 4 + 2 * struct.calcsize(self.offset)


@dataclass(frozen=True)
class Directory:
    """One image of a file."""

    end: int
    """Position after the directory and everything that it points to."""
    compression: int


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as TIFF and BigTIFF files do."""
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def directories(path: Path) -> Iterator[Directory]:
    """Yield the images of a TIFF, in order; stops after one that lies beyond the end of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = 43 in (head[2], head[3])
        layout = Layout(order, "Q", "Q") if big else Layout(order, "H", "I")
        # Classic TIFF ends at 4 GiB; a larger one is NDPI, whose first offset has 8 bytes.
        code = order + ("Q" if size > 2**32 else layout.offset)
        position = struct.unpack_from(code, head.ljust(16, b"\0"), 8 if big else 4)[0]
        is_ndpi = False
        for _ in range(MOST_DIRECTORIES):
            if position == 0:
                return
            if position + 8 > size:
                yield Directory(position + 8, 0)
                return
            entries, position, is_ndpi = _entries(file, layout, position, is_ndpi)
            yield _directory(file, layout, entries, size)


Entry = tuple[int, int, int, int]
"""Type, count, value or its offset, and where the value lies if it fits into the entry."""


def _entries(
    file: IO[bytes], layout: Layout, position: int, is_ndpi: bool
) -> tuple[dict[int, Entry], int, bool]:
    """Return a directory's entries, where the next one lies, and whether the file is NDPI."""
    file.seek(position)
    count_bytes = struct.calcsize(layout.order + layout.count)
    count = struct.unpack(layout.order + layout.count, file.read(count_bytes))[0]
    start, width = position + count_bytes, layout.entry_bytes
    block = file.read(count * width + 8 + 4 * count)
    entries: dict[int, Entry] = {}
    for index in range(min(count, len(block) // width)):
        tag, kind, number, value = struct.unpack_from(
            f"{layout.order}HH{layout.offset}{layout.offset}", block, index * width
        )
        inline = start + index * width + 4 + struct.calcsize(layout.offset)
        entries[tag] = kind, number, value, inline
    is_ndpi = is_ndpi or (NDPI_MARK in entries and layout.offset == "I")
    code = "<Q" if is_ndpi else layout.order + layout.offset
    after = count * width
    following = block[after : after + struct.calcsize(code)].ljust(struct.calcsize(code), b"\0")
    if is_ndpi and len(block) >= after + 8 + 4 * count:
        for index, (tag, (kind, number, value, inline)) in enumerate(entries.items()):
            high = struct.unpack_from("<I", block, after + 8 + 4 * index)[0]
            entries[tag] = kind, number, value + (high << 32), inline
    return entries, struct.unpack(code, following)[0], is_ndpi


def _directory(file: IO[bytes], layout: Layout, entries: dict[int, Entry], size: int) -> Directory:
    """Find how far the tiles or strips of an image reach."""
    end = 0
    for offsets_tag, counts_tag in zip(OFFSETS, COUNTS, strict=True):
        if offsets_tag not in entries or counts_tag not in entries:
            continue
        offsets = _values(file, layout, entries[offsets_tag], size)
        counts = _values(file, layout, entries[counts_tag], size)
        if offsets is None or counts is None:
            end = max(end, entries[offsets_tag][2], entries[counts_tag][2])
            end = max(end, size + 1)
        elif len(offsets) == len(counts):
            used = counts > 0
            end = max(end, int((offsets[used] + counts[used]).max(initial=0)))
    return Directory(end, _compression(file, layout, entries, size))


def _compression(file: IO[bytes], layout: Layout, entries: dict[int, Entry], size: int) -> int:
    """Return the code of an image's compression; 1, none, where it is not given."""
    entry = entries.get(COMPRESSION)
    values = None if entry is None else _values(file, layout, entry, size)
    return 1 if values is None or len(values) == 0 else int(values[0])


def _values(file: IO[bytes], layout: Layout, entry: Entry, size: int) -> NDArray[np.int64] | None:
    """Return the whole numbers of an entry; ``None`` where they lie beyond the end of the file."""
    kind, count, value, inline = entry
    width = WIDTHS.get(kind)
    if width is None or count == 0:
        return np.empty(0, np.int64)
    if width * count <= struct.calcsize(layout.offset):
        if count == 1 and layout.order == "<":
            return np.array([value], np.int64)
        value = inline
    if value + width * count > size:
        return None
    file.seek(value)
    return np.frombuffer(file.read(width * count), f"{layout.order}u{width}").astype(np.int64)
