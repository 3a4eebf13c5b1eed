"""The first reader: the formats of scanners' vendors, read by OpenSlide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import openslide

from registration.files.ome import positive
from registration.files.refusal import one_line, refusing
from registration.files.samples import on_white
from registration.geometry import Box, Image, Size
from registration.slides.reader import SlideFacts
from registration.slides.tile_cache import CACHE_BYTES


def vendor_of(path: Path) -> str | None:
    """Return OpenSlide's name of a file's format, or ``None`` where it knows none."""
    vendor: str | None = openslide.OpenSlide.detect_format(path)
    return vendor


class OpenSlideReader:
    """Vendor formats, read by OpenSlide; opening raises :class:`SlideError` where it cannot."""

    def __init__(self, path: Path):
        with refusing(path), _as_os_error():
            self._slide = openslide.OpenSlide(path)
            self._slide.set_cache(_openslide_tiles(os.getpid()))
            self.facts = _openslide_facts(self._slide)

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box`` on ``level``.

        OpenSlide takes whole level-0 positions and its own, rounded downsample: where that is not
        a whole number the result is off by less than half a level-0 pixel. Raises
        :class:`OSError` with OpenSlide's reason.
        """
        downsample = self._slide.level_downsamples[level]
        corner = round(box.x * downsample), round(box.y * downsample)
        with _as_os_error():
            region = self._slide.read_region(corner, level, (box.width, box.height))
        return on_white(np.asarray(region))

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn OpenSlide's errors, which stand beside Python's, into one that every reader raises."""
    try:
        yield
    except openslide.OpenSlideError as error:
        raise OSError(one_line(error)) from error


@cache
def _openslide_tiles(process: int) -> openslide.OpenSlideCache:
    """Return the cache that all of OpenSlide's slides in a process share."""
    return openslide.OpenSlideCache(CACHE_BYTES)


def library_version() -> str:
    """Return the version of the OpenSlide library, which reads the vendors' formats."""
    return str(openslide.__library_version__)


def _openslide_facts(slide: openslide.OpenSlide) -> SlideFacts:
    """Collect what OpenSlide knows."""
    properties = slide.properties
    x = positive(properties.get(openslide.PROPERTY_NAME_MPP_X))
    y = positive(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    profile = slide.color_profile
    return SlideFacts(
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        sizes=tuple(Size(*size) for size in slide.level_dimensions),
        mpp_xy=(x, y) if x and y else None,
        objective_power=positive(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        icc_profile=None if profile is None else profile.tobytes(),
        origin=(
            int(positive(properties.get(openslide.PROPERTY_NAME_BOUNDS_X)) or 0),
            int(positive(properties.get(openslide.PROPERTY_NAME_BOUNDS_Y)) or 0),
        ),
    )
