"""Where the field bends tissue more than a section bends by itself.

A half of a section that lies elsewhere on the other slide may be brought back by the non-rigid
passes: then every place matches, but for a band along the cut, which is stretched, pressed or
sheared and lies on nothing that is its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registration.figures import Torn
from registration.geometry import Size, mesh
from registration.tissue import TissueMap
from registration.transforms import Transform

SAMPLES_PER_SIDE = 512
LARGEST_STRAIN, TIMES_USUAL = 0.3, 4.0
"""Lengths change by less than this share, as a logarithm, where tissue is whole; soft tissue such as
lung gives way all over, so that it is also so many times what is usual on the section."""


def torn(field: Transform, size: Size, tissue: TissueMap, mpp: float) -> Torn | None:
    """Measure how much tissue a fixed-to-fixed field bends too far; ``None`` for no tissue."""
    step = max(1.0, max(size.width, size.height) / SAMPLES_PER_SIDE)
    xs, ys = np.arange(0, size.width, step), np.arange(0, size.height, step)
    points = mesh(xs, ys)
    on_tissue = tissue.at(points)
    if min(len(xs), len(ys)) < 2 or not on_tissue.any():
        return None
    bending = strain(field.on_grid(xs, ys), step).ravel()
    usual = float(np.median(bending[on_tissue]))
    bent = on_tissue & (bending > max(LARGEST_STRAIN, TIMES_USUAL * usual))
    if not bent.any():
        return Torn(0.0, 0.0, float("nan"), float("nan"))
    places = points[bent]
    middle = places[np.hypot(*(places - np.median(places, axis=0)).T).argmin()]
    area = float(bent.sum()) * (step * mpp / 1000) ** 2
    return Torn(float(bent.sum() / on_tissue.sum()), area, float(middle[0]), float(middle[1]))


def strain(mapped: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the largest change of any length, as ``|log|``, of a map on a grid of ``step`` px.

    ``mapped`` is ``(rows, columns, 2)``. The singular values of the 2 x 2 Jacobian are half the
    sum and half the difference of two norms.
    """
    down, across = (np.asarray(np.gradient(mapped, step, axis=axis)) for axis in (0, 1))
    a, b, c, d = across[..., 0], down[..., 0], across[..., 1], down[..., 1]
    one, other = np.hypot(a + d, c - b), np.hypot(a - d, c + b)
    values = np.stack([one + other, np.abs(one - other)]) / 2
    return np.asarray(np.abs(np.log(np.maximum(values, 1e-6))).max(axis=0))
