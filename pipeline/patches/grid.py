"""Where patches can lie: a regular grid over the fixed slide."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UsageError
from registration.geometry import Box, Size
from registration.tissue import TissueMap

FINER_THAN_SLIDE = 0.99
"""An asked-for µm/px below this share of the slide's own would invent detail."""

LOOK_PX = 32
"""Side of the coarse view through which a position is looked at for tissue."""


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """Positions of square patches on a fixed slide.

    Boxes are in pixels of the level with ``downsample``, on which a patch has ``size`` pixels a
    side; positions start at the slide's corner, and every patch lies wholly on the slide.
    """

    slide: Size
    """Level-0 size."""
    size: int
    stride: int
    downsample: float

    @classmethod
    def on(
        cls, slide: Size, mpp: float, size: int, stride: int, patch_mpp: float | None
    ) -> PatchGrid:
        """Return the grid for a slide of ``mpp``; ``patch_mpp`` ``None`` keeps its resolution.

        Raises :class:`UsageError` when patches are to be finer than the slide, or the slide is
        smaller than one patch.
        """
        downsample = 1.0 if patch_mpp is None else patch_mpp / mpp
        if downsample < FINER_THAN_SLIDE:
            raise UsageError(
                f"--mpp {patch_mpp:g} is finer than the slide's {mpp:.4g} µm/px; "
                f"use at least that, or leave it out to keep the slide's own"
            )
        if abs(downsample - 1) <= 1 - FINER_THAN_SLIDE:
            downsample = 1.0
        grid = cls(slide, size, stride, downsample)
        if not grid.columns or not grid.rows:
            raise UsageError(
                f"a patch of {size} px at {mpp * downsample:.4g} µm/px does not fit on the slide of "
                f"{slide.width} x {slide.height} px at {mpp:.4g} µm/px; use a smaller --size"
            )
        return grid

    @property
    def columns(self) -> int:
        """Positions along x."""
        return _positions(self.slide.width / self.downsample, self.size, self.stride)

    @property
    def rows(self) -> int:
        """Positions along y."""
        return _positions(self.slide.height / self.downsample, self.size, self.stride)

    def box(self, row: int, column: int) -> Box:
        """Return the pixels of one patch on its level."""
        return Box(column * self.stride, row * self.stride, self.size, self.size)

    def level0(self, box: Box) -> Box:
        """Return the level-0 pixels under a box of the level."""
        left, top, right, bottom = (
            round(edge * self.downsample) for edge in (box.x, box.y, box.right, box.bottom)
        )
        return Box(left, top, right - left, bottom - top)

    def with_tissue(self, tissue: TissueMap, least: float) -> list[list[Box]]:
        """Return, row by row, the patches of which more than the share ``least`` is tissue."""
        return [
            [
                box
                for box in (self.box(row, column) for column in range(self.columns))
                if tissue.on(self.level0(box), Size(LOOK_PX, LOOK_PX)).mean() > least
            ]
            for row in range(self.rows)
        ]


def _positions(extent: float, size: int, stride: int) -> int:
    return max(0, int((extent - size) // stride) + 1)
