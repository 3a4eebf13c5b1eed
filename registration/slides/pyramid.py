"""Tiled pyramids, written unit by unit in bounded memory.

A unit is a square of 4 x 4 level-0 tiles. :func:`encode_unit` is pure and runs in any process: it
encodes the unit's tiles of levels 0 to 2 and averages it by eight. :func:`write_pyramid` collects
the encoded tiles in the main process and builds the levels from /8 on from the averages.

Each level is the 2 x 2 average of the one below it, so that pixel ``x`` of a level with downsample
``d`` is centred at ``(x + 0.5) * d - 0.5``; sizes are rounded up.

| format     | layout                                            | read by (level sizes and mpp)        |
|------------|---------------------------------------------------|--------------------------------------|
| `tiff`     | JPEG tiles, one chain of directories              | OpenSlide, QuPath, tifffile, napari  |
| `ome-tiff` | JPEG tiles, levels as SubIFDs, OME-XML            | QuPath, Bio-Formats, tifffile        |
| `ome-zarr` | OME-NGFF 0.4, lossless chunks                     | napari, QuPath, zarr                 |
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import imagecodecs
import numpy as np
import tifffile

from registration.files.storage import folder_written_whole, written_whole
from registration.geometry import Box, Image, Size
from registration.slides.formats import ImageFormat
from registration.slides.ngff import compress, create_store, write_chunk

UNIT_TILES = 4
UNIT_LEVELS = 3
TOP_DOWNSAMPLE = 2**UNIT_LEVELS
BIGTIFF_PIXELS = 2**31


@dataclass(frozen=True)
class PyramidSpec:
    """What a pyramid looks like."""

    size: Size
    mpp: float
    """Micrometres per level-0 pixel."""
    tile: int = 512
    """Side of a tile in pixels, a multiple of 16."""
    quality: int = 85
    """Of JPEG, without chroma subsampling: at equal file size this keeps stain colours best."""
    format: ImageFormat = "tiff"

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Size of each level, down to the first that fits into one tile."""
        sizes = [self.size]
        while max(sizes[-1].shape) > self.tile:
            sizes.append(self.size.downsampled(2 ** len(sizes)))
        return tuple(sizes)


@dataclass(frozen=True)
class EncodedUnit:
    """One unit, ready to be written."""

    box: Box
    tiles: tuple[tuple[bytes, ...], ...]
    """The tiles of levels 0, 1 and 2, row by row."""
    top: Image
    """The unit at downsample 8."""


def unit_boxes(spec: PyramidSpec) -> tuple[Box, ...]:
    """Return the level-0 boxes of all units, row by row."""
    return tuple(Box.of(spec.size).tiles(UNIT_TILES * spec.tile))


def encode_unit(spec: PyramidSpec, image: Image, box: Box) -> EncodedUnit:
    """Encode the ``(box.height, box.width, 3)`` pixels of a unit. Pure; runs in worker processes.

    Raises :class:`ValueError` where ``image`` has another shape than ``box``.
    """
    if image.shape != (box.height, box.width, 3):
        raise ValueError(f"an image of shape {image.shape} for a unit of {box}")
    level = _padded(image, TOP_DOWNSAMPLE)
    tiles = []
    for number in range(UNIT_LEVELS):
        if number < len(spec.sizes):
            size = box.size.downsampled(2**number)
            tiles.append(tuple(_encoded_tiles(spec, level[: size.height, : size.width])))
        level = halved(level)
    return EncodedUnit(box, tuple(tiles), level)


def write_pyramid(path: Path, spec: PyramidSpec, units: Iterable[EncodedUnit]) -> None:
    """Write the units, which come in the order of :func:`unit_boxes`, as ``path``.

    The file (or folder, for OME-Zarr) appears when it is whole. Raises :class:`ValueError` where a
    unit is missing or out of order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write = {"tiff": _write_tiff, "ome-tiff": _write_ome_tiff, "ome-zarr": _write_ome_zarr}
    write[spec.format](path, spec, units)


def halved(image: Image) -> Image:
    """Return the 2 x 2 averages; an odd last row or column is averaged with itself."""
    even = _padded(image, 2)
    size = even.shape[1] // 2, even.shape[0] // 2
    return np.asarray(cv2.resize(even, size, interpolation=cv2.INTER_AREA), np.uint8)


class _Collector:
    """Takes units in order, gives tiles level by level, and keeps what waits on disk.

    Levels 1 and 2 wait as encoded tiles in a nameless temporary file, the /8 averages in another.
    """

    def __init__(self, spec: PyramidSpec, waiting: IO[bytes], top: Image):
        self._spec = spec
        self._waiting = waiting
        self._places: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._top = top

    def level0(self, units: Iterable[EncodedUnit]) -> Iterator[bytes]:
        """Yield the tiles of level 0 row by row, and put the others aside."""
        row: list[EncodedUnit] = []
        for unit in in_order(self._spec, units):
            self._put_aside(unit)
            row.append(unit)
            if unit.box.right == self._spec.size.width:
                yield from self._tile_rows(row)
                row.clear()

    def level(self, number: int) -> Iterator[bytes]:
        """Yield the tiles of a level above 0 row by row, once all units are in."""
        if number >= UNIT_LEVELS:
            yield from _encoded_tiles(self._spec, self.top(number))
            return
        size = self._spec.sizes[number]
        for row in range(-(-size.height // self._spec.tile)):
            for column in range(-(-size.width // self._spec.tile)):
                offset, count = self._places[number, row, column]
                self._waiting.seek(offset)
                yield self._waiting.read(count)

    def top(self, number: int) -> Image:
        """Return the pixels of a level from /8 on."""
        image: Image = self._top
        for _ in range(number - UNIT_LEVELS):
            image = halved(image)
        return image

    def add_top(self, unit: EncodedUnit) -> None:
        """Keep the unit's average."""
        y, x = unit.box.y // TOP_DOWNSAMPLE, unit.box.x // TOP_DOWNSAMPLE
        self._top[y : y + unit.top.shape[0], x : x + unit.top.shape[1]] = unit.top

    def _put_aside(self, unit: EncodedUnit) -> None:
        """Keep what belongs to the levels above 0."""
        self.add_top(unit)
        for number in range(1, len(unit.tiles)):
            for (row, column), tile in numbered_tiles(self._spec, unit, number):
                self._places[number, row, column] = self._waiting.tell(), len(tile)
                self._waiting.write(tile)

    def _tile_rows(self, units: list[EncodedUnit]) -> Iterator[bytes]:
        """Yield the level-0 tiles of a row of units, tile row by tile row."""
        for row in range(-(-units[0].box.height // self._spec.tile)):
            for unit in units:
                columns = -(-unit.box.width // self._spec.tile)
                yield from unit.tiles[0][row * columns : (row + 1) * columns]


@contextmanager
def _collector(spec: PyramidSpec, folder: Path) -> Iterator[_Collector]:
    """Give a collector whose temporary files lie in ``folder`` and go when the block ends."""
    shape = (*spec.size.downsampled(TOP_DOWNSAMPLE).shape, 3)
    with (
        tempfile.TemporaryFile(dir=folder) as waiting,
        tempfile.TemporaryFile(dir=folder) as top,
    ):
        yield _Collector(spec, waiting, np.memmap(top, np.uint8, "w+", shape=shape))


def in_order(spec: PyramidSpec, units: Iterable[EncodedUnit]) -> Iterator[EncodedUnit]:
    """Yield the units, and raise :class:`ValueError` where one is missing or out of order."""
    expected = iter(unit_boxes(spec))
    for unit in units:
        if unit.box != (box := next(expected, None)):
            raise ValueError(f"expected the unit at {box}, got the one at {unit.box}")
        yield unit
    if (box := next(expected, None)) is not None:
        raise ValueError(f"the units from {box} on are missing")


def numbered_tiles(
    spec: PyramidSpec, unit: EncodedUnit, level: int
) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield the tiles of a level of a unit with their row and column on the level."""
    scale = spec.tile * 2**level
    columns = -(-unit.box.size.downsampled(2**level).width // spec.tile)
    for index, tile in enumerate(unit.tiles[level]):
        row, column = divmod(index, columns)
        yield (unit.box.y // scale + row, unit.box.x // scale + column), tile


def _encoded_tiles(spec: PyramidSpec, image: Image) -> Iterator[bytes]:
    """Encode an image as whole tiles, row by row; the edges are repeated to fill them."""
    encode: Callable[[Image], bytes] = (
        compress if spec.format == "ome-zarr" else _jpeg(spec.quality)
    )
    for box in Box(0, 0, image.shape[1], image.shape[0]).tiles(spec.tile):
        yield encode(_padded(np.asarray(image[box.slices()]), spec.tile))


def _jpeg(quality: int) -> Callable[[Image], bytes]:
    """Return the JPEG encoder: YCbCr 4:4:4, as the TIFF tags say."""

    def encode(pixels: Image) -> bytes:
        return bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(pixels),
                level=quality,
                colorspace="RGB",
                outcolorspace="YCBCR",
                subsampling="444",
            )
        )

    return encode


def _padded(image: Image, multiple: int) -> Image:
    """Repeat the last row and column until both sides are multiples."""
    down, right = -image.shape[0] % multiple, -image.shape[1] % multiple
    if not down and not right:
        return image
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge")


def _write_tiff(path: Path, spec: PyramidSpec, units: Iterable[EncodedUnit]) -> None:
    """Write all levels in one chain, the reduced ones marked so: OpenSlide then sees them all."""
    with (
        written_whole(path) as part,
        _collector(spec, path.parent) as collector,
        tifffile.TiffWriter(part, bigtiff=_is_big(spec)) as writer,
    ):
        _write_page(writer, spec, 0, collector.level0(units), metadata=None)
        for number in range(1, len(spec.sizes)):
            tiles = collector.level(number)
            _write_page(writer, spec, number, tiles, subfiletype=1, metadata=None)


def _write_ome_tiff(path: Path, spec: PyramidSpec, units: Iterable[EncodedUnit]) -> None:
    """Write the reduced levels as SubIFDs of the first."""
    metadata = {
        "axes": "YXS",
        "Name": path.name,
        "PhysicalSizeX": spec.mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": spec.mpp,
        "PhysicalSizeYUnit": "µm",
    }
    with (
        written_whole(path) as part,
        _collector(spec, path.parent) as collector,
        tifffile.TiffWriter(part, bigtiff=_is_big(spec), ome=True) as writer,
    ):
        levels = len(spec.sizes) - 1
        tiles = collector.level0(units)
        _write_page(writer, spec, 0, tiles, metadata=metadata, subifds=levels)
        for number in range(1, len(spec.sizes)):
            _write_page(writer, spec, number, collector.level(number), subfiletype=1)


def _write_page(
    writer: tifffile.TiffWriter, spec: PyramidSpec, number: int, tiles: Iterator[bytes], **tags: Any
) -> None:
    """Write one level of tiles that are encoded already."""
    pixels_per_cm = 1e4 / (spec.mpp * 2**number)
    writer.write(
        tiles,
        shape=(*spec.sizes[number].shape, 3),
        dtype=np.uint8,
        tile=(spec.tile, spec.tile),
        photometric="ycbcr",
        subsampling=(1, 1),
        compression="jpeg",
        resolution=(pixels_per_cm, pixels_per_cm),
        resolutionunit="CENTIMETER",
        **tags,
    )


def _is_big(spec: PyramidSpec) -> bool:
    """Return whether the file may outgrow the 4 GiB of classic TIFF."""
    return spec.size.width * spec.size.height > BIGTIFF_PIXELS


def _write_ome_zarr(path: Path, spec: PyramidSpec, units: Iterable[EncodedUnit]) -> None:
    """Write a folder of chunks."""
    with folder_written_whole(path) as part, _collector(spec, path.parent) as collector:
        create_store(part, path.name, spec.sizes, spec.mpp, spec.tile)
        for unit in in_order(spec, units):
            collector.add_top(unit)
            for number in range(len(unit.tiles)):
                for place, tile in numbered_tiles(spec, unit, number):
                    write_chunk(part, number, place, tile)
        for number in range(UNIT_LEVELS, len(spec.sizes)):
            image = collector.top(number)
            columns = -(-image.shape[1] // spec.tile)
            for index, tile in enumerate(_encoded_tiles(spec, image)):
                write_chunk(part, number, divmod(index, columns), tile)
