"""Transforms: functions that take points of the fixed slide to points of the moving slide.

All map **fixed -> moving** (pull-back: for each output pixel, where to read), in level-0 pixels.

>>> shift = Projective.translation(3.0, -2.0)
>>> shift([[10.0, 10.0]])
array([[13.,  8.]])
>>> shift.inverse([[13.0, 8.0]])
array([[10., 10.]])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from registration.bspline import BSpline, cubic_weights
from registration.geometry import Box, Points, mesh, to_rows_columns

Real = TypeVar("Real", np.float32, np.float64)

INVERSE_TOLERANCE_PX = 1e-4
INVERSE_ITERATIONS = 60


class Transform(Protocol):
    """A map of the plane that can be inverted."""

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points of the fixed slide to the moving slide."""
        ...

    @property
    def inverse(self) -> Transform:
        """The transform that maps moving points back to the fixed slide."""
        ...

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``."""
        ...


@dataclass(frozen=True, eq=False)
class Projective:
    """Homography given by a 3 x 3 matrix on homogeneous ``(x, y, 1)``."""

    matrix: NDArray[np.float64]

    @classmethod
    def identity(cls) -> Projective:
        """Return the transform that moves nothing."""
        return cls(np.eye(3))

    @classmethod
    def translation(cls, dx: float, dy: float) -> Projective:
        """Return a shift by ``(dx, dy)`` pixels."""
        return cls(np.array([[1.0, 0.0, dx], [0.0, 1.0, dy], [0.0, 0.0, 1.0]]))

    @classmethod
    def affine(cls, matrix: ArrayLike) -> Projective:
        """Return the homography of a 2 x 3 affine matrix."""
        return cls(np.vstack([np.asarray(matrix, np.float64), [0.0, 0.0, 1.0]]))

    @classmethod
    def of_level(cls, downsample: float) -> Projective:
        """Return the map of a level's pixels to level-0 pixels."""
        offset = (downsample - 1) / 2
        return cls(np.array([[downsample, 0, offset], [0, downsample, offset], [0, 0, 1.0]]))

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points."""
        points = np.atleast_2d(np.asarray(points, np.float64))
        mapped = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)

    @cached_property
    def inverse(self) -> Projective:
        """The inverse homography."""
        inverse = np.linalg.inv(self.matrix)
        return Projective(inverse / inverse[2, 2])

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``."""
        return self(mesh(xs, ys)).reshape(len(ys), len(xs), 2)

    def after(self, first: Projective) -> Projective:
        """Return the homography that applies ``first``, then this one."""
        matrix = self.matrix @ first.matrix
        return Projective(matrix / matrix[2, 2])

    def scaled(self, fixed_downsample: float, moving_downsample: float) -> Projective:
        """Return the same map between pixels of two levels instead of level-0 pixels."""
        up = Projective.of_level(fixed_downsample).matrix
        down = np.linalg.inv(Projective.of_level(moving_downsample).matrix)
        return Projective(down @ self.matrix @ up)

    @property
    def is_mirrored(self) -> bool:
        """Whether the map turns the plane over."""
        return bool(np.linalg.det(self.matrix[:2, :2]) < 0)


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Smooth field ``p -> p + u(p)``; ``u`` is a uniform cubic B-spline, clamped outside its grid.

    Grid node ``(i, j)`` lies at ``origin + spacing * (i, j)``. The coefficients are those of the
    interpolating spline (``scipy.ndimage.spline_filter``), so that node values are met exactly.
    Along rows and columns the spline is separable: a tile of pixels costs two small matrix
    products, ``By @ C @ Bx.T``.
    """

    origin: tuple[float, float]
    spacing: float
    coefficients: NDArray[np.float64]
    """``(rows, columns, 2)`` spline coefficients of ``(dx, dy)`` in level-0 pixels."""

    @classmethod
    def from_nodes(
        cls, origin: tuple[float, float], spacing: float, displacement: ArrayLike
    ) -> DisplacementField:
        """Return the field that takes the given ``(rows, columns, 2)`` values at its nodes."""
        nodes = np.asarray(displacement, np.float64)
        filtered = [ndimage.spline_filter(nodes[..., k], order=3, mode="mirror") for k in (0, 1)]
        return cls(origin, float(spacing), np.stack(filtered, axis=-1))

    def displacement(self, points: Points) -> Points:
        """Return ``u`` at ``(N, 2)`` points."""
        rows, columns = self.coefficients.shape[:2]
        nodes = (points - self.origin) / self.spacing
        nodes = np.clip(nodes, 0, [columns - 1, rows - 1])
        where = to_rows_columns(nodes)
        return np.stack(
            [
                ndimage.map_coordinates(
                    self.coefficients[..., k], where, order=3, mode="mirror", prefilter=False
                )
                for k in (0, 1)
            ],
            axis=1,
        )

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points."""
        points = np.atleast_2d(np.asarray(points, np.float64))
        return points + self.displacement(points)

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``; far faster than point by point."""
        rows, columns = self.coefficients.shape[:2]
        first_y, by = _basis((ys - self.origin[1]) / self.spacing, rows)
        first_x, bx = _basis((xs - self.origin[0]) / self.spacing, columns)
        part = self.coefficients[first_y : first_y + by.shape[1], first_x : first_x + bx.shape[1]]
        mapped = np.empty((len(ys), len(xs), 2))
        # numpy multiplies contiguous matrices with BLAS, others far slower
        along_x, along_y = np.ascontiguousarray(np.moveaxis(part, -1, 0))
        mapped[..., 0] = by @ along_x @ bx.T + xs
        mapped[..., 1] = by @ along_y @ bx.T + ys[:, None]
        return mapped

    @cached_property
    def inverse(self) -> InverseMap:
        """The inverse, solved point by point."""
        return InverseMap(self)


@dataclass(frozen=True, eq=False)
class InverseMap:
    """Inverse of a map near the identity by fixed-point iteration ``p <- p + (q - map(p))``."""

    forward: Transform

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points."""
        target = np.atleast_2d(np.asarray(points, np.float64))
        guess = target.copy()
        moving = np.arange(len(target))
        for _ in range(INVERSE_ITERATIONS):
            step = target[moving] - self.forward(guess[moving])
            guess[moving] += step
            moving = moving[np.abs(step).max(axis=1) >= INVERSE_TOLERANCE_PX]
            if not len(moving):
                break
        return guess

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``."""
        return self(mesh(xs, ys)).reshape(len(ys), len(xs), 2)

    @property
    def inverse(self) -> Transform:
        """The map itself."""
        return self.forward


@dataclass(frozen=True, eq=False)
class SplicedField:
    """``p -> p + u_b(p)`` with the spline of the block ``b`` that ``p`` lies in; jumps at borders."""

    cores: tuple[Box, ...]
    splines: tuple[BSpline | None, ...]
    """One per core; ``None`` where the block was blank or fell back."""

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points."""
        points = np.atleast_2d(np.asarray(points, np.float64))
        mapped = points.copy()
        for core, spline in zip(self.cores, self.splines, strict=True):
            inside = core.contains(points)
            if spline is not None and inside.any():
                mapped[inside] += spline.at(points[inside])
        return mapped

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``."""
        mapped = mesh(xs, ys).reshape(len(ys), len(xs), 2)
        for core, spline in zip(self.cores, self.splines, strict=True):
            columns, rows = core.columns_and_rows(xs, ys)
            if spline is not None and len(rows) and len(columns):
                mapped[np.ix_(rows, columns)] += spline.on_grid(xs[columns], ys[rows])
        return mapped

    @cached_property
    def inverse(self) -> InverseMap:
        """The inverse, solved point by point; within a few pixels of a border it may not exist."""
        return InverseMap(self)


@dataclass(frozen=True)
class Chain:
    """Transforms applied one after another, the first one first."""

    steps: tuple[Transform, ...]

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points."""
        mapped = np.atleast_2d(np.asarray(points, np.float64))
        for step in self.steps:
            mapped = step(mapped)
        return mapped

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``."""
        if not self.steps:
            return mesh(xs, ys).reshape(len(ys), len(xs), 2)
        mapped = self.steps[0].on_grid(xs, ys)
        for step in self.steps[1:]:
            mapped = step(mapped.reshape(-1, 2)).reshape(mapped.shape)
        return mapped

    @property
    def inverse(self) -> Chain:
        """The inverses in reverse order."""
        return Chain(tuple(step.inverse for step in reversed(self.steps)))


FOLDED = 0.0
"""Where :func:`least_jacobian` is no larger, tissue is folded."""


def jacobian_determinant(shift: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return ``det(I + grad u)`` of displacements ``(rows, columns, 2)`` on a grid of ``step`` px.

    Differences are central: the change of area around each node.
    """
    along_y: NDArray[np.float64] = np.asarray(np.gradient(shift, step, axis=0))
    along_x: NDArray[np.float64] = np.asarray(np.gradient(shift, step, axis=1))
    return _determinant(along_x, along_y)


def least_jacobian(shift: NDArray[Real], step: float) -> NDArray[Real]:
    """Return the smallest ``det(I + grad u)`` among the corners of the cells around each node.

    Differences are one-sided, so that no fold hides between two nodes of the ``(rows, columns, 2)``
    displacements.
    """
    along_x, along_y = (np.diff(shift, axis=axis) / step for axis in (1, 0))
    smallest = np.full(shift.shape[:2], np.inf, shift.dtype)
    rows, columns = shift.shape[0] - 1, shift.shape[1] - 1
    for i in (0, 1):
        for j in (0, 1):
            determinant = _determinant(along_x[i : i + rows], along_y[:, j : j + columns])
            corner = smallest[i : i + rows, j : j + columns]
            np.minimum(corner, determinant, out=corner)
    return smallest


def _determinant(along_x: NDArray[Real], along_y: NDArray[Real]) -> NDArray[Real]:
    """Return ``det(I + grad u)`` of the slopes of ``u``, ``(..., 2)`` each."""
    crossed = along_x[..., 1] * along_y[..., 0]
    return np.asarray((1 + along_x[..., 0]) * (1 + along_y[..., 1]) - crossed)


def _basis(positions: NDArray[np.float64], count: int) -> tuple[int, NDArray[np.float64]]:
    """Return the first node used and the cubic B-spline weights ``(len(positions), nodes used)``.

    Nodes outside ``0 .. count - 1`` are mirrored, as in :mod:`scipy.ndimage`.
    """
    clamped = np.clip(positions, 0, count - 1)
    base = np.minimum(np.floor(clamped).astype(int), max(count - 2, 0))
    nodes = base[:, None] + np.arange(-1, 3)
    period = max(2 * (count - 1), 1)
    nodes = np.abs((nodes + count - 1) % period - (count - 1)) if count > 1 else nodes * 0
    first, last = int(nodes.min()), int(nodes.max())
    basis = np.zeros((len(positions), last - first + 1))
    rows = np.arange(len(positions))
    for k, weight in enumerate(cubic_weights(clamped - base)):
        np.add.at(basis, (rows, nodes[:, k] - first), weight)
    return first, basis
