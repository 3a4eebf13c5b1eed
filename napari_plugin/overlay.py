"""One slide over another, at any zoom: blended, in a checkerboard, or with a swipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from napari_plugin.levels import Source, Tiles
from registration.geometry import Box, Image, Size
from registration.slides.slide import Slide
from registration.transforms import Transform
from registration.warp import warp_box

Mode = Literal["off", "blend", "checkerboard", "swipe"]
MODES: tuple[Mode, ...] = ("off", "blend", "checkerboard", "swipe")
SQUARES_ACROSS = 10
LEAST_SQUARE_PX = 24.0
"""Smallest side of a checkerboard's square, in pixels of the fixed slide."""


@dataclass(frozen=True, slots=True)
class Look:
    """How two slides are laid over each other."""

    mode: Mode = "off"
    share: float = 0.5
    """Share of the moved slide: its opacity, or how far the swipe has come over :attr:`window`."""
    window: tuple[float, float] = (0.0, 1.0)
    """First and last level-0 column of the fixed slide that are in view."""

    @property
    def edge(self) -> float:
        """Level-0 column up to which a swipe shows the moved slide."""
        left, right = self.window
        return left + self.share * (right - left)

    @property
    def square(self) -> float:
        """Side of the checkerboard's squares in level-0 pixels: about ten across the view.

        A power of two, so that the squares do not crawl while one zooms.
        """
        wanted = max((self.window[1] - self.window[0]) / SQUARES_ACROSS, LEAST_SQUARE_PX)
        return float(2.0 ** round(np.log2(wanted)))


@dataclass(frozen=True, eq=False)
class Overlay:
    """A source that shows ``moved`` over ``fixed``; both in the frame of the fixed slide."""

    fixed: Source
    moved: Source
    look: Look

    @property
    def size(self) -> Size:
        """Level-0 size of the fixed slide."""
        return self.fixed.size

    def read(self, box: Box, downsample: float) -> Image:
        """Return a box in pixels of a level with ``downsample``."""
        look = self.look
        if look.mode == "off":
            return self.fixed.read(box, downsample)
        fixed, moved = self.fixed.read(box, downsample), self.moved.read(box, downsample)
        if look.mode == "blend":
            return np.asarray(cv2.addWeighted(moved, look.share, fixed, 1 - look.share, 0))
        columns = (box.x + np.arange(box.width) + 0.5) * downsample - 0.5
        if look.mode == "swipe":
            show_moved = np.broadcast_to(columns <= look.edge, (box.height, box.width))
        else:
            rows = (box.y + np.arange(box.height) + 0.5) * downsample - 0.5
            parity = np.floor(columns / look.square) + np.floor(rows / look.square)[:, None]
            show_moved = parity % 2 == 0
        return np.where(show_moved[..., None], moved, fixed)


def warped_tiles(moving: Slide, transform: Transform, fixed: Size) -> Tiles:
    """Return the moving slide in the fixed slide's frame, warped tile by tile when looked at."""

    def read(box: Box, downsample: float) -> Image:
        try:
            return warp_box(moving, transform, box, downsample).image
        except ValueError:  # a fit so wrong that a tile needs half the slide, or infinity
            return np.full((box.height, box.width, 3), 255, np.uint8)

    return Tiles(fixed, read)
