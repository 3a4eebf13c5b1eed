"""How much of a slide is worth having: tissue in focus, without pen, bubbles and folds.

The whole slide is looked at once, tile by tile, and described on bins of about 7 µm (``bins``).
What counts is decided over the whole slide, because ink, bubbles and folds show themselves only
beside what the rest of it shows (``artefacts``, ``folds``). The result is kept on bins of about 15 µm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches.blank.artefacts import inked, inside_rims, out_of_focus
from pipeline.patches.blank.bins import (
    BinFeatures,
    TileTask,
    averaged,
    density_table,
    look_at,
)
from pipeline.patches.blank.folds import folded
from pipeline.patches.blank.settings import LIMITS
from registration.execution import Progress, Workers
from registration.geometry import Box, Points, Size, from_level0, look_up
from registration.slides.slide import Slide
from registration.stain import Mask, Plane, disc, quadratic_basis
from registration.tissue import TissueMap


@dataclass(frozen=True, eq=False)
class Glass:
    """Bare glass of a slide."""

    density: Plane
    """Optical density on bins."""
    spread: float
    """Robust deviation of the glass from that."""

    @property
    def pale(self) -> float:
        """Density beyond the glass's that bare glass does not show."""
        return float(np.clip(LIMITS.pale_spreads * self.spread, LIMITS.palest, LIMITS.stained))


@dataclass(frozen=True, eq=False)
class ContentMap:
    """How much of each bin of a slide is tissue worth having."""

    usable: Plane
    """Share of each bin, 0 to 1."""
    bin_side: float
    """Side of a bin in level-0 pixels."""

    def at(self, points: Points) -> NDArray[np.float32]:
        """Return the share at ``(N, 2)`` level-0 points; off the slide nothing is usable."""
        return np.asarray(look_up(self.usable, from_level0(points, self.bin_side)))


def work_downsample(mpp: float) -> float:
    """Return the whole-numbered downsample that brings a slide near 1.84 µm per pixel.

    A power of two where one is near enough: such levels are stored.
    """
    wanted = max(1.0, LIMITS.work_mpp / mpp)
    power = 2.0 ** round(math.log2(wanted))
    return power if abs(power / wanted - 1) < 0.15 else float(round(wanted))


def content_map(
    slide: Slide, tissue: TissueMap, workers: Workers, progress: Progress
) -> ContentMap:
    """Look at all tissue of ``slide`` and decide what is worth having."""
    downsample = work_downsample(slide.mpp)
    bin_side = LIMITS.bin_px * downsample
    kept = slide.size.downsampled(LIMITS.kept_bins * bin_side)
    grid = Size(LIMITS.kept_bins * kept.width, LIMITS.kept_bins * kept.height)
    on_tissue = tissue.on(
        Box(0, 0, round(grid.width * bin_side), round(grid.height * bin_side)), grid
    )
    glass = bare_glass(slide, on_tissue)
    area = Box(0, 0, grid.width * LIMITS.bin_px, grid.height * LIMITS.bin_px)
    boxes = [box for box in area.tiles(LIMITS.tile_px) if on_tissue[_bins(box)].any()]
    tasks = [
        TileTask(slide, box, downsample, glass.density[_bins(box)], glass.pale) for box in boxes
    ]
    features = BinFeatures.empty(grid)
    for done, found in enumerate(workers.map(look_at, tasks), start=1):
        for plane, values in zip(features.planes(), found.planes(), strict=True):
            plane[_bins(boxes[done - 1])] = values
        progress("tissue", done, len(tasks))
    usable = decide(features, on_tissue, slide.mpp * bin_side)
    usable = cv2.resize(usable, (kept.width, kept.height), interpolation=cv2.INTER_AREA)
    return ContentMap(np.asarray(usable, np.float32), LIMITS.kept_bins * bin_side)


def bare_glass(slide: Slide, tissue: Mask) -> Glass:
    """Return the bare glass of a slide: a quadratic surface, of which ink and dirt are no part."""
    image, _ = slide.thumbnail(min(256, max(slide.size.width, slide.size.height)))
    density = averaged(np.asarray(cv2.LUT(image, density_table()), np.float32))
    near = cv2.resize(tissue.astype(np.float32), density.shape[::-1], interpolation=cv2.INTER_AREA)
    bare = near == 0
    if bare.sum() < 0.02 * bare.size:
        lightest = np.full(tissue.shape, np.percentile(density, 1), np.float32)
        return Glass(lightest, LIMITS.stained)
    basis = quadratic_basis(density.shape)
    on_glass, values = basis[bare.ravel()], density[bare]
    glass = values < np.median(values) + LIMITS.glass_starts_within
    for _ in range(LIMITS.glass_rounds):
        seen = on_glass[glass]
        coefficients = np.linalg.solve(seen.T @ seen, seen.T @ values[glass])
        away = np.abs(values - on_glass @ coefficients)
        spread = 1.4826 * float(np.median(away[glass])) + 1e-3
        glass = away < LIMITS.glass_spreads * spread
    surface = (basis @ coefficients).reshape(density.shape).astype(np.float32)
    lowest, highest = np.percentile(values[glass], (1, 99))
    bins = cv2.resize(surface, tissue.shape[::-1])
    return Glass(np.clip(bins, lowest - 0.01, highest + 0.01).astype(np.float32), spread)


def decide(features: BinFeatures, tissue: Mask, bin_um: float) -> Plane:
    """Return the usable share of each bin, from the features of all."""
    ink = inked(features.density, features.ink, bin_um)
    rim = features.rim > LIMITS.rim_share
    bubble = inside_rims(rim, bin_um)
    blur = out_of_focus(features, (ink > 0) | rim, bin_um)
    artefacts = ((ink > 0) | (bubble > 0) | blur).astype(np.uint8)
    unsure = cv2.dilate(artefacts, disc(LIMITS.unsure_um / bin_um)) > 0
    fold = folded(features, unsure, bin_um)
    near = cv2.dilate(tissue.astype(np.uint8), disc(LIMITS.near_tissue_um / bin_um)) > 0
    return np.asarray(
        features.cover * (1 - ink) * (1 - bubble) * (near & ~blur & ~fold), np.float32
    )


def _bins(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of the bins of a tile."""
    return Box(
        *(value // LIMITS.bin_px for value in (box.x, box.y, box.width, box.height))
    ).slices()
