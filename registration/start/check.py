"""Does an alignment hold? Measured on what did not take part in finding it.

The search and the fit look at total optical density on small patches. The check looks at
hematoxylin, on larger patches at twice the fit's resolution, and asks for something that chance
does not give: shifts that agree with each other all over the tissue. The same measure on the
section turned over or upside down tells what chance gives on this very pair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Points, look_up
from registration.matching import match_points
from registration.stain import Plane
from registration.start.fit import FEWEST_MATCHES, robust_affine, trust
from registration.start.views import Overview, principal_axes, shrunk_to
from registration.transforms import Projective

SIDE = 640
PATCH_PX = 97
SEARCH_PX = 18
SPACING_PX = 40
FEWEST_POINTS = 20

LEAST_SHARE = 0.16
"""Wrong alignments and unrelated sections reach 0.10, right ones 0.24 on the hardest pair."""

TIMES_CHANCE = 1.8
LEAST_SPREAD = 0.5
LONG_ELONGATION = 1.3
LARGEST_OFFSET = 0.015
"""Half of the tissue may be off by this share of its length: a coarse pass can still mend that."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an independent measure says of an alignment."""

    verified: bool
    reasons: tuple[str, ...]
    """Why not; empty when verified."""
    share: float
    """Share of the patches whose shifts agree with each other, 0 to 1."""
    chance: float
    """The same on wrong alignments of the same pair: the largest of three."""
    points: int
    """Patches looked at."""
    spread: float
    """Extent of the agreeing patches over that of all, in the direction where it is smaller."""
    offset_um: float
    """Median distance by which the agreeing patches say the alignment is off."""

    @property
    def numbers(self) -> dict[str, float]:
        """The measured values by name."""
        return {
            name: float(value)
            for name, value in asdict(self).items()
            if name not in ("verified", "reasons")
        }


@dataclass(frozen=True, eq=False)
class _Agreement:
    """Patches whose shifts agree, under one alignment."""

    share: float
    spread: float
    offset_px: float


NO_AGREEMENT = _Agreement(0.0, 0.0, float("inf"))


def check(fixed: Overview, moving: Overview, transform: Projective, fixed_mpp: float) -> Evidence:
    """Measure how well an alignment (level 0 to level 0) holds, and decide."""
    fixed, moving = shrunk_to(SIDE, fixed, moving)
    warped = moving.in_frame_of(fixed, transform)
    seen = moving.coverage_in(fixed, transform)
    points = fixed.grid(SPACING_PX, phase=0.25)
    points = points[look_up(seen, points)]
    found = _agreement(fixed.nuclei, warped.nuclei, points)
    chance = max(
        _agreement(fixed.nuclei, np.ascontiguousarray(plane), points).share
        for plane in _turned_over(warped)
    )
    downsample = float(np.hypot(*fixed.to_level0.matrix[:2, 0]))
    return _decided(
        Evidence(
            verified=False,
            reasons=(),
            share=found.share,
            chance=chance,
            points=len(points),
            spread=found.spread,
            offset_um=found.offset_px * downsample * fixed_mpp,
        ),
        largest_offset_um=LARGEST_OFFSET * fixed.side * downsample * fixed_mpp,
    )


def _decided(evidence: Evidence, largest_offset_um: float) -> Evidence:
    """Return the evidence with its decision."""
    reasons = []
    if evidence.points < FEWEST_POINTS:
        reasons.append(f"the sections hardly overlap: {evidence.points} patches to compare")
    elif evidence.share < LEAST_SHARE:
        reasons.append(
            f"only {100 * evidence.share:.0f} % of {evidence.points} patches agree on where they belong "
            f"({100 * LEAST_SHARE:.0f} % needed)"
        )
    elif evidence.share < TIMES_CHANCE * evidence.chance:
        reasons.append(
            f"{100 * evidence.share:.0f} % of the patches agree, but so do "
            f"{100 * evidence.chance:.0f} % with the section turned over or upside down"
        )
    elif evidence.spread < LEAST_SPREAD:
        reasons.append("the patches that agree lie in one part of the tissue only")
    elif evidence.offset_um > largest_offset_um:
        reasons.append(
            f"half of the tissue is off by {evidence.offset_um:.0f} µm or more "
            f"(at most {largest_offset_um:.0f})"
        )
    return replace(evidence, verified=not reasons, reasons=tuple(reasons))


def _agreement(fixed: Plane, moving: Plane, points: Points) -> _Agreement:
    """Match patches and measure how many agree on one smooth displacement."""
    if len(points) < FEWEST_POINTS:
        return NO_AGREEMENT
    matches = match_points(fixed, moving, points, PATCH_PX, SEARCH_PX)
    trusted = matches.take(trust(matches, SEARCH_PX))
    if len(trusted) < FEWEST_MATCHES:
        return NO_AGREEMENT
    affine, inside = robust_affine(trusted, tolerance_px=0.25 * SEARCH_PX)
    offsets = np.hypot(*(affine(points) - points).T)
    return _Agreement(
        share=float(inside.sum() / len(points)),
        spread=_spread(trusted.points[inside], points),
        offset_px=float(np.median(offsets)),
    )


def _turned_over(view: Overview) -> list[Plane]:
    """Return the nuclei turned over both ways and upside down, on the tissue's own place.

    A long, thin piece lies askew on its view: it is turned over about its own axes.
    """
    plane = view.nuclei
    if view.elongation < LONG_ELONGATION:
        return [plane[::-1], plane[:, ::-1], plane[::-1, ::-1]]
    center, axes = principal_axes(view.mask)
    turned = []
    for signs in ((-1, 1), (1, -1), (-1, -1)):
        linear = axes.T @ np.diag(signs) @ axes
        matrix = np.column_stack([linear, center - linear @ center])
        turned.append(np.asarray(cv2.warpAffine(plane, matrix, plane.shape[::-1]), np.float32))
    return turned


def _spread(some: Points, every: Points) -> float:
    """Return the smaller ratio of standard deviations along x and y."""
    if len(some) < 2:
        return 0.0
    ratio: NDArray[np.float64] = some.std(axis=0) / np.maximum(every.std(axis=0), 1e-9)
    return float(ratio.min())
