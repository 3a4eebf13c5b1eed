"""The second reader: pyramidal OME-TIFF, plain TIFF, PNG and JPEG.

TIFF is read by its tiles or strips, with a bounded cache of decoded ones. PNG and JPEG are decoded
whole, and refused where that takes too much memory.
"""

from __future__ import annotations

import struct
import threading
import weakref
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import JpegImagePlugin, PngImagePlugin

from registration.errors import SlideError
from registration.geometry import Box, Image, Size
from registration.slides.reader import SlideFacts, SlideReader, on_white
from registration.slides.refusal import EXPORT_AGAIN, compression_name, explain
from registration.slides.tiff_walk import is_tiff
from registration.slides.tile_cache import shared_tiles

LARGEST_SEGMENT_BYTES = 2**30
LARGEST_PLAIN_PIXELS = 400 * 10**6
PLUGINS = {b"\x89PN": PngImagePlugin.PngImageFile, b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile}
"""By the first bytes of a file. Opened directly: Pillow's own limit on sizes is lower than ours."""
READABLE_PHOTOMETRICS = ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR")
UM_PER_UNIT = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
UM_PER_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0}
_numbers = count()


def open_raster(path: Path) -> SlideReader:
    """Open a TIFF, PNG or JPEG; :class:`SlideError` says why where it cannot be read."""
    return TiffReader(path) if is_tiff(path) else PlainReader(path)


def is_ome_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF with OME metadata."""
    if not is_tiff(path):
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return bool(file.is_ome)
    except (tifffile.TiffFileError, ValueError, KeyError, IndexError):
        return False


class PlainReader:
    """PNG and JPEG, decoded whole when opened."""

    def __init__(self, path: Path):
        with path.open("rb") as file:
            magic = file.read(3)
        plugin = PLUGINS.get(magic)
        if plugin is None:
            raise SlideError(explain(path, "not an image"))
        try:
            with plugin(path) as image:
                _refuse_giants(path, image.size)
                self.facts = SlideFacts(
                    vendor=str(image.format).lower(),
                    sizes=(Size(*image.size),),
                    mpp_xy=None,
                    icc_profile=image.info.get("icc_profile"),
                )
                self._pixels = _pillow_rgb(path, image)
        except SlideError:
            raise
        except (OSError, SyntaxError, EOFError, ValueError, struct.error) as error:
            raise SlideError(explain(path, str(error))) from error

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box``."""
        return self._pixels[box.slices()].copy()

    def close(self) -> None:
        """Nothing is open; the pixels go with the reader."""


class TiffReader:
    """TIFF and OME-TIFF, read tile by tile."""

    def __init__(self, path: Path):
        try:
            self._file = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, ValueError, KeyError, IndexError) as error:
            raise SlideError(explain(path, str(error))) from error
        self._release = weakref.finalize(self, self._file.close)
        try:
            self._pages = _levels(path, self._file)
        except SlideError:
            self._release()
            raise
        except (tifffile.TiffFileError, ValueError, KeyError, IndexError) as error:
            self._release()
            raise SlideError(explain(path, str(error))) from error
        first = self._pages[0]
        mpp_xy, unit_missing = _tiff_mpp(self._file, first)
        profile = first.tags.get(34675)
        self.facts = SlideFacts(
            vendor="ome-tiff" if self._file.is_ome else "tiff",
            sizes=tuple(Size(page.imagewidth, page.imagelength) for page in self._pages),
            mpp_xy=mpp_xy,
            icc_profile=None if profile is None else bytes(profile.value),
            unit_missing=unit_missing,
        )
        self._number = next(_numbers)
        self._lock = threading.Lock()

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box`` on ``level``, decoding only the tiles under it."""
        page = self._pages[level]
        width, height = page.chunks[1], page.chunks[0]
        columns = -(-page.imagewidth // width)
        image = np.empty((box.height, box.width, 3), np.uint8)
        for row in range(box.y // height, (box.bottom - 1) // height + 1):
            for column in range(box.x // width, (box.right - 1) // width + 1):
                tile = self._tile(level, row * columns + column)
                x, y = column * width, row * height
                left, top = max(x, box.x), max(y, box.y)
                part = tile[top - y : box.bottom - y, left - x : box.right - x]
                bottom, right = top - box.y + part.shape[0], left - box.x + part.shape[1]
                image[top - box.y : bottom, left - box.x : right] = part
        return image

    def close(self) -> None:
        """Release the file and its tiles."""
        self._release()
        shared_tiles().forget(self._number)

    def _tile(self, level: int, index: int) -> Image:
        """Return a decoded tile or strip as RGB, from the cache where it is there."""
        tiles, key = shared_tiles(), (self._number, level, index)
        tile = tiles.get(key)
        if tile is None:
            tile = self._decoded(self._pages[level], index)
            tiles.put(key, tile)
        return tile

    def _decoded(self, page: tifffile.TiffPage, index: int) -> Image:
        """Read and decode one tile or strip; a tile that was never written is white."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if count == 0:
            return np.full((*page.chunks[:2], 3), 255, np.uint8)
        with self._lock:
            self._file.filehandle.seek(offset)
            data = self._file.filehandle.read(count)
        try:
            decoded = page.decode(data, index, jpegtables=page.jpegtables, _fullsize=True)[0]
        except (RuntimeError, ValueError) as error:
            raise SlideError(f"tile {index} does not decode: {error}") from error
        if decoded is None:
            return np.full((*page.chunks[:2], 3), 255, np.uint8)
        return _as_rgb(decoded[0], page)


def _levels(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Return the page of each level of the main image, or say why it cannot be used."""
    series = max(file.series, key=lambda one: one.levels[0].keyframe.imagewidth)
    pages = []
    for level in series.levels:
        if len(level.pages) != 1:
            raise SlideError(
                f"{path} holds {len(level.pages)} planes ({series.axes}), not one RGB image. "
                "Export it as 8-bit RGB."
            )
        pages.append(level.pages[0].aspage())
    _check_page(path, pages[0])
    return pages


def _check_page(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse what cannot be shown as RGB, or not be read in parts."""
    photometric = getattr(page.photometric, "name", str(page.photometric))
    if page.dtype is None or page.imagewidth * page.imagelength == 0:
        raise SlideError(explain(path, "it holds no pixels"))
    if page.dtype not in (np.dtype("uint8"), np.dtype("uint16")):
        raise SlideError(f"{path} has {page.dtype} pixels; export it as 8-bit RGB.")
    if photometric not in READABLE_PHOTOMETRICS or page.samplesperpixel not in (1, 3, 4):
        raise SlideError(
            f"{path} has {page.samplesperpixel} channels, {photometric}; export it as 8-bit RGB."
        )
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        raise SlideError(f"{path} stores its channels apart; export it as interleaved RGB.")
    if photometric == "YCBCR" and page.compression not in (6, 7):
        raise SlideError(f"{path} stores YCbCr without JPEG; export it as 8-bit RGB.")
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError as error:
        name = compression_name(int(page.compression))
        raise SlideError(
            f"{path} has an unsupported compression: {name}. {EXPORT_AGAIN}"
        ) from error
    if int(np.prod(page.chunks)) * page.dtype.itemsize > LARGEST_SEGMENT_BYTES:
        raise SlideError(
            f"{path} is one piece of {page.imagewidth} x {page.imagelength} px that can only be "
            "decoded whole. Convert it to a tiled pyramid."
        )


def _as_rgb(pixels: NDArray[Any], page: tifffile.TiffPage) -> Image:
    """Turn decoded ``(h, w, samples)`` pixels into 8-bit RGB."""
    if pixels.dtype == np.uint16:
        most = page.tags.get(281)
        pixels = _eight_bit(pixels, 65535 if most is None else int(np.max(most.value)))
    if getattr(page.photometric, "name", "") == "MINISWHITE":
        pixels = 255 - pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels.astype(np.uint8), 3, axis=-1)
    if pixels.shape[-1] == 4:
        return on_white(pixels.astype(np.uint8))
    return pixels.astype(np.uint8, copy=False)


def _eight_bit(pixels: NDArray[Any], most: int) -> Image:
    """Scale ``0 .. most`` to ``0 .. 255``."""
    return np.asarray(np.minimum(pixels * (255.0 / most) + 0.5, 255), np.uint8)


def _pillow_rgb(path: Path, image: PillowImage.Image) -> Image:
    """Decode a PNG or JPEG of any kind as RGB."""
    if image.mode.startswith("I;16"):
        grey = _eight_bit(np.asarray(image), 65535)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise SlideError(f"{path} has 32-bit pixels; export it as 8-bit RGB.")
    if image.has_transparency_data:
        return on_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _refuse_giants(path: Path, size: tuple[int, int]) -> None:
    """Refuse an image that would not fit into memory."""
    if size[0] * size[1] > LARGEST_PLAIN_PIXELS:
        raise SlideError(
            f"{path} is {size[0]} x {size[1]} px, too large for a format that can only be decoded "
            "whole. Convert it to a tiled pyramidal TIFF."
        )


def _tiff_mpp(
    file: tifffile.TiffFile, page: tifffile.TiffPage
) -> tuple[tuple[float, float] | None, bool]:
    """Return µm per pixel along x and y, and whether their unit had to be guessed."""
    if file.is_ome:
        return _ome_mpp(file.ome_metadata or ""), False
    resolution = [page.tags.get(tag) for tag in (282, 283)]
    if any(tag is None or 0 in tag.value for tag in resolution):
        return None, False
    pixels_per_unit = [tag.value[0] / tag.value[1] for tag in resolution]
    if file.is_imagej:
        um = UM_PER_UNIT.get(
            str((file.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
        )
        return (None, False) if um is None else (_per_pixel(um, pixels_per_unit), False)
    unit = page.tags.get(296)
    um = UM_PER_RESOLUTION_UNIT.get(2 if unit is None else int(unit.value))
    return (None, False) if um is None else (_per_pixel(um, pixels_per_unit), unit is None)


def _per_pixel(um: float, pixels_per_unit: list[float]) -> tuple[float, float]:
    """Turn pixels per unit into µm per pixel."""
    return um / pixels_per_unit[0], um / pixels_per_unit[1]


def _ome_mpp(xml: str) -> tuple[float, float] | None:
    """Return the physical pixel size of the first image of an OME document, in µm."""
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("}Pixels"):
            sizes = []
            for axis in "XY":
                um = UM_PER_UNIT.get(element.get(f"PhysicalSize{axis}Unit", "µm"))
                value = element.get(f"PhysicalSize{axis}")
                if um is None or value is None:
                    return None
                sizes.append(float(value) * um)
            return sizes[0], sizes[1]
    return None
