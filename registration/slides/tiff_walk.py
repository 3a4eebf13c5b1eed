"""How far a TIFF file reaches: enough of its directories to tell a whole file from a cut one.

Reads classic TIFF, BigTIFF, and Hamamatsu's NDPI, which is classic TIFF whose offsets have a second,
high half: 4 bytes per entry after each directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSION, OFFSETS, COUNTS, NDPI_MARK = 259, (273, 324), (279, 325), 65420
WIDTHS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Bytes per value of the types of whole numbers."""
ALL_WIDTHS = {**WIDTHS, 2: 1, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 17: 8}
NO_COMPRESSION = 1
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
    def offset_bytes(self) -> int:
        """Length of an offset, and of the values that fit into an entry."""
        return struct.calcsize(self.order + self.offset)

    @property
    def count_bytes(self) -> int:
        """Length of the number of entries."""
        return struct.calcsize(self.order + self.count)

    @property
    def header_bytes(self) -> int:
        """Length of the header: marks, and where the first directory lies."""
        return 2 * self.offset_bytes

    @property
    def entry_bytes(self) -> int:
        """Length of an entry: tag, type, count, value."""
        return 4 + 2 * self.offset_bytes


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
        head = file.read(16).ljust(16, b"\0")
        order = "<" if head[:2] == b"II" else ">"
        big = 43 in (head[2], head[3])
        layout = Layout(order, "Q", "Q") if big else Layout(order, "H", "I")
        # Classic TIFF ends at 4 GiB; a larger one is NDPI, whose first offset has 8 bytes.
        code = order + ("Q" if size > 2**32 else layout.offset)
        position = struct.unpack_from(code, head, 8 if big else 4)[0]
        if size < layout.header_bytes:
            yield Directory(layout.header_bytes, NO_COMPRESSION)
        is_ndpi = False
        for _ in range(MOST_DIRECTORIES):
            if position == 0:
                return
            if position + layout.count_bytes > size:
                yield Directory(position + layout.count_bytes, NO_COMPRESSION)
                return
            block = _read_block(file, layout, position, is_ndpi)
            is_ndpi = block.is_ndpi
            yield _directory(file, layout, block, size)
            position = block.following


@dataclass(frozen=True)
class Entry:
    """One line of a directory."""

    kind: int
    count: int
    value: int
    """The number itself, or where the numbers lie if they do not fit in here."""
    inline: int
    """Where they lie if they do."""


@dataclass(frozen=True)
class Block:
    """A directory as it is stored."""

    entries: dict[int, Entry]
    following: int
    """Where the next one lies, or 0."""
    end: int
    """Position after it."""
    is_ndpi: bool


def _read_block(file: IO[bytes], layout: Layout, position: int, is_ndpi: bool) -> Block:
    """Read a directory, or as much of it as there is."""
    file.seek(position)
    count = struct.unpack(layout.order + layout.count, file.read(layout.count_bytes))[0]
    start, width = position + layout.count_bytes, layout.entry_bytes
    stored = file.read(count * (width + 4) + 8)
    entries: dict[int, Entry] = {}
    for index in range(min(count, len(stored) // width)):
        code = f"{layout.order}HH{layout.offset}{layout.offset}"
        tag, kind, number, value = struct.unpack_from(code, stored, index * width)
        inline = start + (index + 1) * width - layout.offset_bytes
        entries[tag] = Entry(kind, number, value, inline)
    is_ndpi = is_ndpi or (NDPI_MARK in entries and layout.offset == "I")
    code, after = ("<Q" if is_ndpi else layout.order + layout.offset), count * width
    length = struct.calcsize(code)
    following = struct.unpack(code, stored[after : after + length].ljust(length, b"\0"))[0]
    if is_ndpi and len(stored) >= after + length + 4 * count:
        highs = struct.unpack_from(f"<{count}I", stored, after + length)
        entries = {
            tag: replace(entry, value=entry.value + (high << 32))
            for (tag, entry), high in zip(entries.items(), highs, strict=False)
        }
    end = start + after + length + (4 * count if is_ndpi else 0)
    return Block(entries, following, end, is_ndpi)


def _directory(file: IO[bytes], layout: Layout, block: Block, size: int) -> Directory:
    """Find how far an image reaches: its entries, their values, and its tiles or strips."""
    ends = [block.end]
    for entry in block.entries.values():
        length = ALL_WIDTHS.get(entry.kind, 0) * entry.count
        if length > layout.offset_bytes:
            ends.append(entry.value + length)
    if max(ends) <= size:
        for tags in zip(OFFSETS, COUNTS, strict=True):
            offsets, counts = (_values(file, layout, block, tag) for tag in tags)
            if len(offsets) == len(counts):
                ends.append(int((offsets + counts)[counts > 0].max(initial=0)))
    compression = _values(file, layout, block, COMPRESSION)
    return Directory(max(ends), int(compression[0]) if len(compression) else NO_COMPRESSION)


def _values(file: IO[bytes], layout: Layout, block: Block, tag: int) -> NDArray[np.int64]:
    """Return the whole numbers of an entry; none where they are of another type, or not there."""
    entry = block.entries.get(tag)
    width = WIDTHS.get(entry.kind) if entry is not None else None
    if entry is None or width is None:
        return np.empty(0, np.int64)
    if entry.count == 1 and block.is_ndpi:
        # With its high half the number is not in one place.
        return np.array([entry.value], np.int64)
    fits = width * entry.count <= layout.offset_bytes
    file.seek(entry.inline if fits else entry.value)
    stored = file.read(width * entry.count)
    if len(stored) < width * entry.count:
        return np.empty(0, np.int64)
    return np.frombuffer(stored, f"{layout.order}u{width}").astype(np.int64)
