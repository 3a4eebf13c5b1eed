"""Where a whole slide shows tissue, found once on a small level and asked for box by box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Points, Size, from_level0, look_up, to_level0
from registration.slides.slide import Slide
from registration.stain import MASK_MPP, Mask, disc, tissue_mask

MAX_SIDE_PX = 4096


@dataclass(frozen=True, eq=False)
class TissueMap:
    """Tissue mask of a slide at ``downsample``."""

    mask: Mask
    downsample: float

    @classmethod
    def of(cls, slide: Slide) -> TissueMap:
        """Find the tissue of ``slide``; glass is judged over the whole slide, not piece by piece."""
        longest = max(slide.size.width, slide.size.height)
        wanted = max(1.0, 2 * MASK_MPP / slide.mpp, longest / MAX_SIDE_PX)
        downsample = min(wanted, max(1.0, longest / 256))
        image = slide.read_scaled(Box.of(slide.size.downsampled(downsample)), downsample)
        return cls(tissue_mask(image, slide.mpp * downsample), downsample)

    @property
    def fraction(self) -> float:
        """Share of the slide that is tissue."""
        return float(self.mask.mean())

    @property
    def extent(self) -> Size:
        """Sides in level-0 pixels of the smallest rectangle, however turned, that holds the tissue."""
        points = self.points().astype(np.float32)
        _, sides, _ = cv2.minAreaRect(points) if len(points) else (None, (0.0, 0.0), None)
        width, height = (max(1, math.ceil(side + self.downsample)) for side in sides)
        return Size(width, height)

    def on(self, box: Box, size: Size) -> Mask:
        """Return the mask over a level-0 ``box``, resampled to ``size`` pixels (nearest)."""
        xs = _indices(box.x, box.width, size.width, self.downsample)
        ys = _indices(box.y, box.height, size.height, self.downsample)
        height, width = self.mask.shape
        inside = ((ys >= 0) & (ys < height))[:, None] & ((xs >= 0) & (xs < width))
        taken = self.mask[np.clip(ys, 0, height - 1)][:, np.clip(xs, 0, width - 1)]
        return np.asarray(taken & inside)

    def points(self, most: int = 20_000) -> Points:
        """Return at most about ``most`` level-0 points spread over the tissue, ``(N, 2)``."""
        step = max(1, math.ceil(math.sqrt(self.mask.sum() / most)))
        rows, columns = np.nonzero(self.mask[::step, ::step])
        pixels = np.stack([columns, rows], axis=1).astype(np.float64) * step
        return to_level0(pixels, self.downsample)

    def at(self, points: Points) -> Mask:
        """Return which of the ``(N, 2)`` level-0 points lie on tissue."""
        return np.asarray(look_up(self.mask, from_level0(points, self.downsample)))

    def share_around(self, points: Points, side: float) -> NDArray[np.float64]:
        """Return how much of a square of ``side`` level-0 pixels around each point is tissue, ``(N,)``."""
        count = max(1, round(side / self.downsample))
        shares = cv2.blur(self.mask.astype(np.float64), (count, count))
        return np.asarray(look_up(shares, from_level0(points, self.downsample)))

    def grown(self, radius_px: float) -> TissueMap:
        """Return the map widened by ``radius_px`` level-0 pixels."""
        grown = cv2.dilate(self.mask.astype(np.uint8), disc(radius_px / self.downsample))
        return TissueMap(np.asarray(grown, bool), self.downsample)


def _indices(
    start: int, extent: int, count: int, downsample: float
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the mask index under each of ``count`` equal parts of ``start .. start + extent``."""
    middles = start + (np.arange(count) + 0.5) * extent / count
    return np.floor(middles / downsample).astype(np.int64)
