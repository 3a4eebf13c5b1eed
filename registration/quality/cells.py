"""Do single cells lie on each other? Evidence that does not look at what the registration optimised.

Nuclei are found in the haematoxylin of both native slides; those of the fixed slide go through the
chain, and two are partners where each is the other's nearest within 1.5 nuclear radii. What that is
worth is told by chance: the same nuclei displaced by 20 to 60 µm, where nothing corresponds, pair
too where they are dense. With a share ``p`` of partners and ``c`` by chance, ``(p - c) / (1 - c)``
of the nuclei have a true partner.

A shift that most nuclei of a field share is the registration's error, or what it could not follow;
what is left around it is biology: in one section stained twice the same nuclei are seen again to a
fraction of a µm, in two neighbours half of them are others, and the rest is cut at another height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.cell_evidence import CellCount, CellEvidence, CellField, Sections
from registration.geometry import Box, Image, Points, Size, level_box, to_level0
from registration.nuclei import (
    USUAL_RADIUS_UM,
    WORK_MPP,
    Nuclei,
    can_show_nuclei,
    find_nuclei,
    paired,
)
from registration.slides.slide import Slide
from registration.stain import disc
from registration.tissue import TissueMap
from registration.transforms import Chain

FIELD_UM = 250.0
MOST_FIELDS = 24
"""Fields of 250 µm that a slide is looked at in: some 3,000 nuclei, for a second or two ..."""

FEWEST_FIELDS = 6
"""... which its pieces share, but each has so many."""

REACH_UM = 1.5 * USUAL_RADIUS_UM
MARGIN_UM = 20.0
"""The moving slide is read so far around a field."""

NULL_SHIFTS = 16
NEAREST_NULL_UM, FARTHEST_NULL_UM = 20.0, 60.0

SHIFT_REACH_UM = 15.0
"""A common shift is looked for up to this far ..."""

TOGETHER_UM, VOTE_UM = 2.0, 0.5
"""... among nuclei whose shifts agree to this; they are counted in bins of half a µm."""

FEWEST_NUCLEI = 60
"""With fewer on all fields nothing is said."""

RESAMPLES = 1000

MOST_AGREE = 0.5
"""Sections are told apart where fields with more of the nuclei than this show a common shift."""

SAME_SECTION_SHARE, SAME_SECTION_SCATTER_UM = 0.86, 1.0
"""In one section stained twice more of the nuclei than this pair beyond chance, this closely: on drawn
pairs 0.92 to 0.97 where no nucleus changed and at most 0.82 where 15 % did, on one glass in two
scanners 0.8 to 1.0 at 0.3 µm, on BCI and MIST at most 0.16."""

CONSECUTIVE_SHARE = 0.7
"""With fewer they are surely not one section. In between both occur: 0.8 where one of two scanners saw pale
cells out of focus, as where 15 % of the nuclei changed."""


@dataclass(frozen=True)
class CellTask:
    """One field of the fixed slide, in level-0 pixels."""

    fixed: Slide
    moving: Slide
    chain: Chain
    box: Box


@dataclass(frozen=True, eq=False)
class Found:
    """Nuclei of one place, all in µm of one frame."""

    fixed: Points
    moving: Points
    low: NDArray[np.float64]
    """Corners of the place in which those of the moving image were looked for."""
    high: NDArray[np.float64]
    seed: tuple[int, ...]

    def displaced(self) -> list[Points]:
        """Return the fixed nuclei where nothing corresponds; those that leave the place are dropped."""
        rng = np.random.default_rng(self.seed)
        turns = rng.uniform(0, 2 * np.pi, NULL_SHIFTS)
        lengths = rng.uniform(NEAREST_NULL_UM, FARTHEST_NULL_UM, NULL_SHIFTS)
        ways = lengths[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        moved = [self.fixed + way for way in ways]
        return [p[((p > self.low) & (p < self.high)).all(axis=1)] for p in moved]


def cell_fields(fixed: Slide, tissue: TissueMap, pieces: int = 1) -> list[Box]:
    """Return the fields to look at: spread over the tissue, never more than cover it once.

    ``pieces`` is how many pieces of the slide are looked at, each by itself.
    """
    side = round(FIELD_UM / fixed.mpp)
    points = tissue.points()
    if not len(points):
        return []
    ways = np.array([(x, y) for x in (-1, 1) for y in (-1, 1)]) * side / 4
    inner = points[np.all([tissue.at(points + way) for way in ways], axis=0)]
    points = inner if len(inner) else points
    area = tissue.mask.sum() * tissue.downsample**2
    most = max(FEWEST_FIELDS, MOST_FIELDS // pieces)
    count = min(most, len(points), max(1, int(area / side**2)))
    middles = points[np.linspace(0, len(points) - 1, 2 * count + 1).astype(int)[1::2]]
    corners = np.rint(middles - side / 2).astype(int).tolist()
    return [Box(x, y, side, side).clipped(fixed.size) for x, y in corners]


def look_at(task: CellTask) -> CellField | None:
    """Compare the nuclei of one field; ``None`` where it maps nowhere."""
    fixed, chain, mpp = task.fixed, task.chain, task.moving.mpp
    nuclei = nuclei_on(fixed, task.box)
    mapped = chain(nuclei.points[nuclei.sure])
    place = _mapped_box(task)
    if place is None:
        return None
    count = compared(
        Found(
            mapped[np.isfinite(mapped).all(axis=1)] * mpp,
            nuclei_on(task.moving, place).points * mpp,
            np.array([place.x, place.y]) * mpp,
            np.array([place.right, place.bottom]) * mpp,
            seed=(task.box.x, task.box.y),
        )
    )
    x, y = task.box.center
    shift = _in_fixed_frame(task, (count.shift_x_um, count.shift_y_um))
    return CellField(x, y, replace(count, shift_x_um=shift[0], shift_y_um=shift[1]))


def look_at_images(fixed: Image, moving: Image, mpp: float) -> CellCount | None:
    """Compare the nuclei in the middle 250 µm of two ``(h, w, 3)`` images that lie on each other.

    ``None`` where ``mpp``, µm per pixel of both, is too coarse for nuclei.
    """
    if not can_show_nuclei(mpp):
        return None
    size = Size(fixed.shape[1], fixed.shape[0])
    middle = middle_of(Box.of(size), mpp)
    around = middle.expanded(round(MARGIN_UM / mpp)).clipped(size)
    own = find_nuclei(fixed[middle.slices()], mpp)
    others = find_nuclei(moving[around.slices()], mpp)
    return compared(
        Found(
            (own.points[own.sure] + np.array([middle.x, middle.y])) * mpp,
            (others.points + np.array([around.x, around.y])) * mpp,
            np.array([around.x, around.y]) * mpp,
            np.array([around.right, around.bottom]) * mpp,
            seed=(middle.x, middle.y),
        )
    )


def middle_of(box: Box, mpp: float) -> Box:
    """Return the field in the middle of a box of a patch in which its nuclei are compared."""
    side = min(box.width, box.height, round(FIELD_UM / mpp))
    return Box(box.x + (box.width - side) // 2, box.y + (box.height - side) // 2, side, side)


def nuclei_on(slide: Slide, box: Box) -> Nuclei:
    """Return the nuclei on a level-0 box of a slide, in its level-0 pixels."""
    downsample = max(1.0, WORK_MPP / slide.mpp)
    level = level_box(box, downsample)
    found = find_nuclei(slide.read_scaled(level, downsample), slide.mpp * downsample)
    points = to_level0(found.points + np.array([level.x, level.y]), downsample)
    return Nuclei(points, found.radii_um, found.sure)


def compared(found: Found) -> CellCount:
    """Pair the nuclei of one place, as they lie and with their common shift taken out."""
    null = found.displaced()
    _, _, distance = paired(found.fixed, found.moving, REACH_UM)
    share = _null_share(null, found)
    shift = common_shift(found, null)
    own = found.fixed if shift is None else found.fixed + shift
    _, _, left = paired(own, found.moving, REACH_UM)
    x, y = (float("nan"),) * 2 if shift is None else shift.tolist()
    chance = share * len(found.fixed)
    return CellCount(
        fixed=len(found.fixed),
        moving=len(found.moving),
        paired=len(distance),
        chance=chance,
        median_um=float(np.median(distance)) if len(distance) else float("nan"),
        shift_x_um=x,
        shift_y_um=y,
        aligned=len(left),
        scatter_um=_scatter(left, chance),
    )


def common_shift(found: Found, null: Sequence[Points]) -> NDArray[np.float64] | None:
    """Return the shift from fixed to moving that most nuclei share; ``None`` where chance gives as many."""
    best, votes = _most_agreed(found.fixed, found.moving)
    by_chance = [
        _most_agreed(points, found.moving)[1] * len(found.fixed) / max(len(points), 1)
        for points in null
        if len(points) >= len(found.fixed) / 3
    ]
    return best if best is not None and votes > max(by_chance, default=0) else None


def _most_agreed(a: Points, b: Points) -> tuple[NDArray[np.float64] | None, int]:
    """Return the shift from ``a`` to ``b`` that most pairs of points agree on, and how many do."""
    if not len(a) or not len(b):
        return None, 0
    near = cKDTree(a).sparse_distance_matrix(cKDTree(b), SHIFT_REACH_UM, output_type="ndarray")
    if not len(near):
        return None, 0
    shifts = b[near["j"]] - a[near["i"]]
    edges = np.arange(-SHIFT_REACH_UM, SHIFT_REACH_UM + VOTE_UM / 2, VOTE_UM)
    cells = np.histogram2d(shifts[:, 0], shifts[:, 1], bins=[edges, edges])[0]
    votes = cv2.filter2D(cells, -1, disc(TOGETHER_UM / VOTE_UM).astype(float), borderType=0)
    x, y = np.unravel_index(int(votes.argmax()), votes.shape)
    winner = np.array([edges[x], edges[y]]) + VOTE_UM / 2
    # The disc of whole bins reaches half a bin farther than the circle.
    members = shifts[np.hypot(*(shifts - winner).T) <= TOGETHER_UM + VOTE_UM]
    return np.asarray(members.mean(axis=0)), int(votes.max())


def _null_share(null: Sequence[Points], found: Found) -> float:
    """Return the share of displaced nuclei that have a partner."""
    total = sum(map(len, null))
    pairs = sum(len(paired(points, found.moving, REACH_UM)[0]) for points in null)
    return pairs / total if total else 0.0


def _scatter(distance: NDArray[np.float64], chance: float) -> float:
    """Return the median distance of true partners.

    Partners by chance are spread evenly over the disc, so that ``chance * (r / REACH_UM) ** 2`` of them
    lie within ``r``.
    """
    true = len(distance) - chance
    if true < 1:
        return float("nan")
    nearest = np.sort(distance)
    within = np.arange(1, len(nearest) + 1) - chance * (nearest / REACH_UM) ** 2
    return float(nearest[int(np.argmax(within >= true / 2))])


def _mapped_box(task: CellTask) -> Box | None:
    """Return the part of the moving slide under a field, with its margin."""
    box = task.box
    edge = np.linspace(0, 1, 5)
    grid = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    mapped = task.chain(grid * [box.width - 1, box.height - 1] + [box.x, box.y])
    mapped = mapped[np.isfinite(mapped).all(axis=1)]
    if not len(mapped):
        return None
    low, high = np.floor(mapped.min(axis=0)).astype(int), np.ceil(mapped.max(axis=0)).astype(int)
    around = Box(int(low[0]), int(low[1]), *(int(side) + 1 for side in high - low))
    inside = around.expanded(round(MARGIN_UM / task.moving.mpp)).clipped(task.moving.size)
    return inside if inside.width and inside.height else None


def _in_fixed_frame(task: CellTask, shift_um: tuple[float, float]) -> list[float]:
    """Return a shift on the moving slide as one on the fixed slide, in the middle of a field."""
    middle, step = np.array([task.box.center]), np.eye(2)
    linear = (task.chain(middle + step) - task.chain(middle - step)).T / 2
    if not np.isfinite(linear).all() or not np.isfinite(shift_um).all():
        return [float("nan")] * 2
    moved = np.linalg.solve(linear, np.array(shift_um) / task.moving.mpp)
    return [float(value) for value in moved * task.fixed.mpp]


def evidence_of(fields: Sequence[CellField]) -> CellEvidence | None:
    """Sum the fields up; ``None`` with too few nuclei to tell."""
    counts = [field.count for field in fields]
    nuclei = sum(count.fixed for count in counts)
    if nuclei < FEWEST_NUCLEI:
        return None
    beyond = _beyond([(c.fixed, c.paired, c.chance) for c in counts])
    agreeing = [count for count in counts if np.isfinite(count.shift_x_um)]
    agreed = sum(count.fixed for count in agreeing) / nuclei
    own = [((c.aligned - c.chance) / max(c.fixed - c.chance, 1e-9), c.fixed) for c in agreeing]
    aligned = _weighted_median(own)
    scatter = _weighted_median([(c.scatter_um, c.fixed) for c in agreeing])
    x = _weighted_median([(c.shift_x_um, c.fixed) for c in agreeing])
    y = _weighted_median([(c.shift_y_um, c.fixed) for c in agreeing])
    return CellEvidence(
        fields=tuple(fields),
        nuclei=nuclei,
        paired=sum(c.paired for c in counts) / nuclei,
        chance=sum(c.chance for c in counts) / nuclei,
        beyond=beyond[0],
        beyond_low=beyond[1],
        beyond_high=beyond[2],
        median_um=_weighted_median([(c.median_um, c.paired) for c in counts]),
        agreeing=agreed,
        shift_um=float(np.hypot(x, y)),
        shift_x_um=x,
        shift_y_um=y,
        scatter_um=scatter,
        aligned=aligned,
        sections=sections_of(agreed, aligned, scatter),
    )


def sections_of(agreeing: float, aligned: float, scatter_um: float) -> Sections:
    """Return whether two sections are one stained twice.

    ``agreeing`` is the share of nuclei in fields with a common shift, ``aligned`` the share of
    those that pair beyond chance once it is taken out (of half of these fields), to within ``scatter_um``.
    """
    if agreeing < MOST_AGREE:
        return "not known"
    if scatter_um > SAME_SECTION_SCATTER_UM or aligned < CONSECUTIVE_SHARE:
        return "consecutive sections"
    return "same section" if aligned >= SAME_SECTION_SHARE else "undecided"


def _beyond(counts: Sequence[tuple[int, int, float]]) -> tuple[float, float, float]:
    """Return the share beyond chance of ``(nuclei, paired, by chance)`` per field, and its bounds."""
    table = np.array(counts, np.float64)
    drawn = np.random.default_rng(0).multinomial(
        len(table), np.full(len(table), 1 / len(table)), size=RESAMPLES
    )
    sums = np.vstack([np.ones(len(table)), drawn]) @ table
    nuclei = np.maximum(sums[:, 0], 1e-9)
    shares = (sums[:, 1] - sums[:, 2]) / np.maximum(nuclei - sums[:, 2], 1e-9)
    low, high = np.percentile(shares[1:], [2.5, 97.5])
    return float(shares[0]), float(low), float(high)


def _weighted_median(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of ``(value, weight)``; NaN values and weights below zero are left out."""
    known = np.array([(v, w) for v, w in pairs if np.isfinite(v) and w > 0], np.float64)
    if not len(known):
        return float("nan")
    values, weights = known.T
    return float(np.quantile(values, 0.5, weights=weights, method="inverted_cdf"))


def can_compare(fixed: Slide, moving: Slide) -> bool:
    """Return whether both slides are fine enough to show nuclei."""
    return can_show_nuclei(fixed.mpp) and can_show_nuclei(moving.mpp)
