"""Does the field jump where blocks meet?

Across a border between pixels ``b - 1`` and ``b`` the jump is what remains of the step
``u(b) - u(b - 1)`` when the mean of the steps before and after it is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration.figures import Seams
from registration.geometry import Box
from registration.nonrigid.grid import BlockGrid
from registration.transforms import Transform

SEAM_STEP_PX = 64
"""Jumps are measured this often along a border."""

VISIBLE_JUMP_PX = 0.5


def seams(field: Transform, grid: BlockGrid) -> Seams | None:
    """Summarise the jumps of a field across the inner borders; ``None`` for a single block."""
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
    """Measure the jump of a field along each inner border of blocks."""
    return jumps_within(field, Box.of(grid.size), *grid.inner_borders)


def jumps_within(
    field: Transform, box: Box, columns: list[int], rows: list[int]
) -> list[BorderJumps]:
    """Measure the jump of a field across those of the given borders that cross a level-0 box."""
    along_y = np.arange(box.y, box.bottom, SEAM_STEP_PX, dtype=np.float64)
    along_x = np.arange(box.x, box.right, SEAM_STEP_PX, dtype=np.float64)
    across = np.array([-2.0, -1.0, 0.0, 1.0])
    found = []
    for column in (column for column in columns if box.x < column < box.right):
        mapped = field.on_grid(column + across, along_y)
        found.append(BorderJumps(True, column, along_y, _jump(np.moveaxis(mapped, 1, 0))))
    for row in (row for row in rows if box.y < row < box.bottom):
        mapped = field.on_grid(along_x, row + across)
        found.append(BorderJumps(False, row, along_x, _jump(mapped)))
    return found


def _jump(mapped: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the jumps ``(N,)`` at the middle of four positions: ``(4, N, 2)``."""
    before, at, after = np.diff(mapped, axis=0)
    beyond = at - (before + after) / 2
    return np.asarray(np.hypot(beyond[..., 0], beyond[..., 1]))
