"""The shift that a registration leaves, measured place by place, independently of elastix.

Patches of the fixed slide are looked for in the warped moving slide by normalised correlation. What
a match is worth is told by chance: the same patches looked for in the moving slide turned by
180 degrees, where nothing corresponds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registration.geometry import Box, from_level0, level_box, mesh, spaced, to_level0
from registration.matching import Matches, match_points, structure
from registration.residual_map import ResidualMap
from registration.slides.slide import Slide
from registration.tissue import TissueMap
from registration.transforms import Chain
from registration.warp import warp_box

MATCH_MPP = 2.0
"""Slides are matched at this resolution: cells and glands show, sensor noise averages out ..."""

SMALLEST_SIDE_PX = 1200
"""... but small images at a finer one, so that at least this many pixels are left."""

PATCH_PX, SEARCH_PX, STEP_PX = 48, 20, 75
"""In pixels of that resolution: on whole slides 96, 40 and 150 µm."""


@dataclass(frozen=True)
class ResidualTask:
    """One part of the fixed slide, in level-0 pixels."""

    fixed: Slide
    moving: Slide
    chain: Chain
    box: Box
    tissue: TissueMap


def match_downsample(fixed: Slide) -> float:
    """Return the downsample at which the residual is measured."""
    shortest = min(fixed.size.width, fixed.size.height)
    return max(1.0, min(MATCH_MPP / fixed.mpp, shortest / SMALLEST_SIDE_PX))


def measure_residual(task: ResidualTask) -> ResidualMap:
    """Match one part of the fixed slide against the warped moving slide."""
    downsample = match_downsample(task.fixed)
    step = STEP_PX * downsample
    xs = spaced(int(task.box.width // step) + 1, step, task.box.x + step / 2)
    ys = spaced(int(task.box.height // step) + 1, step, task.box.y + step / 2)
    points = mesh(xs[xs < task.box.right], ys[ys < task.box.bottom])
    points = points[task.tissue.at(points)]
    if not len(points):
        return ResidualMap.joined([])
    margin = round((PATCH_PX / 2 + SEARCH_PX) * downsample)
    box = level_box(task.box.expanded(margin).clipped(task.fixed.size), downsample)
    corner = np.array([box.x, box.y], np.float64)
    fixed = structure(task.fixed.read_scaled(box, downsample))
    moving = structure(warp_box(task.moving, task.chain, box, downsample).image)
    local = from_level0(points, downsample) - corner
    found: Matches = match_points(fixed, moving, local, PATCH_PX, SEARCH_PX)
    turned = np.ascontiguousarray(moving[::-1, ::-1])
    by_chance = match_points(fixed, turned, local, PATCH_PX, SEARCH_PX)
    return ResidualMap(
        to_level0(found.points + corner, downsample),
        found.shifts * downsample * task.fixed.mpp,
        found.score,
        by_chance.score,
        np.full(len(points), SEARCH_PX * downsample * task.fixed.mpp),
    )
