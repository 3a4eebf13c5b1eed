"""The second reader: pyramidal OME-TIFF, plain TIFF, PNG, JPEG, BMP and WebP.

TIFF is read by its tiles or strips, with a bounded cache of decoded ones; the others are decoded
whole, and refused where that takes too much memory.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import tifffile

from registration.files.images import read_plain
from registration.files.ome import OmeImage, positive, um_per_unit
from registration.files.refusal import DAMAGE
from registration.files.samples import oriented
from registration.files.tiff import TiffImage, assembled
from registration.files.tiff_reach import is_tiff
from registration.geometry import Box, Image, Size
from registration.slides.reader import SlideFacts, SlideReader
from registration.slides.tile_cache import shared_tiles

UM_PER_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0}
_numbers = count()


def open_raster(path: Path) -> SlideReader:
    """Open an image of no vendor; :class:`SlideError` says why where it cannot be read."""
    return TiffReader(path) if is_tiff(path) else PlainReader(path)


def is_ome_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF with OME metadata."""
    if not is_tiff(path):
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return bool(file.is_ome)
    except DAMAGE:
        return False


class PlainReader:
    """PNG, JPEG, BMP and WebP, decoded whole when opened."""

    def __init__(self, path: Path):
        image = read_plain(path)
        self._pixels = image.pixels
        self.facts = SlideFacts(
            vendor=image.format,
            sizes=(Size(self._pixels.shape[1], self._pixels.shape[0]),),
            mpp_xy=None,
            icc_profile=image.icc_profile,
        )

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box``."""
        return self._pixels[box.slices()].copy()

    def close(self) -> None:
        """Nothing is open; the pixels go with the reader."""


class TiffReader:
    """TIFF and OME-TIFF, read tile by tile."""

    def __init__(self, path: Path):
        self._image = TiffImage(path)
        self._number = next(_numbers)
        self._turns = self._image.orientation >= 5
        described = self._image.described
        mpp_xy, unit_missing, warnings = _pixel_size(path, self._image)
        self.facts = SlideFacts(
            vendor="ome-tiff" if self._image.is_ome else "tiff",
            sizes=tuple(self._upright(page) for page in self._image.pages),
            mpp_xy=mpp_xy[::-1] if mpp_xy and self._turns else mpp_xy,
            objective_power=described.objective_power if described else None,
            icc_profile=self._image.icc_profile,
            unit_missing=unit_missing,
            warnings=self._image.warnings + warnings,
        )

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box`` on ``level``, decoding only the tiles under it."""
        size, orientation = self.facts.sizes[level], self._image.orientation
        x = size.width - box.right if orientation in (2, 3, 6, 7) else box.x
        y = size.height - box.bottom if orientation in (3, 4, 7, 8) else box.y
        rows, columns = range(y, y + box.height), range(x, x + box.width)
        if self._turns:
            rows, columns = columns, rows
        part = assembled(
            self._image.pages[level], rows, columns, lambda index: self._tile(level, index)
        )
        return oriented(part, orientation)

    def close(self) -> None:
        """Release the file and its tiles."""
        self._image.close()
        shared_tiles().forget(self._number)

    def _tile(self, level: int, index: int) -> Image:
        """Return a decoded tile or strip as RGB, from the cache where it is there."""
        return shared_tiles().get(
            (self._number, level, index), lambda: self._image.segment(level, index)
        )

    def _upright(self, page: tifffile.TiffPage) -> Size:
        """Return the size of a level once it is turned upright."""
        sides = page.imagewidth, page.imagelength
        return Size(*(sides[::-1] if self._turns else sides))


def _pixel_size(
    path: Path, image: TiffImage
) -> tuple[tuple[float, float] | None, bool, tuple[str, ...]]:
    """Return µm per stored pixel along x and y, whether their unit had to be guessed, and warnings."""
    if image.described is not None and image.described.physical_size != (None, None):
        size = _ome_pixel_size(image.described)
        if size is None and "pixel" not in image.described.units:
            written = " x ".join(str(value) for value in image.described.physical_size)
            warning = f"{path.name}: its pixel size, {written[:80]!r}, is no length and left out."
            return None, False, (warning,)
        return size, False, ()
    page, unit = image.pages[0], image.imagej_unit()
    per_unit = [_resolution(page, tag) for tag in (282, 283)]
    if unit is not None:
        um = um_per_unit(unit)
    else:
        code = page.tags.valueof(296)
        um = UM_PER_RESOLUTION_UNIT.get(2 if code is None else code)
    x, y = per_unit
    if um is None or x is None or y is None:
        return None, False, ()
    return (um / x, um / y), unit is None and code is None, ()


def _resolution(page: tifffile.TiffPage, tag: int) -> float | None:
    """Return the pixels per unit that a tag states as a ratio or a number, or ``None``."""
    value = page.tags.valueof(tag)
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) not in (1, 2) or not all(isinstance(number, int | float) for number in numbers):
        return None
    denominator = numbers[1] if len(numbers) == 2 else 1
    return positive(numbers[0] / denominator) if denominator else None


def _ome_pixel_size(described: OmeImage) -> tuple[float, float] | None:
    """Return µm per pixel along x and y, or ``None`` where they are not both lengths."""
    sizes = [
        (positive(value), um_per_unit(unit))
        for value, unit in zip(described.physical_size, described.units, strict=True)
    ]
    (x, x_um), (y, y_um) = sizes
    if x is None or y is None or x_um is None or y_um is None:
        return None
    return x * x_um, y * y_um
