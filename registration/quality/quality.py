"""How good a registration is: landmark error, folding, seams, residual shift.

Target registration error (TRE) is the distance in the fixed slide's pixels between where a point of
the moving slide was annotated and where the transform puts it, here measured in the moving slide as
ANHIR does: ``|chain(fixed point) - moving point|``. rTRE is TRE over the moving image's diagonal
(Borovec et al., IEEE TMI 2020, section III-D).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration.cell_evidence import CellEvidence
from registration.execution import Progress, Workers
from registration.figures import ErrorSummary, Folding, Quality, Residual
from registration.geometry import Box, Points, Size, mesh
from registration.landmarks.landmarks import Landmarks
from registration.nonrigid.grid import BlockGrid
from registration.pair import SlidePair
from registration.quality.cells import CellTask, can_compare, cell_fields, evidence_of, look_at
from registration.quality.residual import ResidualTask, measure_residual
from registration.quality.seams import seams
from registration.quality.support import gap_of, support_of
from registration.quality.together import looked_again
from registration.quality.torn import torn
from registration.quality.uncertainty import uncertainty_of
from registration.residual_map import ResidualMap
from registration.slides.slide import Slide
from registration.tissue import TissueMap
from registration.transforms import (
    FOLDED,
    Chain,
    Projective,
    Transform,
    jacobian_determinant,
    least_jacobian,
)

FEWEST_PLACES = 12
FOLDING_NODES = 256


def target_errors(transform: Transform, fixed: Points, moving: Points) -> NDArray[np.float64]:
    """Return the landmark errors ``(N,)`` in moving level-0 pixels."""
    return np.asarray(np.hypot(*(transform(fixed) - moving).T), np.float64)


def summary_of(errors: NDArray[np.float64], slide: Slide) -> ErrorSummary:
    """Summarise ``(N,)`` errors in pixels of ``slide``, at least one."""
    median, p90, p99 = (float(np.percentile(errors, q)) for q in (50, 90, 99))
    largest, diagonal = float(errors.max()), slide.size.diagonal
    return ErrorSummary(
        len(errors),
        median,
        float(errors.mean()),
        p90,
        p99,
        largest,
        median * slide.mpp,
        p90 * slide.mpp,
        largest * slide.mpp,
        median / diagonal,
        largest / diagonal,
    )


def unregistered(fixed: Slide, moving: Slide) -> Transform:
    """Return the transform of two slides merely laid on each other, origin on origin, in µm."""
    ratio = fixed.mpp / moving.mpp
    offset = (ratio - 1) / 2
    return Projective(np.array([[ratio, 0, offset], [0, ratio, offset], [0, 0, 1.0]]))


def folding(field: Transform, size: Size) -> Folding:
    """Measure the Jacobian of a fixed-to-fixed field on a regular grid over the slide."""
    step = max(1.0, max(size.width, size.height) / FOLDING_NODES / 2)
    xs = np.arange(0, size.width, step)
    ys = np.arange(0, size.height, step)
    shift = field.on_grid(xs, ys) - mesh(xs, ys).reshape(len(ys), len(xs), 2)
    jacobian = jacobian_determinant(shift, step)
    low, high = np.percentile(jacobian, [1, 99])
    return Folding(
        float(jacobian.min()),
        float(low),
        float(high),
        float(jacobian.max()),
        float((least_jacobian(shift, step) <= FOLDED).mean()),
    )


@dataclass(frozen=True, eq=False)
class Stages:
    """A registration whose quality is to be measured."""

    pair: SlidePair
    start: Projective
    chain: Chain
    grid: BlockGrid
    tissue: TissueMap
    pieces: int = 1
    """Of how many pieces of a slide this is one."""


def measure(
    stages: Stages, truth: Landmarks | None, workers: Workers, progress: Progress
) -> tuple[Quality, ResidualMap]:
    """Measure everything that can be measured; ``truth`` adds landmark errors.

    Returns the figures, and the residual shift place by place for maps.
    """
    fixed = stages.pair.fixed_slide
    field = stages.chain.steps[0]
    places = looked_again(
        _residual_map(stages, workers, progress), stages.pair, stages.chain, workers
    )
    quality = Quality(
        folding=folding(field, fixed.size),
        seams=seams(field, stages.grid),
        residual=residual_summary(places, fixed.mpp),
        filled_fraction=_without_source(stages),
        tre={}
        if truth is None or not truth.enabled.any()
        else landmark_errors(stages.pair, stages.start, stages.chain, truth),
        torn=torn(field, fixed.size, stages.tissue, fixed.mpp),
        cells=_cells(stages, workers),
        uncertainty=uncertainty_of(places, fixed.mpp),
    )
    return quality, places


def _cells(stages: Stages, workers: Workers) -> CellEvidence | None:
    """Compare the nuclei of both slides in some fields; ``None`` where they do not show."""
    fixed, moving = stages.pair.fixed_slide, stages.pair.moving_slide
    if not can_compare(fixed, moving):
        return None
    boxes = cell_fields(fixed, stages.tissue, stages.pieces)
    tasks = [CellTask(fixed, moving, stages.chain, box) for box in boxes]
    return evidence_of([field for field in workers.map(look_at, tasks) if field is not None])


def _residual_map(stages: Stages, workers: Workers, progress: Progress) -> ResidualMap:
    """Match every block of the slide."""
    fixed, moving = stages.pair.fixed_slide, stages.pair.moving_slide
    tasks = [
        ResidualTask(fixed, moving, stages.chain, block.core, stages.tissue)
        for block in stages.grid
    ]
    parts = []
    for done, part in enumerate(workers.map(measure_residual, tasks), start=1):
        parts.append(part)
        progress("quality", done, len(tasks))
    return ResidualMap.joined(parts)


def residual_summary(places: ResidualMap, mpp: float) -> Residual | None:
    """Summarise the places, at ``mpp`` of the fixed slide; ``None`` with too few to tell."""
    matched = places.matched
    if len(matched) < FEWEST_PLACES:
        return None
    shift = np.hypot(*places.shift_um[matched].T) if matched.any() else np.array([np.nan])
    median, p90 = np.percentile(shift, [50, 90])
    support = support_of(places)
    return Residual(
        points=len(matched),
        matched_fraction=float(matched.mean()),
        median_um=float(median),
        p90_um=float(p90),
        confirmed_fraction=float(support.confirmed.mean()),
        gap_fraction=float((support.gaps >= 0).mean()),
        lost_fraction=float(support.lost.mean()),
        largest_gap=gap_of(places, support.gaps == 0, mpp),
        largest_loss=gap_of(places, support.losses == 0, mpp),
    )


def landmark_errors(
    pair: SlidePair, start: Transform, chain: Transform, truth: Landmarks
) -> dict[str, ErrorSummary]:
    """Score the transform before, after the projective step and after all."""
    fixed, moving = truth.oriented(pair.moving)
    transforms: dict[str, Transform] = {
        "before": unregistered(pair.fixed_slide, pair.moving_slide),
        "after_projective": start,
        "after_all": chain,
    }
    return {
        stage: summary_of(target_errors(transform, fixed, moving), pair.moving_slide)
        for stage, transform in transforms.items()
    }


def _without_source(stages: Stages) -> float:
    """Return the share of the fixed slide's tissue that maps off the moving slide."""
    points = stages.tissue.points()
    if not len(points):
        return 0.0
    inside = Box.of(stages.pair.moving_slide.size).contains(stages.chain(points))
    return float(1 - inside.mean())
