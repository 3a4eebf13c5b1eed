"""Boxes, sizes and the one coordinate rule.

Points are ``(x, y)`` float64 in level-0 pixels of a named slide, with pixel centres at integers;
arrays are ``(y, x, channel)``. A pixel ``x_d`` of a level with downsample ``d`` lies at
``x0 = (x_d + 0.5) * d - 0.5`` on level 0. Only this module (and ``napari_plugin/convert.py``)
swaps axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from registration.errors import LandmarkError

Points = NDArray[np.float64]
"""``(N, 2)`` array of ``(x, y)`` in level-0 pixels."""

Image = NDArray[np.uint8]
"""``(height, width, 3)`` RGB."""


def as_points(points: ArrayLike) -> Points:
    """Return what a user gave as points; none at all may be an empty list.

    Raises :class:`LandmarkError` for an array of another shape, and for what is no number.
    """
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        raise LandmarkError(
            "points that are no numbers: expected (N, 2), x and y in each row"
        ) from None
    if array.shape == (0,):
        return array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise LandmarkError(f"points of shape {array.shape}: expected (N, 2), x and y in each row")
    return array


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``, the shape of an array of this size."""
        return self.height, self.width

    @property
    def diagonal(self) -> float:
        """Length of the diagonal in pixels."""
        return math.hypot(self.width, self.height)

    def downsampled(self, downsample: float) -> Size:
        """Return the size of the whole area at ``downsample``, rounded up, at least 1 x 1."""
        return Size(
            max(1, math.ceil(self.width / downsample)), max(1, math.ceil(self.height / downsample))
        )


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open rectangle of pixels: columns ``x .. x + width - 1``, rows ``y .. y + height - 1``."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, size: Size) -> Box:
        """Return the box that covers an image of ``size``."""
        return cls(0, 0, size.width, size.height)

    @property
    def right(self) -> int:
        """First column after the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row after the box."""
        return self.y + self.height

    @property
    def size(self) -> Size:
        """Width and height of the box."""
        return Size(self.width, self.height)

    @property
    def center(self) -> tuple[float, float]:
        """``(x, y)`` of the middle, pixel centres at integers."""
        return self.x + (self.width - 1) / 2, self.y + (self.height - 1) / 2

    def expanded(self, margin: int) -> Box:
        """Return the box grown by ``margin`` pixels on every side."""
        return Box(
            self.x - margin, self.y - margin, self.width + 2 * margin, self.height + 2 * margin
        )

    def clipped(self, size: Size) -> Box:
        """Return the part of the box that lies on an image of ``size``; may be empty."""
        x, y = min(max(self.x, 0), size.width), min(max(self.y, 0), size.height)
        right = max(min(self.right, size.width), x)
        bottom = max(min(self.bottom, size.height), y)
        return Box(x, y, right - x, bottom - y)

    def overlaps(self, other: Box) -> bool:
        """Return whether the two boxes share a pixel."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )

    def intersection(self, other: Box) -> Box:
        """Return what both boxes cover; empty, with a width or height of 0, where nothing is."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(x, y, max(0, right - x), max(0, bottom - y))

    def within(self, other: Box) -> Box:
        """Return the same box counted from the corner of ``other``."""
        return Box(self.x - other.x, self.y - other.y, self.width, self.height)

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """Return which of the ``(N, 2)`` points lie on the box's pixels."""
        x, y = points[:, 0], points[:, 1]
        return (
            (x >= self.x - 0.5)
            & (x < self.right - 0.5)
            & (y >= self.y - 0.5)
            & (y < self.bottom - 0.5)
        )

    def columns_and_rows(
        self, xs: NDArray[np.float64], ys: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return which of a grid's columns ``xs`` and rows ``ys`` lie on the box's pixels."""
        columns = np.flatnonzero((xs >= self.x - 0.5) & (xs < self.right - 0.5))
        rows = np.flatnonzero((ys >= self.y - 0.5) & (ys < self.bottom - 0.5))
        return columns, rows

    def slices(self) -> tuple[slice, slice]:
        """Return ``(rows, columns)`` to index an array with."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def tiles(self, side: int) -> Iterator[Box]:
        """Yield tiles of ``side`` pixels, row by row; those at the right and bottom may be smaller."""
        for y in range(self.y, self.bottom, side):
            for x in range(self.x, self.right, side):
                yield Box(x, y, min(side, self.right - x), min(side, self.bottom - y))


def to_level0(points: Points, downsample: float) -> Points:
    """Map points from pixels of a level with ``downsample`` to level-0 pixels."""
    return (np.asarray(points, np.float64) + 0.5) * downsample - 0.5


def from_level0(points: Points, downsample: float) -> Points:
    """Map points from level-0 pixels to pixels of a level with ``downsample``."""
    return (np.asarray(points, np.float64) + 0.5) / downsample - 0.5


def level_box(box: Box, downsample: float) -> Box:
    """Return the pixels of a level with ``downsample`` that cover a level-0 box."""
    x, y = math.floor(box.x / downsample), math.floor(box.y / downsample)
    right, bottom = math.ceil(box.right / downsample), math.ceil(box.bottom / downsample)
    return Box(x, y, right - x, bottom - y)


def axis_positions(start: int, count: int, downsample: float = 1.0) -> NDArray[np.float64]:
    """Return the level-0 coordinates of ``count`` consecutive pixels of a level, along one axis."""
    return (start + np.arange(count, dtype=np.float64) + 0.5) * downsample - 0.5


def spaced(count: int, step: float, start: float = 0.0) -> NDArray[np.float64]:
    """Return ``count`` positions ``step`` apart, along one axis."""
    return start + step * np.arange(count, dtype=np.float64)


def mesh(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> Points:
    """Return the ``(len(ys) * len(xs), 2)`` points of a grid, row by row."""
    grid_x, grid_y = np.meshgrid(xs, ys)
    return np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)


def look_up(plane: NDArray[np.generic], points: Points) -> NDArray[Any]:
    """Return ``(N,)`` values of an ``(h, w)`` plane at the pixels nearest to ``(N, 2)`` points.

    The points are in the plane's own pixels; beyond its edges the value is 0.
    """
    columns, rows = np.rint(points).astype(np.intp).T
    height, width = plane.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    taken = plane[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return np.where(inside, taken, np.zeros((), plane.dtype))


def farthest_first(points: Points, count: int, first: int) -> list[int]:
    """Return at most ``count`` indices: ``first``, then each the farthest from those before it."""
    chosen = [first]
    nearest = np.hypot(*(points - points[first]).T)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.hypot(*(points - points[chosen[-1]]).T))
    return chosen


def outermost(points: Points) -> int:
    """Return the index of the point farthest from the mean of all."""
    return int(np.hypot(*(points - points.mean(axis=0)).T).argmax())


def to_rows_columns(points: Points) -> NDArray[np.float64]:
    """Return ``(2, N)`` rows and columns for array look-ups at ``(N, 2)`` points."""
    return np.ascontiguousarray(points[:, ::-1].T)


def vertex(
    before: NDArray[np.float32], at: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return where the parabola through three heights has its top, -0.5 to 0.5."""
    bend = np.minimum(before.astype(np.float64) - 2 * at + after, -1e-9)
    return np.asarray(np.clip((before - after) / (2 * bend), -0.5, 0.5))
