"""The initial alignment without landmarks: any rotation, mirrored or not, whatever the stains.

1. Both slides are read at low resolution, cut to their tissue (:mod:`registration.start.views`).
2. Every rotation, turned over or not, is tried (:mod:`registration.start.search`).
3. The best few are refined by local matches to affine transforms (:mod:`registration.start.fit`).
4. The best of these must hold by an independent measure (:mod:`registration.start.check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from registration.geometry import Points, farthest_first
from registration.slides.slide import Slide
from registration.start.check import Evidence, check
from registration.start.fit import CLOSER, FINE, ROUGH, Fit, fit_step
from registration.start.search import FAR_SCALES, SCALES, Candidate, search
from registration.start.views import Overview, view_pair
from registration.transforms import Projective

CANDIDATES = 5
LANDMARKS = 12
BEST_MATCHES_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class ProposedAlignment:
    """A proposed initial alignment."""

    transform: Projective
    """Affine, level-0 pixels of the fixed slide to those of the moving slide."""
    landmarks: tuple[Points, Points]
    """Matching ``(N, 2)`` level-0 points, fixed and moving, spread over the tissue."""
    mirrored: bool
    """Whether one section lies face down."""
    evidence: dict[str, float]
    """What was measured, by name."""
    verified: bool
    """Whether an independent measure confirms the alignment."""
    reasons: tuple[str, ...]
    """Why it is not confirmed; empty when it is."""


def propose_alignment(fixed: Slide, moving: Slide) -> ProposedAlignment:
    """Find the initial alignment of two sections of one specimen.

    Scales from 0.8 to 1.25 times what the slides' µm per pixel say are found. Nothing is raised
    when nothing is found: the best guess comes back with ``verified`` false.
    """
    views = view_pair(fixed, moving)
    start = _best_start(*views, SCALES, fixed.mpp)
    if start.verified:
        return start
    farther = _best_start(*views, FAR_SCALES, fixed.mpp)
    return farther if farther.verified else start


def propose_near(fixed: Slide, moving: Slide) -> ProposedAlignment:
    """Return the best start near the scales that the slides say."""
    return _best_start(*view_pair(fixed, moving), SCALES, fixed.mpp)


def verify(fixed: Slide, moving: Slide, transform: Projective) -> Evidence:
    """Check an alignment, fixed -> moving level-0 pixels, wherever it comes from."""
    return check(*view_pair(fixed, moving), transform, fixed.mpp)


def _best_start(
    fixed: Overview, moving: Overview, scales: tuple[float, ...], fixed_mpp: float
) -> ProposedAlignment:
    """Search, refine and check at the given scales."""
    return start_from(search(fixed, moving, CANDIDATES, scales), fixed, moving, fixed_mpp)


def start_from(
    candidates: Sequence[Candidate], fixed: Overview, moving: Overview, fixed_mpp: float
) -> ProposedAlignment:
    """Refine rough alignments, best first, and check the best of the refined ones."""
    fits = [_refined(fixed, moving, candidate) for candidate in candidates]
    agreements = sorted(fit.agreement if fit else 0.0 for fit in fits)
    best = max((fit for fit in fits if fit), key=lambda fit: fit.agreement, default=None)
    transform = best.transform if best else candidates[0].transform
    evidence = check(fixed, moving, transform, fixed_mpp)
    return ProposedAlignment(
        transform=transform,
        landmarks=_landmarks(fixed, moving, transform),
        mirrored=transform.is_mirrored,
        evidence={
            **evidence.numbers,
            "correlation": candidates[0].score,
            "agreement": agreements[-1],
            "next_agreement": agreements[-2] if len(agreements) > 1 else 0.0,
        },
        verified=evidence.verified,
        reasons=evidence.reasons,
    )


def _refined(fixed: Overview, moving: Overview, candidate: Candidate) -> Fit | None:
    """Return the affine alignment near a rough one, if local matches lead to one."""
    fit = fit_step(fixed, moving, candidate.transform, ROUGH)
    return fit and fit_step(fixed, moving, fit.transform, CLOSER)


def _landmarks(fixed: Overview, moving: Overview, transform: Projective) -> tuple[Points, Points]:
    """Return well-matched points far from each other; the transform's own where none match."""
    fit = fit_step(fixed, moving, transform, FINE)
    if fit is None or len(fit.fixed) < LANDMARKS:
        points = fixed.to_level0(fixed.grid(max(1, fixed.side // 6)))[:LANDMARKS]
        return points, transform(points)
    best = fit.score >= np.quantile(fit.score, 1 - BEST_MATCHES_SHARE)
    fixed_points, moving_points = fit.fixed[best], fit.moving[best]
    middle = np.hypot(*(fixed_points - np.median(fixed_points, axis=0)).T)
    chosen = farthest_first(fixed_points, LANDMARKS, int(middle.argmin()))
    return fixed_points[chosen], moving_points[chosen]
