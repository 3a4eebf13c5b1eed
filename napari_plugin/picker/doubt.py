"""Which of the picked pairs are likely to be mis-clicks: one rule, from five pairs on.

Of good pairs, up to 10 µm off in each direction, it names any in fewer than five of a hundred sets. A
mis-click of 50 µm among six or more pairs that were clicked to within 3 µm is named in 95.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from registration.geometry import Points
from registration.landmarks.projective import fit_affine, residuals

FEWEST_PAIRS = 5
"""With four pairs an affine fit leaves two degrees of freedom, and none without one of them: how far
they are off, or would be if left out, says nothing."""
CHANCE = 0.025
"""How often good pairs may look so bad by chance, at most."""
FLOOR_UM = 30.0
"""Tissue stretches that much between two sections: no mis-click, and no harm."""
USUAL_ERROR_UM = 4.0
"""What pairs are off by, in each direction, as far as is known before any was picked ..."""
USUAL_WEIGHT = 1.0
"""... and how many degrees of freedom that knowledge is worth."""
LEAST_ERROR_UM = 1.0
"""Below this all pairs agree."""
LARGE_UM = 100.0
"""Pairs of two sections disagree less than this; what disagrees more is mixed up."""
SEVERAL_FROM = 8
"""From so many pairs on two and more of them can be told apart from the rest."""
TRIALS = 200


def suspects(fixed: Points, moving: Points, mpp: float) -> tuple[int, ...]:
    """Return the pairs, ``(N, 2)`` points of ``mpp`` µm/px on the moving slide, that are likely wrong.

    Each choice of suspects is judged by an F test of the drop in squared error of the affine fit,
    with Bonferroni's factor for the choice and a moderated variance (Smyth, 2004), since four
    degrees of freedom alone say little. The least likely choice is named, if it is unlikely enough
    and the others put it further than :data:`FLOOR_UM` from where it is.
    """
    count = len(fixed)
    if count < FEWEST_PAIRS:
        return ()
    choices = [np.array([_odd_one(fixed, moving)])]
    if count >= SEVERAL_FROM:
        order = _by_robust_residual(fixed, moving)
        choices += [order[:number] for number in range(2, count // 3 + 1)]
    chances = [_chance(fixed, moving, chosen, mpp) for chosen in choices]
    best = int(np.argmin(chances))
    if chances[best] * len(choices) > CHANCE:
        return ()
    chosen = np.sort(choices[best])
    rest = np.setdiff1d(np.arange(count), chosen)
    away = residuals(fit_affine(fixed[rest], moving[rest]), fixed[chosen], moving[chosen]) * mpp
    return tuple(chosen[away > FLOOR_UM].tolist())


def disagreement_um(fixed: Points, moving: Points, mpp: float) -> float:
    """Return by how much pairs disagree with one affine map: root mean square per degree of freedom.

    Zero for fewer than :data:`FEWEST_PAIRS`.
    """
    if len(fixed) < FEWEST_PAIRS:
        return 0.0
    return math.sqrt(2 * _squares(fixed, moving) / (2 * len(fixed) - 6)) * mpp


def odd_one(fixed: Points, moving: Points, mpp: float) -> int | None:
    """Return the pair without which the others agree best; ``None`` where all agree, or with four."""
    if len(fixed) < FEWEST_PAIRS or math.sqrt(_squares(fixed, moving)) * mpp < LEAST_ERROR_UM:
        return None
    return _odd_one(fixed, moving)


def _odd_one(fixed: Points, moving: Points) -> int:
    """Return the pair whose removal lowers the squared error of the affine fit most.

    The leave-one-out distance itself would blame pairs at the edge, where a fit of the others has
    no hold. The drop is the squared residual over one minus the leverage.
    """
    basis = np.linalg.qr(_design(fixed))[0]
    residual = moving - basis @ (basis.T @ moving)
    free = 1 - (basis**2).sum(axis=1)
    return int(np.argmax((residual**2).sum(axis=1) / np.maximum(free, 1e-9)))


def _design(fixed: Points) -> NDArray[np.float64]:
    """Return the ``(N, 3)`` design matrix of an affine fit, centred and scaled."""
    spread = max(float(fixed.std()), 1e-12)
    return np.column_stack([(fixed - fixed.mean(axis=0)) / spread, np.ones(len(fixed))])


def _squares(fixed: Points, moving: Points) -> float:
    """Return the squared error of the affine fit."""
    basis = np.linalg.qr(_design(fixed))[0]
    return float(((moving - basis @ (basis.T @ moving)) ** 2).sum())


def _chance(fixed: Points, moving: Points, chosen: NDArray[np.intp], mpp: float) -> float:
    """Return how likely it is that any as many pairs deviate so much from the rest by chance."""
    rest = np.setdiff1d(np.arange(len(fixed)), chosen)
    freedom = 2 * len(rest) - 6 + USUAL_WEIGHT
    without = _squares(fixed[rest], moving[rest])
    gained = max(_squares(fixed, moving) - without, 0.0)
    variance = (without + USUAL_WEIGHT * (USUAL_ERROR_UM / mpp) ** 2) / freedom
    ratio = gained / (2 * len(chosen)) / variance
    return float(special.fdtrc(2 * len(chosen), freedom, ratio)) * math.comb(
        len(fixed), len(chosen)
    )


def _by_robust_residual(fixed: Points, moving: Points) -> NDArray[np.intp]:
    """Return the pairs by falling residual of the affine fit with the least median of squares.

    Up to half of the pairs cannot spoil it (Rousseeuw, 1984).
    """
    triples = np.array(list(combinations(range(len(fixed)), 3)))
    if len(triples) > TRIALS:
        random = np.random.default_rng(len(fixed))
        triples = random.choice(triples, TRIALS, replace=False)
    design = _design(fixed)
    solutions = np.linalg.pinv(design[triples]) @ moving[triples]  # (T, 3, 2)
    distance = np.linalg.norm(moving - design @ solutions, axis=2)
    return np.argsort(-distance[np.median(distance, axis=1).argmin()])
