"""From a rough alignment to an affine one, by local matches at growing resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.geometry import Points
from registration.landmarks.projective import fit_affine
from registration.matching import Matches, match_points
from registration.start.views import Overview, shrunk_to
from registration.transforms import Projective

NEIGHBOURS = 8
LEAST_SCORE = 0.1
FEWEST_MATCHES = 12
CONSENSUS_SHARE = 0.2
"""Matches are trusted whose shift lies within this share of the search of their neighbours'."""

SAMPLES = 400
LARGEST_SCALING = 0.2
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class FitStep:
    """Matching at one resolution; lengths in pixels of the views at ``side``."""

    side: int
    patch_px: int
    search_px: int
    spacing_px: int
    rounds: int


ROUGH = FitStep(side=320, patch_px=33, search_px=14, spacing_px=12, rounds=1)
CLOSER = FitStep(side=320, patch_px=33, search_px=10, spacing_px=12, rounds=2)
FINE = FitStep(side=640, patch_px=41, search_px=12, spacing_px=16, rounds=1)


@dataclass(frozen=True, eq=False)
class Fit:
    """An affine alignment and how well local matches agree with it."""

    transform: Projective
    """Level-0 pixels of the fixed slide to those of the moving slide."""
    agreement: float
    """Weight of the matches near the affine transform over that of all trials, 0 to 1."""
    fixed: Points
    moving: Points
    score: NDArray[np.float64]
    """Trusted matches in level-0 pixels, and their correlations."""


def fit_step(fixed: Overview, moving: Overview, start: Projective, step: FitStep) -> Fit | None:
    """Refine an alignment (level 0 to level 0) at one resolution; ``None`` where matches fail."""
    fixed, moving = shrunk_to(step.side, fixed, moving)
    points = fixed.grid(step.spacing_px)
    fit, transform = None, start
    for _ in range(step.rounds):
        warped = moving.in_frame_of(fixed, transform)
        matches = match_points(fixed.plane, warped.plane, points, step.patch_px, step.search_px)
        trusted = matches.take(trust(matches, step.search_px))
        if len(trusted) < FEWEST_MATCHES:
            return None
        correction, inside = robust_affine(trusted, tolerance_px=0.25 * step.search_px)
        agreement = float(trusted.score[inside].sum() / max(matches.score.clip(0).sum(), 1e-9))
        transform = warped.to_level0.after(correction).after(fixed.to_level0.inverse)
        fit = Fit(
            transform,
            agreement,
            fixed.to_level0(trusted.points),
            warped.to_level0(trusted.targets),
            trusted.score,
        )
    return fit


def trust(matches: Matches, search_px: int) -> NDArray[np.bool_]:
    """Return which matches have structure, a true peak, and shifts like their neighbours'."""
    usable = (matches.score > LEAST_SCORE) & matches.bounded
    if usable.sum() <= NEIGHBOURS:
        return np.zeros_like(usable)
    tree = cKDTree(matches.points[usable])
    _, near = tree.query(matches.points[usable], k=NEIGHBOURS + 1)
    shifts = matches.shifts[usable]
    typical = np.median(shifts[near[:, 1:]], axis=1)
    close = np.hypot(*(shifts - typical).T) < max(1.5, CONSENSUS_SHARE * search_px)
    trusted = usable.copy()
    trusted[usable] = close
    return trusted


def robust_affine(matches: Matches, tolerance_px: float) -> tuple[Projective, NDArray[np.bool_]]:
    """Fit an affine transform to most of the matches, and tell which are near it.

    A similarity from two random matches with the most weight near it (RANSAC, seeded), then an
    affine transform by iteratively reweighted least squares (Geman-McClure weights).
    """
    inside = _best_similarity(matches, tolerance_px)
    points, targets = matches.points, matches.targets
    affine = fit_affine(points[inside], targets[inside])
    for _ in range(ROUNDS):
        error = np.hypot(*(affine(points) - targets).T)
        weights = np.sqrt(matches.score) / (1 + (error / tolerance_px) ** 2)
        affine = _weighted_affine(points, targets, weights)
    return affine, np.hypot(*(affine(points) - targets).T) < tolerance_px


def _best_similarity(matches: Matches, tolerance_px: float) -> NDArray[np.bool_]:
    """Return the matches near the best of many similarities through two matches."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, len(matches), (2, SAMPLES))
    points = matches.points @ [1, 1j]
    targets = matches.targets @ [1, 1j]
    apart = np.abs(points[first] - points[second]) > tolerance_px
    first, second = first[apart], second[apart]
    turn = (targets[first] - targets[second]) / (points[first] - points[second])
    plausible = np.abs(np.abs(turn) - 1) < LARGEST_SCALING
    turn, first = turn[plausible], first[plausible]
    shift = targets[first] - turn * points[first]
    near = np.abs(turn[:, None] * points + shift[:, None] - targets) < tolerance_px
    support = near @ matches.score
    best = near[support.argmax()] if len(support) else np.ones(len(matches), bool)
    return np.asarray(best if best.sum() >= 3 else np.ones(len(matches), bool))


def _weighted_affine(points: Points, targets: Points, weights: NDArray[np.float64]) -> Projective:
    """Return the least-squares affine transform, each equation times its weight."""
    design = np.column_stack([points, np.ones(len(points))]) * weights[:, None]
    solution = np.linalg.lstsq(design, targets * weights[:, None], rcond=None)[0]
    return Projective.affine(solution.T)
