"""One slide over another, at any zoom: blended, in a checkerboard, or with a swipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import scipy  # which imports its slow parts when they are used

from napari_plugin.levels import Source, Tiles
from registration.geometry import Box, Image, Points, Size, mesh
from registration.slides.slide import Slide
from registration.transforms import Chain, DisplacementField, Projective, Transform
from registration.warp import warp_box

Mode = Literal["off", "blend", "checkerboard", "swipe"]
MODES: tuple[Mode, ...] = ("off", "blend", "checkerboard", "swipe")
SQUARES_ACROSS = 10
LEAST_SQUARE_PX = 24.0
"""Smallest side of a checkerboard's square, in pixels of the fixed slide."""
EDGE_PX = 0.75
"""Half the width of the line along a swipe's edge, in pixels of the level that is shown."""
EDGE_COLOR = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Look:
    """How two slides are laid over each other."""

    mode: Mode = "off"
    share: float = 0.5
    """Share of the moved slide: its opacity, or how far the swipe has come over :attr:`window`."""
    window: tuple[float, float] = (0.0, 1.0)
    """Where the view begins and ends along :attr:`across`, in level-0 pixels of the fixed slide."""
    across: tuple[float, float] = (1.0, 0.0)
    """Unit vector on the fixed slide that points to the right on the screen."""

    @property
    def edge(self) -> float:
        """How far along :attr:`across` a swipe shows the moved slide."""
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
        rows = ((box.y + np.arange(box.height) + 0.5) * downsample - 0.5)[:, None]
        x, y = look.across
        across = x * columns + y * rows
        if look.mode == "swipe":
            show_moved = across <= look.edge
        else:
            down = x * rows - y * columns
            show_moved = (np.floor(across / look.square) + np.floor(down / look.square)) % 2 == 0
        image = np.where(show_moved[..., None], moved, fixed)
        if look.mode == "swipe":
            image[np.abs(across - look.edge) <= EDGE_PX * downsample] = EDGE_COLOR
        return image


def seen(look: Look, to_world: Projective, center: tuple[float, float], width_um: float) -> Look:
    """Return a look for a view ``width_um`` wide around a world point, however the slide is turned.

    ``to_world`` maps level-0 pixels of the fixed slide to the world.
    """
    x, y = center
    half = width_um / 2
    left, right = to_world.inverse([(x - half, y), (x + half, y)])
    across = (right - left) / np.hypot(*(right - left))
    window = float(across @ left), float(across @ right)
    return replace(look, window=window, across=(float(across[0]), float(across[1])))


BENDING_NODES = 48
"""Nodes along the longer side of the field that stands for a thin plate."""


def bent(fit: Projective, fixed: Points, moving: Points, size: Size) -> Chain:
    """Return a transform of a slide of ``size`` that takes ``(N, 2)`` fixed points onto moving ones.

    A thin-plate spline of what ``fit`` leaves, as a field before it: straight where the pairs agree.
    """
    spacing = max(size.width, size.height) / BENDING_NODES
    xs, ys = (
        np.arange(np.ceil(side / spacing) + 1) * spacing for side in (size.width, size.height)
    )
    shift = fit.inverse(moving) - fixed
    plate = scipy.interpolate.RBFInterpolator(fixed, shift, kernel="thin_plate_spline")
    nodes = plate(mesh(xs, ys)).reshape(len(ys), len(xs), 2)
    return Chain((DisplacementField.from_nodes((0.0, 0.0), spacing, nodes), fit))


def warped_tiles(moving: Slide, transform: Transform, fixed: Size) -> Tiles:
    """Return the moving slide in the fixed slide's frame, warped tile by tile when looked at."""

    def read(box: Box, downsample: float) -> Image:
        try:
            return warp_box(moving, transform, box, downsample).image
        except ValueError:  # a fit so wrong that a tile needs half the slide, or infinity
            return np.full((box.height, box.width, 3), 255, np.uint8)

    return Tiles(fixed, read)
