"""Where a registration is confirmed, and where tissue lies together that is not.

A share of the whole can hide a whole: a section cut in two, of which one half lies elsewhere, matches
over half of its tissue. So each place is weighed with its neighbours, and places without support are
gathered into connected areas.

Under a right alignment the best match of a patch is near by; under a wrong one it is anywhere in the
search window, near by as often as that part of the window is large. That tells more than the height
of the best correlation, which depends on stain and structure, and no single place has to be sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from registration.figures import Gap
from registration.geometry import Points
from registration.residual_map import ResidualMap

NEAR_SHARE = 0.3125
"""A place is near when its best match lies within this share of the search window's reach ..."""

NEAR_UM, FINEST_SHARE = 12.0, 0.2
"""... and within so much, or where the image is too coarse for that, within this share: of 40 µm of
reach on whole slides 12 µm, of 100 µm on images of 5 µm per pixel 20 µm."""

NEIGHBOURHOOD_SHARE = 0.1
FEWEST_NEIGHBOURS, MOST_NEIGHBOURS = 6, 16
"""A place is weighed with a tenth of all places, those of the same tissue that are nearest to it, but no
fewer and no more: a fragment that lies elsewhere is not confirmed by the section beside it."""

SUPPORTED_TIMES = 4.8
"""A place is confirmed where so many times more of its neighbourhood is near than chance gives: 6 of
16 on whole slides, which chance reaches for one place in 1,200 ..."""

LOST_TIMES = 2.5
"""... and lost where no more than this many times is: what chance gives for nine places of ten."""

FEWEST_TOGETHER = 4
"""Fewer connected places are the noise of the measure."""

AGREEING_SHARE = 0.35
"""An area is off by the shift that this share of its places agree on."""

ADJACENT_STEPS = 1.6
"""Places are connected up to this many steps of the grid: along its sides and diagonals."""


@dataclass(frozen=True, eq=False)
class Support:
    """What the neighbourhood says of each of ``N`` places; all arrays are ``(N,)``."""

    near_share: NDArray[np.float64]
    """Share of the neighbourhood whose best match lies near."""
    confirmed: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    gaps: NDArray[np.intp]
    """Number of the connected area that is not confirmed, the largest first from 0; -1 elsewhere."""
    losses: NDArray[np.intp]
    """The same of areas that are lost."""


def support_of(residual: ResidualMap) -> Support:
    """Weigh each place with its neighbours."""
    count = len(residual.points)
    if not count:
        return Support(np.zeros(0), *(np.zeros(0, bool),) * 2, *(np.zeros(0, np.intp),) * 2)
    limit = near_um(residual)
    near = np.hypot(*residual.shift_um.T) <= limit
    chance = np.pi / 4 * (limit / residual.reach_um) ** 2
    tree = cKDTree(residual.points)
    wanted = int(np.clip(NEIGHBOURHOOD_SHARE * count, FEWEST_NEIGHBOURS, MOST_NEIGHBOURS))
    near_share = _near_share(tree, near, wanted)
    confirmed, lost = near_share >= SUPPORTED_TIMES * chance, near_share <= LOST_TIMES * chance
    return Support(near_share, confirmed, lost, _areas(tree, ~confirmed), _areas(tree, lost))


def _near_share(tree: cKDTree, near: NDArray[np.bool_], wanted: int) -> NDArray[np.float64]:
    """Return which share of its ``wanted`` nearest neighbours in the same tissue is near each place.

    Tissue of too few places to tell is weighed with what is around it.
    """
    share = _mean_of_nearest(tree, tree.data, near, wanted)
    tissue = _areas(tree, np.ones(tree.n, bool))
    for number in range(int(tissue.max(initial=-1)) + 1):
        own = tissue == number
        points = tree.data[own]
        share[own] = _mean_of_nearest(cKDTree(points), points, near[own], wanted)
    return share


def _mean_of_nearest(
    tree: cKDTree, points: Points, near: NDArray[np.bool_], wanted: int
) -> NDArray[np.float64]:
    _, around = tree.query(points, k=min(wanted, tree.n))
    return np.asarray(near[np.reshape(around, (len(points), -1))].mean(axis=1))


def near_um(residual: ResidualMap) -> NDArray[np.float64]:
    """Return up to which shift each of ``N`` places counts as near."""
    finest = np.maximum(NEAR_UM, FINEST_SHARE * residual.reach_um)
    return np.minimum(NEAR_SHARE * residual.reach_um, finest)


def gap_of(residual: ResidualMap, inside: NDArray[np.bool_], mpp: float) -> Gap | None:
    """Describe an area of places, at ``mpp`` of the fixed slide; ``None`` where it is empty."""
    if not inside.any():
        return None
    points = residual.points[inside]
    middle = points[np.hypot(*(points - np.median(points, axis=0)).T).argmin()]
    place_mm2 = (_step(cKDTree(residual.points)) * mpp / 1000) ** 2
    near = float(np.median(near_um(residual)[inside]))
    return Gap(
        fraction=float(inside.mean()),
        area_mm2=float(inside.sum() * place_mm2),
        x=float(middle[0]),
        y=float(middle[1]),
        shift_um=_common_shift(residual.shift_um[inside], near),
    )


def _common_shift(shift_um: NDArray[np.float64], near_um: float) -> float:
    """Return the length of the shift that supports most of ``(N, 2)`` shifts; NaN where none does."""
    tree = cKDTree(shift_um)
    counts = tree.query_ball_point(shift_um, near_um, return_length=True)
    best = int(np.argmax(counts))
    if counts[best] < AGREEING_SHARE * len(shift_um):
        return float("nan")
    together = shift_um[tree.query_ball_point(shift_um[best], near_um)]
    return float(np.hypot(*np.median(together, axis=0)))


def _areas(tree: cKDTree, open_: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number the connected areas of ``open_`` places, the largest first; others are -1."""
    area = np.full(len(open_), -1, np.intp)
    where = np.flatnonzero(open_)
    if not len(where):
        return area
    links = cKDTree(tree.data[where]).query_pairs(
        ADJACENT_STEPS * _step(tree), output_type="ndarray"
    )
    graph = csr_array(
        (np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(len(where),) * 2
    )
    _, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(sizes), np.intp)
    rank[order] = np.arange(len(sizes))
    numbers = rank[labels]
    area[where] = np.where(sizes[labels] >= FEWEST_TOGETHER, numbers, -1)
    return area


def _step(tree: cKDTree) -> float:
    """Return the distance of neighbouring places in level-0 pixels; 1 with a single place."""
    if tree.n < 2:
        return 1.0
    distance, _ = tree.query(tree.data, k=2)
    return float(np.median(distance[:, 1]))
