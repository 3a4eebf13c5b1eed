"""A transform as an affine map after displacements on a grid, and how far off that is.

Other programs know affine maps and displacement fields, no homographies and no chains. So whatever a
chain does beyond its best affine map goes into the field: ``chain(p) = affine(p + u(p))``. The grid is
refined until the field, read the way the other program reads it, is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from registration.geometry import Box, Points, mesh, spaced, to_rows_columns
from registration.transforms import Chain, DisplacementField, Projective, Transform

Reading = Literal["cubic", "linear"]
"""How a field is interpolated: as a cubic B-spline, or linearly between nodes."""

TOLERANCE_PX = 0.02
MOST_NODES = 8_000_000
"""Of a field: 64 MB as single-precision numbers."""
NODES_AT_ONCE = 250_000
PROBES = 8_000
FIRST_NODES = 32
"""Nodes along the longer side, where a chain has no grid of its own to begin with."""
AFFINE_NODES = 24
MARGIN_NODES = 2
FARTHEST = 10.0
"""Sides of the box: displacements beyond are an inverse that does not exist."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Distance between a transform and what stands for it, in level-0 pixels of its target."""

    median_px: float
    p99_px: float
    max_px: float

    @classmethod
    def of(cls, distances: NDArray[np.float64]) -> Accuracy:
        """Summarise distances; all of them are 0 where there are none."""
        found = distances[np.isfinite(distances)]
        if not found.size:
            return cls(0.0, 0.0, 0.0)
        return cls(float(np.median(found)), float(np.percentile(found, 99)), float(found.max()))


@dataclass(frozen=True, eq=False)
class Field:
    """Displacements at nodes ``origin + spacing * (i, j)``: ``u`` in level-0 pixels."""

    origin: tuple[float, float]
    spacing: float
    values: NDArray[np.float64]
    """``(rows, columns, 2)``, ``(dx, dy)``."""

    @property
    def xs(self) -> NDArray[np.float64]:
        """Columns of the nodes."""
        return spaced(self.values.shape[1], self.spacing, self.origin[0])

    @property
    def ys(self) -> NDArray[np.float64]:
        """Rows of the nodes."""
        return spaced(self.values.shape[0], self.spacing, self.origin[1])

    def spline(self) -> DisplacementField:
        """Return the cubic spline through the nodes."""
        return DisplacementField.from_nodes(self.origin, self.spacing, self.values)

    def linear(self, points: Points) -> Points:
        """Map ``(N, 2)`` points with displacements interpolated between nodes."""
        where = to_rows_columns((points - self.origin) / self.spacing)
        shift = [
            ndimage.map_coordinates(self.values[..., k], where, order=1, mode="nearest")
            for k in (0, 1)
        ]
        return np.asarray(points + np.stack(shift, axis=1), np.float64)

    def read(self, reading: Reading) -> Callable[[Points], Points]:
        """Return the map that a program makes of the field."""
        return self.spline() if reading == "cubic" else self.linear


@dataclass(frozen=True, eq=False)
class Sampled:
    """``p -> affine(p + u(p))``."""

    affine: Projective
    field: Field
    accuracy: Accuracy

    def total(self, scale: float) -> Field:
        """Return all of it as one field: ``scale * affine(p + u(p)) - p`` at the nodes."""
        nodes = mesh(self.field.xs, self.field.ys)
        mapped = self.affine(nodes + self.field.values.reshape(-1, 2)) * scale - nodes
        return Field(self.field.origin, self.field.spacing, mapped.reshape(self.field.values.shape))


@dataclass(frozen=True, eq=False)
class Domain:
    """Where a transform has to be right: on the ``probes``, all of them within ``box``."""

    box: Box
    probes: Points

    @classmethod
    def of(cls, box: Box, inside: Callable[[Points], NDArray[np.bool_]] | None = None) -> Domain:
        """Choose places in a box, drawn evenly, those ``inside`` a piece alone."""
        rng = np.random.default_rng(0)
        low = np.array([box.x, box.y]) - 0.5
        probes = low + rng.random((PROBES, 2)) * [box.width, box.height]
        return cls(box, probes if inside is None else probes[inside(probes)])


def sample(transform: Transform, domain: Domain, reading: Reading) -> Sampled:
    """Return a transform as affine map and field, refined until the field is within tolerance."""
    affine = best_affine(transform, domain)
    wanted = affine.inverse(transform(domain.probes))
    scale = math.sqrt(abs(np.linalg.det(affine.matrix[:2, :2])))
    origin, spacing = _own_grid(transform, domain.box)
    while True:
        field = _field(transform, affine, domain.box, origin, spacing)
        missed = np.hypot(*(field.read(reading)(domain.probes) - wanted).T) * scale
        accuracy = Accuracy.of(missed)
        nodes = 4 * field.values.shape[0] * field.values.shape[1]
        if accuracy.max_px <= TOLERANCE_PX or nodes > MOST_NODES or spacing <= 2:
            return Sampled(affine, field, accuracy)
        spacing /= 2


def best_affine(transform: Transform, domain: Domain) -> Projective:
    """Return the affine map that is nearest to a transform, by least squares."""
    points = domain.probes[:: max(1, len(domain.probes) // AFFINE_NODES**2)]
    mapped = transform(points)
    good = np.isfinite(mapped).all(axis=1)
    homogeneous = np.column_stack([points[good], np.ones(int(good.sum()))])
    solved, *_ = np.linalg.lstsq(homogeneous, mapped[good], rcond=None)
    return Projective.affine(solved.T)


def _own_grid(transform: Transform, box: Box) -> tuple[tuple[float, float], float]:
    """Return the grid of a chain's own field, whose nodes make an exact spline; or a coarse one."""
    first = transform.steps[0] if isinstance(transform, Chain) and transform.steps else None
    if isinstance(first, DisplacementField):
        return first.origin, first.spacing
    return (float(box.x), float(box.y)), max(box.width, box.height) / FIRST_NODES


def _field(
    transform: Transform, affine: Projective, box: Box, origin: tuple[float, float], spacing: float
) -> Field:
    """Return the displacements at the nodes of a grid through ``origin`` that covers a box."""
    xs, ys = (
        _axis(start, low, length, spacing)
        for start, low, length in zip(origin, (box.x, box.y), (box.width, box.height), strict=True)
    )
    values = np.empty((len(ys), len(xs), 2))
    step = max(1, NODES_AT_ONCE // len(xs))
    for row in range(0, len(ys), step):
        part = ys[row : row + step]
        flat = transform.on_grid(xs, part).reshape(-1, 2)
        values[row : row + step] = (affine.inverse(flat) - mesh(xs, part)).reshape(-1, len(xs), 2)
    limit = FARTHEST * max(box.width, box.height)
    values[~(np.abs(values) < limit).all(axis=2)] = 0
    return Field((float(xs[0]), float(ys[0])), spacing, values)


def _axis(start: float, low: int, length: int, spacing: float) -> NDArray[np.float64]:
    """Return positions ``spacing`` apart that cover pixels and a margin, one of them ``start``."""
    first = math.floor((low - 0.5 - start) / spacing) - MARGIN_NODES
    last = math.ceil((low + length - 0.5 - start) / spacing) + MARGIN_NODES
    return start + spacing * np.arange(first, last + 1, dtype=np.float64)
