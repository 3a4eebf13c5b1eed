"""How far off an alignment probably is, place by place: the bound that nine of ten places keep.

The shift that the matches around a place agree on is an error that was measured; what may come on top
depends on how many of them agree. That margin was chosen on drawn pairs of known error, of which 90 %
lie within it, and is measured on others (``benchmarks.uncertainty``). Where too few matches agree,
no bound is stated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.figures import UncertainPlace, Uncertainty
from registration.quality.support import near_um, support_of
from registration.residual_map import ResidualMap

AROUND = 9
"""A place and its eight neighbours say by what shift it is off ..."""

FEWEST_AGREEING = 3
"""... where at least so many of them match near by."""

NEAR_SHARES = (0.45, 0.6, 0.75, 0.9, 1.0)
MARGINS_UM = (25.0, 5.5, 1.5, 0.7, 0.3)
"""What 90 % of the errors exceed the measured shift by at most, by the share of places around that match
near by; in between by interpolation. With a smaller share the places chosen on were up to 60 µm off."""

MOST_CELLS = 400
FINEST_CELL_UM = 300.0
"""Cells of the map are squares of at least this side, and no more than 400."""


def uncertainty_of(places: ResidualMap, mpp: float) -> Uncertainty | None:
    """Return the map, at ``mpp`` of the fixed slide; ``None`` where nothing was measured."""
    if not len(places.points):
        return None
    bounds = bounds_um(places)
    spread = np.ptp(places.points, axis=0).max() * mpp
    cell = max(FINEST_CELL_UM, float(spread) / math.sqrt(MOST_CELLS)) / mpp
    rows = np.floor(places.points / cell).astype(int)
    corners, owner = np.unique(rows, axis=0, return_inverse=True)
    found = []
    for number, corner in enumerate(corners):
        own = bounds[np.ravel(owner) == number]
        x, y = (corner + 0.5) * cell
        found.append(UncertainPlace(float(x), float(y), _of_cell(own)))
    known = np.array([place.bound_um for place in found])
    known = known[np.isfinite(known)]
    return Uncertainty(
        cell_px=cell,
        places=tuple(found),
        known_fraction=float(np.isfinite(bounds).mean()),
        median_um=float(np.median(known)) if len(known) else float("nan"),
    )


def bounds_um(places: ResidualMap) -> NDArray[np.float64]:
    """Return the bound of each of ``N`` places in µm; NaN where none can be stated."""
    near = np.hypot(*places.shift_um.T) <= near_um(places)
    share = support_of(places).near_share
    tree = cKDTree(places.points)
    _, around = tree.query(places.points, k=min(AROUND, len(near)))
    around = np.reshape(around, (len(near), -1))
    found = np.full(len(near), np.nan)
    for place, neighbours in enumerate(around):
        agreeing = neighbours[near[neighbours]]
        if len(agreeing) >= FEWEST_AGREEING and share[place] >= NEAR_SHARES[0]:
            shift = np.median(places.shift_um[agreeing], axis=0)
            found[place] = np.hypot(*shift) + np.interp(share[place], NEAR_SHARES, MARGINS_UM)
    return found


def _of_cell(bounds: NDArray[np.float64]) -> float:
    """Return the largest bound of a cell's places; NaN where half of them have none."""
    known = bounds[np.isfinite(bounds)]
    return float(known.max()) if 2 * len(known) > len(bounds) else float("nan")
