"""Where to look closely: the place that matches best, a typical one, and the worst one.

Chosen by figures, so that a report cannot show its good side alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Points, Size
from registration.pair import SlidePair
from registration.quality.residual import SEARCH_PX, match_downsample
from registration.quality.verdict import place_of
from registration.residual_map import ResidualMap
from registration.result import Registration
from registration.stain import extract_channel
from registration.tissue import TissueMap

FIELD_UM, DETAIL_UM = 1000.0, 200.0
LARGEST_FIELD_SHARE = 0.5
"""A field takes at most this share of the slide's shorter side."""

FEWEST_POINTS = 3
MOST_CANDIDATES = 400
ENOUGH_TISSUE = 0.6
"""A field is worth showing when it has this share of the points that the fullest field has, and a
close-up when it has this share of the tissue that the fullest close-up has."""

LOOKED_AT_PX = 1000
GLASS_PERCENTILE, DARKER_THAN_GLASS = 5.0, 0.1
"""Mean optical density by which stained tissue is darker than the brightest of its slide."""

TITLES = {"best": "Best match", "typical": "Typical", "worst": "Worst match"}

XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the fixed slide that is worth a look; points in level-0 pixels."""

    field: XY
    """Middle of the wide field."""
    detail: XY
    """Middle of the close-up, within the field."""
    why: str


def choose_places(
    registration: Registration, pair: SlidePair, tissue: TissueMap
) -> list[tuple[str, Place]]:
    """Return the ``best``, a ``typical`` and the ``worst`` place; fewer where there is little tissue."""
    residual = registration.residual_map
    if residual is not None and len(residual.points) >= FEWEST_POINTS:
        ranked = _ranked_by_match(residual, pair, tissue)
    else:
        ranked = _ranked_by_block(registration, tissue)
    return three_of(ranked, field_box(pair, (0, 0), FIELD_UM).width / 4)


def field_box(pair: SlidePair, middle: XY, side_um: float) -> Box:
    """Return the square of ``side_um`` around a point, moved to lie on the fixed slide.

    On a small slide all squares shrink alike, so that a field stays a part of it.
    """
    size, mpp = pair.fixed_slide.size, pair.fixed_slide.mpp
    shorter = min(size.width, size.height)
    shrunk = min(1.0, LARGEST_FIELD_SHARE * shorter * mpp / FIELD_UM)
    side = min(max(8, round(shrunk * side_um / mpp)), shorter)
    x, y = (
        min(max(round(center - side / 2), 0), extent - side)
        for center, extent in zip(middle, (size.width, size.height), strict=True)
    )
    return Box(x, y, side, side)


def _ranked_by_match(residual: ResidualMap, pair: SlidePair, tissue: TissueMap) -> list[Place]:
    """Rank fields by their mean residual shift, where a point that matches nothing counts as lost.

    The close-up is the best point of the best field, the worst of the worst, else one in between.
    """
    slide = pair.fixed_slide
    lost_um = SEARCH_PX * match_downsample(slide) * slide.mpp
    badness = np.where(residual.matched, np.hypot(*residual.shift_um.T), lost_um)
    centers = residual.points[:: math.ceil(len(badness) / MOST_CANDIDATES)]
    side = field_box(pair, (0, 0), FIELD_UM).width
    near = np.abs(centers[:, None] - residual.points).max(axis=2) <= side / 2
    count = near.sum(axis=1)
    dense = near & _in_tissue(residual.points, pair, tissue)
    shows = dense.any(axis=1)
    dense[~shows] = near[~shows]
    usable = count >= ENOUGH_TISSUE * count.max()
    inside = usable & Box.of(slide.size).expanded(-side // 2 - 1).contains(centers)
    chosen = np.flatnonzero(inside if inside.any() else usable)
    order = chosen[np.argsort((near @ badness / count)[chosen], kind="stable")]
    best = order[shows[order].argmax()]  # the worst may be what has little tissue
    order = np.concatenate([[best], order[order != best]])
    ranked = np.lexsort((-residual.score, badness))
    how_bad = {len(order) - 1: 1.0, 0: 0.0}
    places = []
    for position, k in enumerate(order):
        own = ranked[dense[k][ranked]]
        detail = own[round(how_bad.get(position, 0.5) * (len(own) - 1))]
        places.append(_place(residual, centers[k], near[k], residual.points[detail]))
    return places


def _place(residual: ResidualMap, center: Points, near: NDArray[np.bool_], detail: Points) -> Place:
    """Return a field with its close-up, and what was measured in it."""
    matched = residual.matched & near
    why = f"{int(matched.sum())} of {int(near.sum())} points match"
    if matched.any():
        shift = np.median(np.hypot(*residual.shift_um[matched].T))
        why += f", {shift:.1f} µm apart (median)"
    return Place(_xy(center), _xy(detail), why)


def _in_tissue(points: Points, pair: SlidePair, tissue: TissueMap) -> NDArray[np.bool_]:
    """Return around which points a close-up shows tissue rather than glass.

    The map of the tissue holds what it encloses, and far too much of that where µm per pixel are
    wrong. So what counts is in it and darker than glass.
    """
    image, downsample = pair.fixed_slide.thumbnail(LOOKED_AT_PX)
    darkness = extract_channel(image, "darkness")
    dark = darkness > np.percentile(darkness, GLASS_PERCENTILE) + DARKER_THAN_GLASS
    size = pair.fixed_slide.size
    within = tissue.on(Box.of(size), Size(*dark.shape[::-1]))
    side = field_box(pair, (0, 0), DETAIL_UM).width
    share = TissueMap(dark & within, downsample).share_around(points, side)
    return np.asarray(share >= ENOUGH_TISSUE * share.max())


def _ranked_by_block(registration: Registration, tissue: TissueMap) -> list[Place]:
    """Rank blocks by their similarity after registration; those without one are the worst."""
    points = tissue.points()
    blocks = [block for block in registration.blocks if block.status != "blank"]
    places = []
    for block in sorted(blocks, key=lambda block: -(block.similarity_after or -1.0)):
        core = Box(block.x, block.y, block.width, block.height)
        inside = points[core.contains(points)]
        if len(inside):
            places.append(_in_the_middle(inside, f"block in {place_of(block.name)}"))
    if not places and len(points):
        places.append(_in_the_middle(points, "the middle of the tissue"))
    return places


def _in_the_middle(points: Points, why: str) -> Place:
    middle = _xy(points[np.argmin(np.hypot(*(points - points.mean(axis=0)).T))])
    return Place(middle, middle, why)


def three_of(ranked: Sequence[Place], apart: float) -> list[tuple[str, Place]]:
    """Return the first, the middle and the last of a ranking, unless they are the same place.

    On a small slide the middle one gives way, never the worst.
    """
    if not ranked:
        return []
    chosen = {"best": ranked[0]}
    for key, place in (("worst", ranked[-1]), ("typical", ranked[len(ranked) // 2])):
        if min(math.dist(place.field, other.field) for other in chosen.values()) > apart:
            chosen[key] = place
    return [(key, chosen[key]) for key in TITLES if key in chosen]


def _xy(point: Points) -> XY:
    return float(point[0]), float(point[1])
