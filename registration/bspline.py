"""Uniform cubic B-splines on a regular grid, evaluated separably."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BSpline:
    """Cubic B-spline of displacements, as elastix parametrises it; zero outside its grid.

    ``coefficients[r, c]`` is the displacement ``(dx, dy)`` of the control point at
    ``origin + spacing * (c, r)``, all in the same pixels.
    """

    origin: tuple[float, float]
    spacing: tuple[float, float]
    coefficients: Floats

    def on_grid(self, xs: Floats, ys: Floats) -> Floats:
        """Return the displacement at every crossing, ``(len(ys), len(xs), 2)``.

        The spline is separable, ``By @ C @ Bx.T``: exact, and tens of times faster than asking
        transformix for the field.
        """
        by = basis((ys - self.origin[1]) / self.spacing[1], self.coefficients.shape[0])
        bx = basis((xs - self.origin[0]) / self.spacing[0], self.coefficients.shape[1])
        axes = np.ascontiguousarray(np.moveaxis(self.coefficients, -1, 0))
        return np.stack([by @ coefficients @ bx.T for coefficients in axes], axis=-1)

    def at(self, points: Floats) -> Floats:
        """Return the displacement at ``(N, 2)`` points."""
        by = basis((points[:, 1] - self.origin[1]) / self.spacing[1], self.coefficients.shape[0])
        bx = basis((points[:, 0] - self.origin[0]) / self.spacing[0], self.coefficients.shape[1])
        found = np.einsum("nr,rck,nc->nk", by, self.coefficients, bx, optimize=True)
        return np.asarray(found, np.float64)


def cubic_weights(t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the weights of the four nodes around positions ``t`` (0 to 1 between the middle two)."""
    return (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )


def basis(positions: Floats, count: int) -> Floats:
    """Return ``(len(positions), count)`` weights of grid nodes; nodes outside the grid count zero."""
    base = np.floor(positions).astype(int)
    rows = np.arange(len(positions))
    matrix = np.zeros((len(positions), count))
    for k, weight in enumerate(cubic_weights(positions - base)):
        nodes = base + k - 1
        inside = (nodes >= 0) & (nodes < count)
        matrix[rows[inside], nodes[inside]] = weight[inside]
    return matrix
