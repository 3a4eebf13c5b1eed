"""The 4 x 4 blocks into which a slide is divided (the paper's section 3.1): pure geometry.

A *core* is a block's own part of the slide; cores tile the slide without overlap. A block is
registered on its *halo* box, the core grown on every side, so that neighbouring blocks see the same
tissue where they meet; there their fields are blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Size


@dataclass(frozen=True, slots=True)
class Block:
    """One block, in level-0 pixels of the fixed slide."""

    row: int
    column: int
    core: Box
    halo: Box

    @property
    def name(self) -> str:
        """``row-column``, counted from 1, as people do."""
        return f"{self.row + 1}-{self.column + 1}"

    def weights(
        self, xs: NDArray[np.float64], ys: NDArray[np.float64], size: Size
    ) -> NDArray[np.float64]:
        """Return the blending weight at every crossing, ``(len(ys), len(xs))``.

        1 well inside the core, falling smoothly to 0 at the edge of the halo; no fall towards the
        edge of the slide, where there is no neighbour. Divide by the sum over blocks.
        """
        along_x = _ramp(xs, self.core.x, self.core.right, self.core.x - self.halo.x, size.width)
        along_y = _ramp(ys, self.core.y, self.core.bottom, self.core.y - self.halo.y, size.height)
        return np.outer(along_y, along_x)


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """``rows x columns`` blocks over a slide of ``size``, each with a halo of ``halo_px``."""

    size: Size
    rows: int = 4
    columns: int = 4
    halo_px: int = 0

    def __iter__(self) -> Iterator[Block]:
        xs = np.linspace(0, self.size.width, self.columns + 1).round().astype(int)
        ys = np.linspace(0, self.size.height, self.rows + 1).round().astype(int)
        for row in range(self.rows):
            for column in range(self.columns):
                core = Box(
                    int(xs[column]),
                    int(ys[row]),
                    int(xs[column + 1] - xs[column]),
                    int(ys[row + 1] - ys[row]),
                )
                yield Block(row, column, core, core.expanded(self.halo_px))

    def __len__(self) -> int:
        return self.rows * self.columns

    @property
    def inner_borders(self) -> tuple[list[int], list[int]]:
        """Level-0 columns and rows at which a new core begins, without the slide's own edge."""
        blocks = list(self)
        columns = sorted({block.core.x for block in blocks} - {0})
        rows = sorted({block.core.y for block in blocks} - {0})
        return columns, rows


def _ramp(
    positions: NDArray[np.float64], start: int, stop: int, halo: int, extent: int
) -> NDArray[np.float64]:
    """Return a smooth 0-1-0 weight along one axis: half at the core's borders."""
    if halo == 0:
        first = start - 0.5 if start > 0 else -np.inf
        last = stop - 0.5 if stop < extent else np.inf
        return ((positions >= first) & (positions < last)).astype(np.float64)
    inside = np.ones_like(positions)
    rise = (positions - (start - 0.5 - halo)) / (2 * halo) if start > 0 else inside
    fall = ((stop - 0.5 + halo) - positions) / (2 * halo) if stop < extent else inside
    t = np.clip(np.minimum(rise, fall), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float64)
