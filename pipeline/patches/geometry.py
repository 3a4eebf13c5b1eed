"""What the transform alone says of a patch: where its pixels come from, folds, seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.patches.blank.filter import ContentMap
from registration.geometry import Box, Points, mesh
from registration.result import Registration
from registration.transforms import Chain

PROBES = 32
"""A patch is probed at this many places along each side."""

SEAM_JUMP_PX = 0.5
SEAM_STEP_PX = 64


@dataclass(frozen=True, slots=True)
class PatchGeometry:
    """What is known of a patch before its two images are compared."""

    fixed_tissue: float
    moving_tissue: float
    filled: float
    """Share without a source on the moving slide."""
    fold: bool
    seam: bool


class Surveyor:
    """Measures the geometry of patches of one registration."""

    def __init__(self, registration: Registration, fixed: ContentMap, moving: ContentMap) -> None:
        self._registration = registration
        self._fixed = fixed
        self._moving = moving
        self._off = Box.of(registration.moved.size)
        self._columns = sorted({block.x for block in registration.blocks} - {0})
        self._rows = sorted({block.y for block in registration.blocks} - {0})

    def measure(self, box: Box) -> PatchGeometry:
        """Measure one patch, given by its level-0 pixels of the fixed slide."""
        chain = self._registration.chain
        xs, ys = (
            start + (np.arange(PROBES) + 0.5) * extent / PROBES - 0.5
            for start, extent in ((box.x, box.width), (box.y, box.height))
        )
        mapped = chain.on_grid(xs, ys)
        points: Points = mapped.reshape(-1, 2)
        return PatchGeometry(
            fixed_tissue=float(self._fixed.at(mesh(xs, ys)).mean()),
            moving_tissue=float(self._moving.at(points).mean()),
            filled=float(1 - self._off.contains(points).mean()),
            fold=folds(mapped, mirrored=self._registration.start.mirrored),
            seam=self._crosses_seam(chain, box),
        )

    def _crosses_seam(self, chain: Chain, box: Box) -> bool:
        """Return whether the transform jumps where blocks meet inside the patch."""
        along_x = np.arange(box.x, box.right, SEAM_STEP_PX, dtype=np.float64)
        along_y = np.arange(box.y, box.bottom, SEAM_STEP_PX, dtype=np.float64)
        across = np.array([-2.0, -1.0, 0.0, 1.0])
        jumps = [
            largest_jump(chain.on_grid(column + across, along_y), axis=1)
            for column in self._columns
            if box.x < column < box.right
        ]
        jumps += [
            largest_jump(chain.on_grid(along_x, row + across), axis=0)
            for row in self._rows
            if box.y < row < box.bottom
        ]
        return max(jumps, default=0.0) > SEAM_JUMP_PX


def folds(mapped: NDArray[np.float64], mirrored: bool) -> bool:
    """Return whether positions ``(rows, columns, 2)`` of a regular grid change their handedness."""
    right, down = np.diff(mapped, axis=1)[:-1], np.diff(mapped, axis=0)[:, :-1]
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    return bool((area >= 0).any() if mirrored else (area <= 0).any())


def largest_jump(mapped: NDArray[np.float64], axis: int) -> float:
    """Return the largest step across the middle of four positions beyond what its slope explains."""
    steps = np.moveaxis(np.diff(mapped, axis=axis), axis, 0)
    beyond = steps[1] - (steps[0] + steps[2]) / 2
    return float(np.hypot(beyond[..., 0], beyond[..., 1]).max())
