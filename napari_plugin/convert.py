"""The one place of the plugin where axes are swapped: napari counts (row, column), we count (x, y)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from registration.geometry import Box, Points
from registration.transforms import Projective

_SWAP = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def to_napari(points: ArrayLike) -> NDArray[np.float64]:
    """Return ``(N, 2)`` points ``(x, y)`` as napari's ``(row, column)``.

    >>> to_napari([[30.0, 4.0]])
    array([[ 4., 30.]])
    """
    return np.asarray(points, np.float64).reshape(-1, 2)[:, ::-1].copy()


def from_napari(points: ArrayLike) -> Points:
    """Return napari's ``(N, 2)`` points ``(row, column)`` as ``(x, y)``."""
    return to_napari(points)


def position_xy(position: Sequence[float]) -> tuple[float, float]:
    """Return ``(x, y)`` of a napari position, whose last two numbers are row and column."""
    return float(position[-1]), float(position[-2])


def center_napari(xy: tuple[float, float]) -> tuple[float, float, float]:
    """Return the camera's centre (depth, row, column) for a world point ``(x, y)``."""
    return 0.0, xy[1], xy[0]


def affine_napari(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a 3 x 3 affine matrix on ``(x, y, 1)`` as the one on ``(row, column, 1)``.

    Raises :class:`ValueError` for a matrix with perspective, which napari cannot show.
    """
    if not np.allclose(matrix[2], [0, 0, matrix[2, 2]]):
        raise ValueError("a layer's transform has no perspective")
    return np.asarray(_SWAP @ (matrix / matrix[2, 2]) @ _SWAP)


def scaling(downsample: float) -> NDArray[np.float64]:
    """Return the matrix from pixels of a level with ``downsample`` to level-0 pixels, for napari."""
    return affine_napari(Projective.identity().scaled(downsample, 1.0).matrix)


def box_of(rows: slice, columns: slice, shape: Sequence[int]) -> Box:
    """Return the box that two slices take out of an array of ``shape``.

    >>> box_of(slice(2, 5), slice(None), (10, 8, 3))
    Box(x=0, y=2, width=8, height=3)
    """
    top, bottom, _ = rows.indices(shape[0])
    left, right, _ = columns.indices(shape[1])
    return Box(left, top, max(0, right - left), max(0, bottom - top))


def rectangle(box: Box) -> NDArray[np.float64]:
    """Return the four corners of the outline of a box's pixels, as napari draws them: ``(4, 2)``."""
    left, top = box.x - 0.5, box.y - 0.5
    right, bottom = box.right - 0.5, box.bottom - 0.5
    return to_napari([[left, top], [right, top], [right, bottom], [left, bottom]])
