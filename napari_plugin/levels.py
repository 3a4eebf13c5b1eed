"""Slides as lazy pyramids for napari: only the tiles in view are read, and those stay in a bounded cache.

napari asks for a whole view again whenever it moves by a pixel; from tiles that were read before
such a view is put together in about a millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import numpy as np

from napari_plugin.convert import box_of
from registration.errors import SlideError
from registration.geometry import Box, Image, Size
from registration.slides.slide import Slide
from registration.slides.tile_cache import TileCache

TILE_PX = 512
CACHE_BYTES = 96 * 2**20
FIRST_SEEN_PX = 2048
"""Levels of a slide seen whole are no larger: a screen's pixels, at most twice over."""
MISSING = 128
"""Grey of what cannot be read."""
WHAT_NOW = "What you did is kept; the slide is shown again as soon as it can be read."
RETRY_S = 2.0
"""So long after it failed a read is tried again."""
SMALLEST_SIDE_PX = 512
"""The smallest level is at least this large: napari keeps it for the thumbnail and far zooms."""


class Source(Protocol):
    """Something that has pixels at any downsample of a slide's frame."""

    @property
    def size(self) -> Size:
        """Level-0 size."""
        ...

    def read(self, box: Box, downsample: float) -> Image:
        """Return ``(h, w, 3)`` RGB of a box in pixels of a level with ``downsample``."""
        ...


class Tiles:
    """A source that remembers the tiles it read last, up to :data:`CACHE_BYTES`."""

    def __init__(self, size: Size, read: Callable[[Box, float], Image]) -> None:
        self.size = size
        self._read = read
        self._cache = TileCache(CACHE_BYTES)

    @classmethod
    def of_slide(cls, slide: Slide) -> Tiles:
        """Return the tiles of a slide."""
        return cls(slide.size, slide.read_scaled)

    def read(self, box: Box, downsample: float) -> Image:
        """Return a box put together from tiles; beside the slide it is white."""
        image = np.full((box.height, box.width, 3), 255, np.uint8)
        level = self.size.downsampled(downsample)
        inside = box.clipped(level)
        if inside.width == 0 or inside.height == 0:
            return image
        for row in range(inside.y // TILE_PX, (inside.bottom - 1) // TILE_PX + 1):
            for column in range(inside.x // TILE_PX, (inside.right - 1) // TILE_PX + 1):
                whole = Box(column * TILE_PX, row * TILE_PX, TILE_PX, TILE_PX).clipped(level)
                tile = self._cache.get(
                    (downsample, whole.x, whole.y), partial(self._read, whole, downsample)
                )
                left, top = max(whole.x, box.x), max(whole.y, box.y)
                right, bottom = min(whole.right, box.right), min(whole.bottom, box.bottom)
                image[top - box.y : bottom - box.y, left - box.x : right - box.x] = tile[
                    top - whole.y : bottom - whole.y, left - whole.x : right - whole.x
                ]
        return image


class Level:
    """One level of a source, as the array-like that napari slices."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, source: Source, downsample: int, size: Size) -> None:
        """``size`` in pixels of the level; what is beyond the source is white."""
        self.source = source
        self.downsample = downsample
        self.shape = (size.height, size.width, 3)
        self.trouble = ""
        """Why the last pixels asked for could not be read, and what to do, in one sentence each."""
        self._failed: tuple[Any, float] = (0, 0.0)
        """Which pixels these were, and when, on the monotonic clock."""

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> Image:
        """Return the pixels of two slices (rows, columns); a third index picks channels.

        Grey where a slide cannot be read: it may have gone while napari draws it, which takes no error.
        """
        parts = list(key) if isinstance(key, tuple) else [key]
        parts += [slice(None)] * (3 - len(parts))
        box = box_of(parts[0], parts[1], self.shape)
        try:
            image, self.trouble = self.source.read(box, self.downsample), ""
        except SlideError as error:
            image = np.full((box.height, box.width, 3), MISSING, np.uint8)
            self.trouble, self._failed = f"{error}. {WHAT_NOW}", (key, time.monotonic())
        return image[:, :, parts[2]]

    def came_back(self) -> bool:
        """Return whether what could not be read can be read by now; asked often, it tries now and then."""
        failed, when_s = self._failed
        if not self.trouble or time.monotonic() < when_s + RETRY_S:
            return False
        self[failed]
        return not self.trouble

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Image:
        """Return all pixels; napari asks this of the smallest level only."""
        return np.asarray(self[:, :], dtype)


def pyramid(source: Source) -> list[Level]:
    """Return levels of downsample 1, 2, 4, ... down to about :data:`SMALLEST_SIDE_PX`.

    Each is exactly twice as large as the next, with white beyond the source: napari takes a level's
    downsample from its size, and would draw the far end of one that is rounded a pixel beside its place.
    """
    longest = max(source.size.width, source.size.height)
    halvings = max(0, (longest // SMALLEST_SIDE_PX).bit_length() - 1)
    smallest = source.size.downsampled(2**halvings)
    sizes = [
        Size(smallest.width << times, smallest.height << times) for times in range(halvings, -1, -1)
    ]
    return [Level(source, 2**number, size) for number, size in enumerate(sizes)]


def trouble_of(layer: Any) -> str:
    """Return why the level that a napari layer shows cannot be read, in words, or nothing.

    Where the slide is back by now, it is shown again.
    """
    level: Level = layer.data[layer.data_level]
    if level.came_back():
        layer.refresh()
    return level.trouble


def read_ahead(levels: Iterable[Level]) -> None:
    """Read, on a thread, what napari asks of slides first, so that nobody waits for it."""
    for level in levels:
        if max(level.shape) <= FIRST_SEEN_PX:
            np.asarray(level)
