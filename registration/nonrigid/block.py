"""Non-rigid registration, block by block, on top of the projective transform (paper, section 3.1).

The fixed slide is divided into blocks, one channel of each is registered with elastix, and the blocks'
fields are joined into one. The default recipe starts from a coarse pass over the whole slide
(:mod:`registration.nonrigid.coarse_pass`) and gives blocks a halo; neighbouring fields are blended, so that
there is no seam. The paper's recipe is 16 independent blocks (:mod:`registration.nonrigid.paper`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.bspline import BSpline
from registration.geometry import Box, Size, axis_positions, level_box, spaced
from registration.nonrigid.elastix import (
    ElastixSettings,
    Gray,
    register_bspline,
    write_transform_file,
)
from registration.nonrigid.grid import Block, BlockGrid
from registration.recipes import PassSettings
from registration.result import BlockRecord, Status
from registration.slides.slide import Slide
from registration.stain import Channel, Mask, extract_channel
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, jacobian_determinant
from registration.warp import warp_box

NODES_PER_GRID_STEP = 4
"""Nodes of the stored field per B-spline control point: the blend is met to a few thousandths px."""

LEAST_TISSUE = 0.01
"""A block with a smaller share of tissue is blank, with a smaller share that has a counterpart it
falls back; neither is registered."""

SMALLEST_BLOCK_PX = 16
"""A block of fewer working pixels along a side has no structure to register."""

MASK_MARGIN_GRID_STEPS = 0.5
"""Samples are also drawn this far around the tissue: its outline tells where it lies, and without
the glass beyond it the spline is free to drift at the edge."""

REFUSED_BELOW = 0.2
"""A block whose field shrinks any area below this folds, or nearly does."""

COMPARED_EVERY_PX = 3
"""A block is compared on every third pixel of every third row."""

_COMPARED = (slice(None, None, COMPARED_EVERY_PX),) * 2

WORSE_BY = 0.005
"""A block whose similarity falls by more than this got worse."""


@dataclass(frozen=True)
class BlockTask:
    """All a worker needs to register one block."""

    fixed: Slide
    moving: Slide
    chain: Chain
    block: Block
    tissue: TissueMap
    channel: Channel
    settings: PassSettings


@dataclass(frozen=True, eq=False)
class BlockResult:
    """A block's record and, where it was registered, its spline in level-0 pixels."""

    block: Block
    record: BlockRecord
    spline: BSpline | None
    parameters: dict[str, tuple[str, ...]]


def register_block(task: BlockTask) -> BlockResult:
    """Register one block on its halo box.

    The moving slide is warped by the chain found so far, so that elastix starts roughly aligned.
    A block that is blank, folds or gets worse comes back without a spline, with the reason.
    """
    downsample = max(1.0, task.settings.mpp / task.fixed.mpp)
    box = level_box(task.block.halo.clipped(task.fixed.size), downsample)
    fixed_image = task.fixed.read_scaled(box, downsample)
    margin = MASK_MARGIN_GRID_STEPS * task.settings.grid_um / task.fixed.mpp
    mask = task.tissue.grown(margin).on(_level0_box(box, downsample), box.size)
    share = float(mask.mean())
    if share < LEAST_TISSUE:
        return _without(task.block, "blank", "no tissue", share)
    if min(mask.shape) < SMALLEST_BLOCK_PX:
        return _without(task.block, "fallback", f"it is only {box.width} x {box.height} px", share)
    warped = warp_box(task.moving, task.chain, box, downsample)
    fixed = extract_channel(fixed_image, task.channel)
    moving = extract_channel(warped.image, task.channel)
    del fixed_image
    mask &= warped.has_source
    if mask.mean() < LEAST_TISSUE or not mask[_COMPARED].any():
        reason = "its tissue has no counterpart on the other slide"
        return _without(task.block, "fallback", reason, share)
    settings = _elastix_settings(task.settings, task.fixed.mpp * downsample)
    try:
        found = register_bspline(fixed, moving, settings, mask.astype(np.uint8))
    except RuntimeError as error:
        return _without(task.block, "fallback", f"elastix gave up: {_last_line(error)}", share)
    return _accepted(task, found.spline, found.parameters, _Evidence(fixed, moving, mask, box))


def blended(grid: BlockGrid, results: Sequence[BlockResult], spacing: float) -> DisplacementField:
    """Join the blocks' splines into one smooth field with nodes every ``spacing`` pixels.

    Where halos overlap, fields are averaged with weights that fall smoothly to the halo's edge; a
    block without a spline takes part with zero displacement.
    """
    columns = math.ceil(grid.size.width / spacing) + 1
    rows = math.ceil(grid.size.height / spacing) + 1
    xs, ys = spaced(columns, spacing), spaced(rows, spacing)
    total = np.zeros((rows, columns, 2))
    weight_sum = np.zeros((rows, columns))
    for result in results:
        weight = result.block.weights(xs, ys, grid.size)
        used_y, used_x = _support(weight)
        weight = weight[used_y, used_x]
        weight_sum[used_y, used_x] += weight
        if result.spline is not None:
            shift = result.spline.on_grid(xs[used_x], ys[used_y])
            total[used_y, used_x] += weight[..., None] * shift
    return DisplacementField.from_nodes(
        (0.0, 0.0), spacing, total / np.maximum(weight_sum, 1e-12)[..., None]
    )


def composed(
    outer: DisplacementField, inner: DisplacementField | None, spacing: float, size: Size
) -> DisplacementField:
    """Return one field that applies ``outer`` and then ``inner``: ``u(p) + inner.u(p + u(p))``."""
    if inner is None:
        return outer
    xs = spaced(math.ceil(size.width / spacing) + 1, spacing)
    ys = spaced(math.ceil(size.height / spacing) + 1, spacing)
    first = outer.on_grid(xs, ys)
    second = inner(first.reshape(-1, 2)).reshape(first.shape)
    second[..., 0] -= xs
    second[..., 1] -= ys[:, None]
    return DisplacementField.from_nodes((0.0, 0.0), spacing, second)


def write_transform_files(folder: Path, results: Sequence[BlockResult]) -> None:
    """Write one elastix transform file per registered block, as the paper saves them."""
    for result in results:
        if result.parameters:
            path = folder / f"TransformParameters.{result.record.name}.txt"
            write_transform_file(path, result.parameters)


def node_spacing(settings: PassSettings, mpp: float) -> float:
    """Return the distance of the stored field's nodes in level-0 pixels."""
    return max(1.0, settings.grid_um / mpp / NODES_PER_GRID_STEP)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """The images of a block, on which its result is compared with what was before."""

    fixed: Gray
    moving: Gray
    mask: Mask
    box: Box


def _accepted(
    task: BlockTask, spline: BSpline, parameters: dict[str, tuple[str, ...]], seen: _Evidence
) -> BlockResult:
    """Accept a block's spline, or fall back and say why."""
    downsample = max(1.0, task.settings.mpp / task.fixed.mpp)
    ys, xs = (spaced(n, 1.0)[_COMPARED[0]] for n in seen.fixed.shape)
    fixed, mask = seen.fixed[_COMPARED], seen.mask[_COMPARED]
    shift = spline.on_grid(xs, ys)
    jacobian = float(jacobian_determinant(shift, COMPARED_EVERY_PX)[mask].min())
    where = (shift + np.stack(np.meshgrid(xs, ys), axis=-1)).astype(np.float32)
    aligned = cv2.remap(seen.moving, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    before = correlation(fixed, seen.moving[_COMPARED], mask)
    after = correlation(fixed, aligned, mask)
    reason = ""
    if jacobian < REFUSED_BELOW:
        reason = f"it would fold the tissue (smallest Jacobian {jacobian:.2f})"
    elif after < before - WORSE_BY:
        reason = f"it would make the images less alike (correlation {before:.3f}, then {after:.3f})"
    largest = float(np.hypot(shift[..., 0], shift[..., 1])[mask].max())
    record = BlockRecord(
        task.block.name,
        task.block.core.x,
        task.block.core.y,
        task.block.core.width,
        task.block.core.height,
        "fallback" if reason else "registered",
        reason,
        float(seen.mask.mean()),
        before,
        after,
        jacobian,
        largest * downsample * task.fixed.mpp,
    )
    kept = None if reason else _to_level0(spline, seen.box, downsample)
    return BlockResult(task.block, record, kept, parameters)


def correlation(a: Gray, b: Gray, mask: Mask) -> float:
    """Return Pearson's correlation of two channels inside a mask."""
    a, b = a[mask], b[mask]
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else 0.0


def _elastix_settings(settings: PassSettings, mpp: float) -> ElastixSettings:
    return ElastixSettings(
        grid_px=settings.grid_um / mpp,
        iterations=settings.iterations,
        samples=settings.samples,
        resolutions=settings.resolutions,
        metric=settings.metric,
    )


def _to_level0(spline: BSpline, box: Box, downsample: float) -> BSpline:
    """Return a spline given in pixels of a level's ``box`` in level-0 pixels of the slide."""
    x, y = (
        float(axis_positions(0, 1, downsample)[0] + downsample * (start + origin))
        for start, origin in zip((box.x, box.y), spline.origin, strict=True)
    )
    spacing = (spline.spacing[0] * downsample, spline.spacing[1] * downsample)
    return BSpline((x, y), spacing, spline.coefficients * downsample)


def _level0_box(box: Box, downsample: float) -> Box:
    """Return the level-0 pixels under a box of a level."""
    return Box(
        round(box.x * downsample),
        round(box.y * downsample),
        round(box.width * downsample),
        round(box.height * downsample),
    )


def _support(weight: NDArray[np.float64]) -> tuple[slice, slice]:
    """Return the rows and columns where a separable weight is not zero."""
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _without(block: Block, status: Status, reason: str, tissue: float) -> BlockResult:
    core = block.core
    record = BlockRecord(
        block.name, core.x, core.y, core.width, core.height, status, reason, tissue
    )
    return BlockResult(block, record, None, {})


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
