"""Tissue without evidence, where it lies: a connected area that matches nothing, or lies off.

A share of all places cannot tell a section whose stroma matches poorly all over from one of which a
half has moved. Here every place is weighed with its neighbours, and neighbours without evidence are
joined to areas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from registration.residual_map import ResidualMap
from registration.result import LostArea

FEWEST_PLACES = 40
NEIGHBOURS = 12
"""A place is weighed with so many nearest places."""

LOST_SHARE = 0.2
"""At most this share of them matches where tissue has no evidence; by chance 5 % do."""

LEAST_ELSEWHERE = 0.45
"""Where less of the rest matches, the section gives little evidence anywhere."""

OFF_UM = 15.0
SMALLEST_SHARE = 0.1
SMALLEST_PLACES = 12
REACH_STEPS = 1.6
"""Places within so many steps of their grid are neighbours in an area."""


def lost_area(places: ResidualMap) -> LostArea | None:
    """Return the largest connected area without evidence; ``None`` where there is none to speak of."""
    count = len(places.points)
    if count < FEWEST_PLACES:
        return None
    tree = cKDTree(places.points)
    distance, near = tree.query(places.points, k=NEIGHBOURS + 1)
    good = places.matched & (np.hypot(*places.shift_um.T) <= OFF_UM)
    lost = good[near].mean(axis=1) <= LOST_SHARE
    area = _largest(lost, tree, REACH_STEPS * float(np.median(distance[:, 1])))
    if len(area) < max(SMALLEST_PLACES, SMALLEST_SHARE * count):
        return None
    rest = np.delete(good, area)
    if not len(rest) or rest.mean() < LEAST_ELSEWHERE:
        return None
    x, y = places.points[area].mean(axis=0)
    return LostArea(len(area) / count, float(x), float(y), float(good[area].mean()))


def _largest(chosen: NDArray[np.bool_], tree: cKDTree, reach: float) -> NDArray[np.intp]:
    """Return the places of the largest connected group of chosen ones."""
    pairs = tree.query_pairs(reach, output_type="ndarray")
    pairs = pairs[chosen[pairs].all(axis=1)]
    size = len(chosen)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    group = connected_components(graph, directed=False)[1]
    counts = np.bincount(group[chosen], minlength=size)
    return np.flatnonzero(chosen & (group == counts.argmax()))
