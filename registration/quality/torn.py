"""Where the field bends tissue more than a section bends by itself.

A half of a section that lies elsewhere on the other slide may be brought back by the non-rigid
passes: then every place matches, but for a band along the cut, which is stretched, pressed or
sheared and lies on nothing that is its own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from registration.figures import Torn
from registration.geometry import Size, mesh
from registration.tissue import TissueMap
from registration.transforms import Transform

SAMPLES_PER_SIDE = 512
LEAST_STRAIN, TIMES_USUAL = 0.1, 4.0
"""Where tissue is whole, lengths change by no more than this, as a logarithm, or than so many times what
is usual on the section: soft tissue such as lung gives way all over."""

AROUND = 0.75
"""A tear goes on as far as this share of that is reached: its strain varies along the cut."""

SHORTEST_MM, SHORTEST_SHARE = 0.6, 0.4
"""A tear is at least so long, or this share of the side of a square that holds the tissue, whichever is
less: plain images name any number of µm."""


def torn(field: Transform, size: Size, tissue: TissueMap, mpp: float) -> Torn | None:
    """Measure the tears of a fixed-to-fixed field; ``None`` for no tissue.

    A tear is connected tissue that is bent too far, long enough to be no accident: it counts however
    large the section is.
    """
    step = max(1.0, max(size.width, size.height) / SAMPLES_PER_SIDE)
    xs, ys = np.arange(0, size.width, step), np.arange(0, size.height, step)
    on_tissue = tissue.at(mesh(xs, ys)).reshape(len(ys), len(xs))
    if min(on_tissue.shape) < 2 or not on_tissue.any():
        return None
    bending = strain(field.on_grid(xs, ys), step)
    bending[~on_tissue] = 0
    limit = max(LEAST_STRAIN, TIMES_USUAL * float(np.median(bending[on_tissue])))
    step_mm = step * mpp / 1000
    shortest = min(SHORTEST_MM / step_mm, SHORTEST_SHARE * math.sqrt(on_tissue.sum()))
    tears = _tears(bending, limit, shortest)
    if not tears:
        return Torn(0.0, 0.0, math.nan, math.nan, 0.0)
    pixels, longest = tears[-1]
    x, y = pixels[np.hypot(*(pixels - np.median(pixels, axis=0)).T).argmin()] * step
    count = sum(len(pixels) for pixels, _ in tears)
    share = float(count / on_tissue.sum())
    return Torn(share, count * step_mm**2, float(x), float(y), longest * step_mm)


def _tears(
    bending: NDArray[np.float64], limit: float, shortest: float
) -> list[tuple[NDArray[np.intp], float]]:
    """Return ``(N, 2)`` columns and rows, and extent, of connected areas so long, the longest last."""
    labels, _ = ndimage.label(bending > AROUND * limit, np.ones((3, 3)))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        length = math.hypot(rows.stop - rows.start, columns.stop - columns.start)
        own = labels[rows, columns] == number
        if length >= shortest and bending[rows, columns][own].max() > limit:
            found.append((np.argwhere(own)[:, ::-1] + [columns.start, rows.start], length))
    return sorted(found, key=lambda area: area[1])


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
