"""The shift that a registration leaves, measured place by place, independently of elastix.

Patches of the fixed slide are looked for in the warped moving slide by normalised correlation. What
a match is worth is judged against chance: the same patches looked for in the moving slide turned by
180 degrees, where nothing corresponds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Points, from_level0, mesh, spaced, to_level0
from registration.matching import Matches, match_points, structure
from registration.nonrigid.block import level_box
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

CHANCE = 95.0
"""A match counts when its score lies above this percentile of the scores by chance."""


@dataclass(frozen=True)
class ResidualTask:
    """One part of the fixed slide, in level-0 pixels."""

    fixed: Slide
    moving: Slide
    chain: Chain
    box: Box
    tissue: TissueMap


@dataclass(frozen=True, eq=False)
class ResidualMap:
    """Residual shifts at ``N`` places of the fixed slide."""

    points: Points
    """``(N, 2)`` level-0 pixels."""
    shift_um: NDArray[np.float64]
    """``(N, 2)``."""
    score: NDArray[np.float64]
    """``(N,)`` correlation of the best place."""
    chance: NDArray[np.float64]
    """``(N,)`` correlation of the best place where nothing corresponds."""

    @classmethod
    def joined(cls, parts: list[ResidualMap]) -> ResidualMap:
        """Return one map of several parts."""
        return cls(
            np.concatenate([np.zeros((0, 2)), *(part.points for part in parts)]),
            np.concatenate([np.zeros((0, 2)), *(part.shift_um for part in parts)]),
            np.concatenate([np.zeros(0), *(part.score for part in parts)]),
            np.concatenate([np.zeros(0), *(part.chance for part in parts)]),
        )

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays to store, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def matched(self) -> NDArray[np.bool_]:
        """``(N,)`` whether a place matches better than chance."""
        if not len(self.score):
            return np.zeros(0, bool)
        return np.asarray(self.score > np.percentile(self.chance, CHANCE))


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
    )
