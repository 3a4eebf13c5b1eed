"""TIFF images: which image of the file, what its samples mean, and its tiles as RGB.

The main image is the largest one that is no label, overview or reduced copy; its levels are the
reduced copies that fit it. What cannot be read rightly is refused with the reason.
"""

from __future__ import annotations

import math
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from registration.errors import SlideError
from registration.files.memory import check_memory
from registration.files.ome import OmeImage, image_of_page, ome_images
from registration.files.refusal import (
    DAMAGE,
    explain,
    one_line,
    refusing,
)
from registration.files.samples import Image, is_opacity_void, to_rgb, unused_bits
from registration.files.tiff_page import (
    area,
    declared_bits,
    fault,
    orientation,
    profile,
    samples_of,
    text,
)

LARGEST_SEGMENT_BYTES = 2**30
MOST_PAGES = 1000
SAMPLED_SEGMENTS = 64
"""Tiles that are looked at to learn what a file does not say."""
MOST_LEVELS = 64
COMPARED = 4
"""Places along each side where a page is compared with the main image, whose copy it may be."""
COMPARED_PX = 48
COMPARED_TILES = 64
MOST_OFF = 12.0
"""Of a mean over so many pixels a side, however a copy was made smaller and compressed."""
REDUCED, MACRO = 1, 9
ASIDE = re.compile(r"(^|[^a-z])(label|macro|thumbnail|overview)[^a-z]*(image)?[^a-z]*$")
"""Names of images that lie beside the slide's: the word stands at the end."""


class TiffImage:
    """The main image of an open TIFF; safe to use from several threads.

    Opening it raises :class:`SlideError` where it is damaged, or cannot be read rightly.
    """

    def __init__(self, path: Path):
        with refusing(path):
            self._file = tifffile.TiffFile(path, is_ndpi=False)
        self.close = weakref.finalize(self, self._file.close)
        """Release the file."""
        self._path = path
        self._lock = threading.Lock()
        self.warnings: tuple[str, ...] = ()
        """What was left out, one sentence each."""
        try:
            with refusing(path):
                self._choose()
        except SlideError:
            self.close()
            raise

    @property
    def is_ome(self) -> bool:
        """Whether the file has OME metadata."""
        return bool(self._file.is_ome)

    def segment(self, level: int, index: int) -> Image:
        """Return a tile or strip of a level as RGB; one that was never written is white.

        Raises :class:`OSError` with the reason where it does not decode.
        """
        return self._shown(self.pages[level], index)

    def _shown(self, page: tifffile.TiffPage, index: int) -> Image:
        """Return a tile or strip of a page as RGB."""
        stored = self._stored(page, index)
        if stored is None:
            return np.full((*page.chunks[:2], 3), 255, np.uint8)
        return to_rgb(stored, self.samples)

    def imagej_unit(self) -> str | None:
        """Return the unit of an ImageJ file's resolution, or ``None`` where the file is none."""
        return str((self._file.imagej_metadata or {}).get("unit")) if self._file.is_imagej else None

    def _choose(self) -> None:
        """Find the image, its levels, and what its samples mean."""
        pages = [page.aspage() for page in islice(self._file.pages, MOST_PAGES)]
        if not pages or not isinstance(pages[0], tifffile.TiffPage):
            raise SlideError(explain(self._path, "it holds no image"))
        described = ome_images(text(pages[0], 270)) if self.is_ome else ()
        main = _main_image(self._path, pages, described)
        _check_page(self._path, main)
        size = (main.imagewidth, main.imagelength)
        self.described = image_of_page(described, main.index, size)
        """What OME-XML says of the image."""
        _check_planes(self._path, self._file, main, pages, self.described)
        levels = _levels(main, pages, self._file, described)
        sure = {page.offset for page in _sure_levels(levels, pages)}
        self.pages = [page for page in levels if page.offset in sure]
        """The page of each level, largest first."""
        self.orientation = orientation(main)
        self.icc_profile = profile(main)
        self._settle_samples(main)
        self.pages = [page for page in levels if page.offset in sure or self._is_copy(page)]
        self._warn_of_others(main, pages)

    def _is_copy(self, page: tifffile.TiffPage) -> bool:
        """Return whether a page of the right size shows what the main image shows, in many places."""
        main = self.pages[0]
        ratio = main.imagewidth / page.imagewidth
        of_page, of_main = (
            lru_cache(COMPARED_TILES)(partial(self._shown, which)) for which in (page, main)
        )
        for rows, columns in _places(page):
            try:
                copy = assembled(page, rows, columns, of_page)
                rows, columns = (
                    range(int(span.start * ratio), min(int(span.stop * ratio), most))
                    for span, most in ((rows, main.imagelength), (columns, main.imagewidth))
                )
                full = assembled(main, rows, columns, of_main)
            except OSError:  # damaged there: whoever reads there will say so
                continue
            if np.abs(copy.mean((0, 1)) - full.mean((0, 1))).max() > MOST_OFF:
                return False
        return True

    def _settle_samples(self, main: tifffile.TiffPage) -> None:
        """Find the samples' meaning; look at some of them for what the file does not say."""
        samples, bits = samples_of(main), int(main.bitspersample)
        declared = declared_bits(main, self.described) or (None if bits == 16 else bits)
        if samples.alpha is not None or declared != bits:
            looked_at = self._some_samples(self.pages[-1])
            highest = max((int(pixels.max(initial=0)) for pixels in looked_at), default=0)
            if declared is None and (reason := unused_bits(highest, bits)):
                raise SlideError(f"{self._path}: {reason}")
            is_void = is_opacity_void(looked_at, samples)
            if is_void:
                self._warn("its opacity is 0 everywhere and left out")
            used = max(declared or bits, highest.bit_length())
            samples = samples_of(main, not is_void, 2**used - 1)
        if main.samplesperpixel > samples.colours + (samples.alpha is not None):
            self._warn("its samples beyond colour are no opacity and left out")
        self.samples = samples

    def _warn(self, what: str) -> None:
        self.warnings += (f"{self._path.name}: {what}.",)

    def _warn_of_others(self, main: tifffile.TiffPage, pages: list[Any]) -> None:
        """Say which image is read where the file holds another large one."""
        held = {page.offset for page in self.pages}
        others = [page for page in pages if page.offset not in held and not _is_reduced(page)]
        area = main.imagewidth * main.imagelength
        if any(4 * page.imagewidth * page.imagelength > area for page in others):
            self._warn(
                f"it holds {len(others) + 1} images; the largest is read, "
                f"{main.imagewidth} x {main.imagelength} px"
            )

    def _some_samples(self, page: tifffile.TiffPage) -> list[NDArray[Any]]:
        """Return the samples of tiles from all over a level."""
        count = len(page.dataoffsets)
        step = max(1, count // SAMPLED_SEGMENTS)
        some = (self._stored(page, index) for index in range(0, count, step))
        return [pixels for pixels in some if pixels is not None]

    def _stored(self, page: tifffile.TiffPage, index: int) -> NDArray[Any] | None:
        """Read and decode one tile or strip; ``None`` for one that was never written."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if count == 0:
            return None
        with self._lock:
            self._file.filehandle.seek(offset)
            data = self._file.filehandle.read(count)
        if len(data) < count:
            raise OSError("it has become shorter while it was read")
        try:
            decoded = page.decode(data, index, jpegtables=page.jpegtables, _fullsize=True)[0]
        except DAMAGE as error:
            raise OSError(f"tile {index} does not decode: {one_line(error)}") from error
        if decoded is None:
            return None
        if page.dtype == bool:  # fax compressions give 0 and 1
            decoded = decoded.astype(bool)
        if decoded.dtype != page.dtype:
            raise OSError(f"tile {index} holds {decoded.dtype} samples, not {page.dtype}")
        return np.asarray(decoded[0])


def assembled(
    page: tifffile.TiffPage, rows: range, columns: range, segment: Callable[[int], Image]
) -> Image:
    """Put a part of a page together from its tiles or strips, ``segment(index)``."""
    height, width = page.chunks[:2]
    across = -(-page.imagewidth // width)
    image = np.empty((len(rows), len(columns), 3), np.uint8)
    for row in range(rows.start // height, (rows.stop - 1) // height + 1):
        for column in range(columns.start // width, (columns.stop - 1) // width + 1):
            y, x = row * height, column * width
            top, left = max(y, rows.start), max(x, columns.start)
            part = segment(row * across + column)[
                top - y : rows.stop - y, left - x : columns.stop - x
            ]
            y, x = top - rows.start, left - columns.start
            image[y : y + part.shape[0], x : x + part.shape[1]] = part
    return image


def read_whole(image: TiffImage) -> Image:
    """Return full resolution as it is stored, not turned upright."""
    page = image.pages[0]
    rows, columns = range(page.imagelength), range(page.imagewidth)
    return assembled(page, rows, columns, partial(image.segment, 0))


def _main_image(path: Path, pages: list[Any], described: tuple[OmeImage, ...]) -> tifffile.TiffPage:
    """Return the largest page that is neither a reduced copy nor a label or overview."""
    full = [page for page in pages if not _is_reduced(page)] or pages
    slides = [page for page in full if not _is_aside(page, described)]
    if not slides and len(full) > 1:
        raise SlideError(f"{path} holds only a label or an overview of a slide, not the slide.")
    return max(slides or full, key=area)


def _is_reduced(page: tifffile.TiffPage) -> bool:
    return bool(page.subfiletype & REDUCED)


def _is_aside(page: tifffile.TiffPage, described: tuple[OmeImage, ...]) -> bool:
    """Return whether a page is the label, the overview or a thumbnail of a slide."""
    if page.subfiletype == MACRO:
        return True
    size = (page.imagewidth, page.imagelength)
    image = image_of_page(described, page.index, size)
    names = [text(page, 285), image.name if image else ""]
    if not described:
        names += [re.split(r"\s+\d", line)[0] for line in text(page, 270)[:4096].splitlines()]
    return any(ASIDE.search(name.lower()) for name in names)


def _levels(
    main: tifffile.TiffPage,
    pages: list[Any],
    file: tifffile.TiffFile,
    described: tuple[OmeImage, ...],
) -> list[tifffile.TiffPage]:
    """Return the main image and what by its size may be reduced copies of it, largest first."""
    copies = [page for page in pages if page.offset != main.offset]
    copies = [
        page
        for page in copies
        if _is_reduced(page) or (page.is_tiled == main.is_tiled and not _is_aside(page, described))
    ]
    subifds = main.subifds if isinstance(main.subifds, tuple) else ()
    for number, offset in enumerate(subifds[:MOST_LEVELS]):
        file.filehandle.seek(offset)
        copies.append(tifffile.TiffPage(file, (main.index, number)))
    levels = {main.imagewidth: main}
    for page in copies:
        if _is_level_of(main, page):
            levels.setdefault(page.imagewidth, page)
    return [levels[width] for width in sorted(levels, reverse=True)]


def _sure_levels(levels: list[tifffile.TiffPage], pages: list[Any]) -> list[tifffile.TiffPage]:
    """Return the levels that the file calls copies of the main image, and that image."""
    is_only_one = sum(not _is_reduced(page) for page in pages) <= 1
    return [
        page
        for page in levels
        if page is levels[0] or page.is_subifd or (is_only_one and _is_reduced(page))
    ]


def _places(page: tifffile.TiffPage) -> Iterator[tuple[range, range]]:
    """Yield the rows and columns of small parts from all over a page."""
    spans = [
        [
            range(max(0, middle - COMPARED_PX // 2), min(side, middle + COMPARED_PX // 2))
            for middle in (side * (2 * k + 1) // (2 * COMPARED) for k in range(COMPARED))
        ]
        for side in (page.imagelength, page.imagewidth)
    ]
    yield from product(*spans)


def _is_level_of(main: tifffile.TiffPage, page: tifffile.TiffPage) -> bool:
    """Return whether a page is a smaller copy with the same kind of samples."""
    kinds = ("samplesperpixel", "bitspersample", "photometric", "dtype", "planarconfig")
    if any(getattr(page, name) != getattr(main, name) for name in kinds):
        return False
    if area(page) == 0 or page.imagewidth >= main.imagewidth or fault(page):
        return False
    ratio = round(main.imagewidth / page.imagewidth)
    sides = ((main.imagewidth, page.imagewidth), (main.imagelength, page.imagelength))
    return ratio >= 2 and all(abs(full / ratio - side) <= 1 for full, side in sides)


def _check_page(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse what cannot be shown as RGB, or not be read in parts."""
    if why := fault(page):
        raise SlideError(f"{path} {why}")
    need = math.prod(page.chunks) * page.dtype.itemsize
    what = f"{path} is one piece of {page.imagewidth} x {page.imagelength} px"
    if need > LARGEST_SEGMENT_BYTES:
        raise SlideError(
            f"{what} that can only be decoded whole, which takes {need / 2**30:.1f} GiB. "
            "Convert it to a tiled pyramid."
        )
    check_memory(what, 3 * need)


def _check_planes(
    path: Path,
    file: tifffile.TiffFile,
    main: tifffile.TiffPage,
    pages: list[Any],
    described: OmeImage | None,
) -> None:
    """Refuse what is not one image: planes of depth, time or channels."""
    planes = sum(
        (page.shape, page.dtype, page.photometric) == (main.shape, main.dtype, main.photometric)
        for page in pages
    )
    if described is not None:
        planes = max(planes, described.planes // main.samplesperpixel)
    description = text(main, 270)
    if file.is_imagej and (
        images := re.search(r"^images=(\d{1,9})\s*$", description, re.MULTILINE)
    ):
        planes = max(planes, int(images[1]))
    if file.is_shaped and (shape := re.search(r'"shape": \[([\d, ]+)\]', description)):
        values = math.prod(int(side) for side in shape[1].split(","))
        planes = (
            max(planes, values // math.prod(main.shape)) if "truncated" in description else planes
        )
    if planes > 1:
        raise SlideError(
            f"{path} holds {planes} planes of one size, not one RGB image. Export it as 8-bit RGB."
        )
