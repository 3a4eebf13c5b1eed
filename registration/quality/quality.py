"""How good a registration is: landmark error, folding, seams, residual shift, and a verdict.

Target registration error (TRE) is the distance in the fixed slide's pixels between where a point of
the moving slide was annotated and where the transform puts it, here measured in the moving slide as
ANHIR does: ``|chain(fixed point) - moving point|``. rTRE is TRE over the moving image's diagonal
(Borovec et al., IEEE TMI 2020, section III-D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registration.execution import Progress, Workers
from registration.geometry import Box, Points, Size, mesh
from registration.landmarks.landmarks import Landmarks
from registration.nonrigid.block import BlockRecord, jacobian_determinant
from registration.nonrigid.grid import BlockGrid
from registration.pair import Pair
from registration.quality.residual import ResidualMap, ResidualTask, measure_residual
from registration.slides.slide import Slide
from registration.tissue import TissueMap
from registration.transforms import Chain, Projective, Transform

Verdict = Literal["pass", "review", "fail"]

SEAM_STEP_PX = 64
FEWEST_PLACES = 12
FOLDING_NODES = 256

FEWEST_MATCHED = 0.10
FEW_MATCHED = 0.35
LARGE_RESIDUAL_UM = 15.0
VISIBLE_JUMP_PX = 0.5
MUCH_FILLED = 0.05
FEW_FALLEN = 0.02
MOST_FALLEN = 0.5
"""Beyond these a registration fails (:data:`FEWEST_MATCHED`, :data:`MOST_FALLEN`) or needs a look."""


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Distribution of landmark errors in moving level-0 pixels; ``mpp`` converts to µm."""

    count: int
    median_px: float
    mean_px: float
    p90_px: float
    p99_px: float
    max_px: float
    median_um: float
    p90_um: float
    max_um: float
    median_rtre: float
    max_rtre: float

    @classmethod
    def of(cls, errors: NDArray[np.float64], slide: Slide) -> ErrorSummary:
        """Summarise ``(N,)`` errors in pixels of ``slide``."""
        median, p90, p99 = (float(np.percentile(errors, q)) for q in (50, 90, 99))
        largest, diagonal = float(errors.max()), slide.size.diagonal
        return cls(
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


@dataclass(frozen=True, slots=True)
class Folding:
    """Jacobian determinant of the non-rigid field over the slide; negative where tissue folds."""

    jacobian_min: float
    jacobian_p01: float
    jacobian_p99: float
    jacobian_max: float
    folded_fraction: float


@dataclass(frozen=True, slots=True)
class Seams:
    """Jump of the field across the borders of blocks, beyond what its slope explains, in px."""

    jump_median_px: float
    jump_p95_px: float
    jump_max_px: float


def target_errors(transform: Transform, fixed: Points, moving: Points) -> NDArray[np.float64]:
    """Return the landmark errors ``(N,)`` in moving level-0 pixels."""
    return np.asarray(np.hypot(*(transform(fixed) - moving).T), np.float64)


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
        float((jacobian <= 0).mean()),
    )


def seams(field: Transform, grid: BlockGrid) -> Seams | None:
    """Measure the jump of a field across the inner borders of blocks; ``None`` for a single block.

    Across a border between pixels ``b - 1`` and ``b`` the jump is what remains of the step
    ``u(b) - u(b - 1)`` when the mean of the steps before and after it is taken away.
    """
    jumps = border_jumps(field, grid)
    if not jumps:
        return None
    every = np.concatenate([border.jump_px for border in jumps])
    median, p95 = np.percentile(every, [50, 95])
    return Seams(float(median), float(p95), float(every.max()))


@dataclass(frozen=True, eq=False)
class BorderJumps:
    """The field's jumps along one border between blocks."""

    vertical: bool
    position: int
    """First column (of a vertical border) or row after the border, in level-0 pixels."""
    along: NDArray[np.float64]
    """``(N,)`` level-0 rows (of a vertical border) or columns."""
    jump_px: NDArray[np.float64]
    """``(N,)`` jumps."""


def border_jumps(field: Transform, grid: BlockGrid) -> list[BorderJumps]:
    """Measure the jump of a field every :data:`SEAM_STEP_PX` along each inner border of blocks."""
    columns, rows = grid.inner_borders
    along_y = np.arange(0, grid.size.height, SEAM_STEP_PX, dtype=np.float64)
    along_x = np.arange(0, grid.size.width, SEAM_STEP_PX, dtype=np.float64)
    found = []
    for column in columns:
        jump = _jump(field.on_grid(_across(column), along_y), axis=1)
        found.append(BorderJumps(True, column, along_y, jump))
    for row in rows:
        jump = _jump(field.on_grid(along_x, _across(row)), axis=0)
        found.append(BorderJumps(False, row, along_x, jump))
    return found


def _across(border: int) -> NDArray[np.float64]:
    """Return four pixels in a row, two on each side of a border."""
    return border + np.array([-2.0, -1.0, 0.0, 1.0])


def _jump(mapped: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    steps = np.moveaxis(np.diff(mapped, axis=axis), axis, 0)
    beyond = steps[1] - (steps[0] + steps[2]) / 2
    return np.asarray(np.hypot(beyond[..., 0], beyond[..., 1]).ravel())


@dataclass(frozen=True, slots=True)
class Residual:
    """Local shift that is left, measured by matching patches on a grid over the tissue."""

    points: int
    matched_fraction: float
    """Share of points whose patches match better than patches of other places do."""
    median_um: float
    p90_um: float


@dataclass(frozen=True)
class Quality:
    """All that is measured of one registration."""

    folding: Folding
    seams: Seams | None
    residual: Residual | None
    filled_fraction: float
    """Share of the fixed slide's tissue that has no source on the moving slide."""
    tre: dict[str, ErrorSummary]
    """Landmark errors ``before``, ``after_projective`` and ``after_all``, where truth was given."""


@dataclass(frozen=True, eq=False)
class Stages:
    """A registration whose quality is to be measured."""

    pair: Pair
    start: Projective
    chain: Chain
    grid: BlockGrid
    tissue: TissueMap


def measure(
    stages: Stages, truth: Landmarks | None, workers: Workers, progress: Progress
) -> tuple[Quality, ResidualMap]:
    """Measure everything that can be measured; ``truth`` adds landmark errors.

    Returns the figures, and the residual shift place by place for maps.
    """
    fixed = stages.pair.fixed_slide
    field = stages.chain.steps[0]
    places = _residual_map(stages, workers, progress)
    quality = Quality(
        folding=folding(field, fixed.size),
        seams=seams(field, stages.grid),
        residual=_residual_summary(places),
        filled_fraction=_without_source(stages),
        tre={} if truth is None else _landmark_errors(stages, truth),
    )
    return quality, places


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


def _residual_summary(places: ResidualMap) -> Residual | None:
    """Summarise the places that match better than chance; ``None`` with too few to tell."""
    matched = places.matched
    if len(matched) < FEWEST_PLACES:
        return None
    shift = np.hypot(*places.shift_um[matched].T) if matched.any() else np.array([np.nan])
    median, p90 = np.percentile(shift, [50, 90])
    return Residual(len(matched), float(matched.mean()), float(median), float(p90))


def _landmark_errors(stages: Stages, truth: Landmarks) -> dict[str, ErrorSummary]:
    """Score the transform before, after the projective step and after all."""
    pair = stages.pair
    fixed, moving = truth.oriented(pair.moving)
    transforms: dict[str, Transform] = {
        "before": unregistered(pair.fixed_slide, pair.moving_slide),
        "after_projective": stages.start,
        "after_all": stages.chain,
    }
    return {
        stage: ErrorSummary.of(target_errors(transform, fixed, moving), pair.moving_slide)
        for stage, transform in transforms.items()
    }


def _without_source(stages: Stages) -> float:
    """Return the share of the fixed slide's tissue that maps off the moving slide."""
    points = stages.tissue.points()
    if not len(points):
        return 0.0
    inside = Box.of(stages.pair.moving_slide.size).contains(stages.chain(points))
    return float(1 - inside.mean())


def judge(
    quality: Quality, blocks: list[BlockRecord], start_verified: bool
) -> tuple[Verdict, list[str]]:
    """Return the verdict and its reasons; ``review`` means that a person should look."""
    failures: list[str] = []
    doubts: list[str] = []
    if not start_verified:
        doubts.append("the initial alignment from the picked landmarks could not be confirmed")
    if quality.folding.folded_fraction > 0:
        share = 100 * quality.folding.folded_fraction
        doubts.append(f"the field folds on {share:.2g} % of the slide")
    if quality.seams is not None and quality.seams.jump_p95_px > VISIBLE_JUMP_PX:
        doubts.append(
            f"the field jumps by {quality.seams.jump_p95_px:.1f} px at block borders (p95)"
        )
    _judge_blocks(blocks, failures, doubts)
    residual = quality.residual
    if residual is None:
        doubts.append("too little tissue to measure the residual shift")
    else:
        _judge_residual(residual, failures, doubts)
    if quality.filled_fraction > MUCH_FILLED:
        share = 100 * quality.filled_fraction
        doubts.append(f"{share:.0f} % of the tissue has no counterpart on the moving slide")
    if failures:
        return "fail", failures + doubts
    return ("review", doubts) if doubts else ("pass", ["all checks passed"])


def _judge_blocks(blocks: list[BlockRecord], failures: list[str], doubts: list[str]) -> None:
    """Weigh the blocks that fell back by the tissue in them."""
    tissue = {block.name: block.tissue * block.width * block.height for block in blocks}
    fallen = [block.name for block in blocks if block.status == "fallback"]
    share = sum(tissue[name] for name in fallen) / max(sum(tissue.values()), 1e-9)
    if share > MOST_FALLEN:
        failures.append(f"{100 * share:.0f} % of the tissue fell back to the coarse alignment")
    elif share > FEW_FALLEN:
        doubts.append(
            f"blocks {', '.join(fallen)} ({100 * share:.0f} % of the tissue) fell back to the "
            "coarse alignment"
        )


def _judge_residual(residual: Residual, failures: list[str], doubts: list[str]) -> None:
    matched = 100 * residual.matched_fraction
    if residual.matched_fraction < FEWEST_MATCHED:
        failures.append(f"only {matched:.0f} % of the tissue matches better than chance")
    elif residual.matched_fraction < FEW_MATCHED:
        doubts.append(f"only {matched:.0f} % of the tissue matches better than chance")
    if residual.median_um > LARGE_RESIDUAL_UM:
        doubts.append(f"a residual shift of {residual.median_um:.1f} µm is left (median)")
