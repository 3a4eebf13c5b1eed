"""A writer of genuine Hamamatsu NDPI files, in bounded memory.

NDPI is a little-endian TIFF with a few liberties: the header's offset and every directory's
"next" field are eight bytes wide, each directory is followed by the high words of its entries, and
a level is a single JPEG whose restart intervals serve as tiles. Readers find those through the
``McuStarts`` table. The facts were taken from OpenSlide's documentation of the format and checked
by opening the files with OpenSlide.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from registration.errors import SynthError
from registration.files.storage import written_whole
from registration.geometry import Image, Size

SIZE_STEP = 64
"""Width and height are multiples of this, so that at least two levels have whole JPEG units."""
BAND_ROWS = 64
"""Rows encoded at once. Every band holds a multiple of eight restart intervals, so that the
markers RST0..RST7 of one band continue those of the band before."""
LEVEL_STEP = 4
SMALLEST_LEVEL_PX = 256
OVERVIEW_PX = 400
JPEG_LIMIT_PX = 65_500
MCU_WIDTH, MCU_HEIGHT = 16, 8
TILE_MCUS = 64
TILE_WIDTH = TILE_MCUS * MCU_WIDTH
"""Widest tile of readers. It is narrower where it does not divide the slide's width, down to one MCU,
and then reading takes many times as long."""
SUBSAMPLING_422 = 1
MACRO_LENS = -1.0
OBJECTIVES = (5.0, 10.0, 20.0, 40.0)
UM_PER_CM = 10_000.0

_BYTES, _ASCII, _SHORT, _LONG, _RATIONAL, _SLONG, _FLOAT = 1, 2, 3, 4, 5, 9, 11
_FORMATS = {_BYTES: "B", _SHORT: "H", _LONG: "I", _RATIONAL: "II", _SLONG: "i", _FLOAT: "f"}


@dataclass(frozen=True, slots=True)
class NdpiSpec:
    """What a file holds besides its pixels: level-0 size, µm per pixel, JPEG quality."""

    size: Size
    mpp: float
    quality: int = 88

    def __post_init__(self) -> None:
        for name, side in (("width", self.size.width), ("height", self.size.height)):
            if side % SIZE_STEP or side <= 0:
                nearest = max(SIZE_STEP, round(side / SIZE_STEP) * SIZE_STEP)
                raise SynthError(
                    f"slide {name} {side} px is not a multiple of {SIZE_STEP}; use {nearest}"
                )
            if side > JPEG_LIMIT_PX:
                raise SynthError(
                    f"slide {name} {side} px is more than one JPEG holds ({JPEG_LIMIT_PX} px)"
                )

    @property
    def objective(self) -> float:
        """Magnification whose usual pixel size is nearest to ``mpp``."""
        return min(OBJECTIVES, key=lambda power: abs(np.log(power * self.mpp / 9.2)))

    def level_sizes(self) -> list[Size]:
        """Sizes of all levels, the largest first."""
        sizes = [self.size]
        while True:
            width, height = sizes[-1].width // LEVEL_STEP, sizes[-1].height // LEVEL_STEP
            whole = sizes[-1].width % LEVEL_STEP == 0 and sizes[-1].height % LEVEL_STEP == 0
            if not whole or width % MCU_WIDTH or height % MCU_HEIGHT:
                return sizes
            sizes.append(Size(width, height))
            if max(width, height) <= SMALLEST_LEVEL_PX:
                return sizes


def write_ndpi(
    path: Path,
    spec: NdpiSpec,
    bands: Iterable[Image],
    macro: Callable[[Image], Image] | None = None,
) -> None:
    """Write an NDPI file from bands of full width, top to bottom.

    ``bands`` are ``(rows, width, 3)`` uint8 RGB with any number of rows. ``macro`` gets a small
    level and returns the macro image. Smaller levels are averages of 4 x 4 pixels. Peak
    memory is a band plus the compressed smaller levels.

    Raises :class:`SynthError` when the bands do not add up to the height.
    """
    with written_whole(path) as part, part.open("wb") as file:
        file.write(b"II" + struct.pack("<HQ", 42, 0))
        levels = _write_levels(file, spec, bands)
        directories = [level.directory(spec) for level in levels]
        if macro is not None:
            directories.append(_macro_directory(file, macro(_overview(levels)), spec))
        _write_directories(file, directories)


def _write_levels(file: BinaryIO, spec: NdpiSpec, bands: Iterable[Image]) -> list[_Level]:
    """Encode all levels; level 0 straight into ``file``, the others after it."""
    sizes = spec.level_sizes()
    spools: list[BinaryIO] = [file, *(io.BytesIO() for _ in sizes[1:])]
    levels = [_Level(size, spec.quality, spool) for size, spool in zip(sizes, spools, strict=True)]
    for band in bands:
        rows = band
        for level in levels:
            rows = level.add(rows)
    rest: list[Image] = []
    for level in levels:
        made = [level.add(rows) for rows in rest if len(rows)]
        rest = [*made, level.finish()]
        if level.spool is not file:
            level.move_to(file)
    return levels


def _overview(levels: list[_Level]) -> Image:
    """Return the smallest level that is still sharp in a macro image."""
    fitting = [level for level in levels[1:] if max(level.size.shape) >= OVERVIEW_PX]
    return (fitting or levels[1:2])[-1].pixels()


@dataclass
class _Level:
    """One level while it is being encoded."""

    size: Size
    quality: int
    spool: BinaryIO
    start: int = field(init=False)
    length: int = 0
    rows_done: int = 0
    mcu_starts: list[NDArray[np.int64]] = field(default_factory=list)
    pending: list[Image] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start = self.spool.tell()

    @property
    def interval(self) -> int:
        """MCUs per restart interval: the tile width of readers."""
        per_row = self.size.width // MCU_WIDTH
        return max(n for n in range(1, min(TILE_MCUS, per_row) + 1) if per_row % n == 0)

    def add(self, rows: Image) -> Image:
        """Take rows, encode whole bands, and return the rows they make on the next level."""
        if len(rows):
            self.pending.append(rows)
        waiting = sum(len(part) for part in self.pending)
        whole = waiting - waiting % BAND_ROWS
        if not whole:
            return np.empty((0, self.size.width // LEVEL_STEP, 3), np.uint8)
        block = np.concatenate(self.pending) if len(self.pending) > 1 else rows
        self.pending = [block[whole:].copy()] if whole < waiting else []
        for top in range(0, whole, BAND_ROWS):
            self._encode(block[top : top + BAND_ROWS])
        return self._smaller(block[:whole])

    def _smaller(self, rows: Image) -> Image:
        """Return rows as the next level has them."""
        size = (self.size.width // LEVEL_STEP, len(rows) // LEVEL_STEP)
        if not size[1]:
            return np.empty((0, size[0], 3), np.uint8)
        return np.asarray(cv2.resize(rows, size, interpolation=cv2.INTER_AREA), np.uint8)

    def finish(self) -> Image:
        """Encode what is left, close the JPEG, and return the last rows of the next level."""
        left = np.concatenate(self.pending) if self.pending else np.empty((0, 1, 3), np.uint8)
        if len(left):
            self._encode(left)
        if self.rows_done != self.size.height:
            raise SynthError(f"bands held {self.rows_done} rows, expected {self.size.height}")
        self._put(b"\xff\xd9")
        return self._smaller(left)

    def _encode(self, band: Image) -> None:
        """Append one band's entropy-coded data, joined by a restart marker."""
        buffer = io.BytesIO()
        PillowImage.fromarray(band).save(
            buffer,
            "JPEG",
            quality=self.quality,
            subsampling=SUBSAMPLING_422,
            restart_marker_blocks=self.interval,
        )
        header, data = _split_jpeg(buffer.getvalue())
        if self.rows_done == 0:
            self._put(_with_height(header, self.size.height))
        else:
            self._put(b"\xff\xd7")
        self.mcu_starts.append(self.length + _interval_starts(data))
        self._put(data)
        self.rows_done += len(band)

    def _put(self, data: bytes) -> None:
        self.spool.write(data)
        self.length += len(data)

    def move_to(self, file: BinaryIO) -> None:
        """Copy the spooled JPEG to the end of ``file``."""
        assert isinstance(self.spool, io.BytesIO)
        self.start = file.tell()
        file.write(self.spool.getbuffer())

    def pixels(self) -> Image:
        """Decode the spooled JPEG; only the smaller levels keep theirs."""
        assert isinstance(self.spool, io.BytesIO)
        return np.asarray(PillowImage.open(self.spool).convert("RGB"))

    def directory(self, spec: NdpiSpec) -> _Directory:
        """Return the TIFF directory of this level."""
        scale = spec.size.width / self.size.width
        starts = np.concatenate(self.mcu_starts)
        entries = _image_entries(self.size, self.start, self.length)
        entries |= _resolution_entries(spec.mpp * scale)
        entries[65421] = (_FLOAT, [spec.objective / scale])
        entries[65426] = (_LONG, starts.tolist())
        return entries


_Directory = dict[int, tuple[int, "bytes | list[int] | list[float]"]]


def _macro_directory(file: BinaryIO, macro: Image, spec: NdpiSpec) -> _Directory:
    """Write the macro image and return its directory."""
    buffer = io.BytesIO()
    PillowImage.fromarray(macro).save(buffer, "JPEG", quality=spec.quality, subsampling=0)
    start = file.tell()
    file.write(buffer.getbuffer())
    size = Size(macro.shape[1], macro.shape[0])
    entries = _image_entries(size, start, len(buffer.getbuffer()))
    entries |= _resolution_entries(spec.mpp * spec.size.width / size.width)
    entries[65421] = (_FLOAT, [MACRO_LENS])
    return entries


def _image_entries(size: Size, start: int, length: int) -> _Directory:
    """Tags that level and macro images share."""
    return {
        256: (_LONG, [size.width]),
        257: (_LONG, [size.height]),
        258: (_SHORT, [8, 8, 8]),
        259: (_SHORT, [7]),
        262: (_SHORT, [6]),
        271: (_ASCII, b"Hamamatsu\0"),
        272: (_ASCII, b"synthetic section\0"),
        273: (_LONG, [start]),
        277: (_SHORT, [3]),
        278: (_LONG, [size.height]),
        279: (_LONG, [length]),
        305: (_ASCII, b"bci-pipeline synth\0"),
        65420: (_LONG, [1]),
        65422: (_SLONG, [0]),
        65423: (_SLONG, [0]),
        65424: (_SLONG, [0]),
    }


def _resolution_entries(mpp: float) -> _Directory:
    """Pixels per centimetre, as Hamamatsu writes them."""
    per_cm = [round(UM_PER_CM / mpp * 1000), 1000]
    return {282: (_RATIONAL, per_cm), 283: (_RATIONAL, per_cm), 296: (_SHORT, [3])}


def _write_directories(file: BinaryIO, directories: list[_Directory]) -> None:
    """Write all directories and link them from the header."""
    link = 4
    for entries in directories:
        _align(file)
        packed = [(tag, *_packed(kind, value)) for tag, (kind, value) in sorted(entries.items())]
        fields = [_placed(file, *entry) for entry in packed]
        _align(file)
        start = file.tell()
        file.write(struct.pack("<H", len(fields)) + b"".join(fields))
        next_link = file.tell()
        file.write(struct.pack("<Q", 0) + bytes(4 * len(fields)))
        end = file.tell()
        if end > 0xFFFFFFFF:
            raise SynthError("the slide needs more than 4 GiB; choose a smaller size")
        file.seek(link)
        file.write(struct.pack("<Q", start))
        file.seek(end)
        link = next_link


def _packed(kind: int, value: bytes | list[int] | list[float]) -> tuple[int, int, bytes]:
    """Return TIFF type, count and the value's bytes."""
    if isinstance(value, bytes):
        return kind, len(value), value
    item = _FORMATS[kind]
    count = len(value) // len(item)
    return kind, count, struct.pack("<" + item * count, *value)


def _placed(file: BinaryIO, tag: int, kind: int, count: int, data: bytes) -> bytes:
    """Return a directory entry; data longer than four bytes goes into the file."""
    if len(data) <= 4:
        return struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
    _align(file)
    offset = file.tell()
    file.write(data)
    return struct.pack("<HHII", tag, kind, count, offset)


def _align(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % 8))


def _split_jpeg(jpeg: bytes) -> tuple[bytes, bytes]:
    """Split a baseline JPEG into its header (through SOS) and entropy-coded data without EOI."""
    at = _marker(jpeg, 0xDA)
    end = at + 2 + int(struct.unpack(">H", jpeg[at + 2 : at + 4])[0])
    return jpeg[:end], jpeg[end:-2]


def _with_height(header: bytes, height: int) -> bytes:
    """Return a JPEG header whose frame says ``height`` rows."""
    at = _marker(header, 0xC0)
    return header[: at + 5] + struct.pack(">H", height) + header[at + 7 :]


def _marker(jpeg: bytes, code: int) -> int:
    """Return where a marker segment of the header starts."""
    at = 2
    while jpeg[at + 1] != code:
        at += 2 + int(struct.unpack(">H", jpeg[at + 2 : at + 4])[0])
    return at


def _interval_starts(data: bytes) -> NDArray[np.int64]:
    """Return the offsets of the restart intervals in entropy-coded data."""
    raw = np.frombuffer(data, np.uint8)
    after_ff = np.flatnonzero(raw[:-1] == 0xFF) + 1
    markers = after_ff[(raw[after_ff] >= 0xD0) & (raw[after_ff] <= 0xD7)]
    return np.concatenate([[0], markers + 1]).astype(np.int64)
