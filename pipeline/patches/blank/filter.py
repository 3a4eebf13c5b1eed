"""How much of a slide is worth having: tissue in focus, without pen, bubbles and folds.

The whole slide is looked at once, tile by tile, and described on cells of about 7 µm (``cells``).
What counts is decided over the whole slide, because ink, bubbles and folds show themselves only
beside what is normal on it (``spoilt``, ``folds``). The result is kept on cells of about 15 µm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches.blank.artefacts import RIM_SHARE, inked, inside_rims, out_of_focus
from pipeline.patches.blank.bins import (
    CELL_PX,
    STAINED,
    TILE_PX,
    CellFeatures,
    TileTask,
    averaged,
    density_table,
    disc,
    look_at,
)
from pipeline.patches.blank.folds import folded
from registration.execution import Progress, Workers
from registration.geometry import Box, Points, Size, from_level0
from registration.slides.slide import Slide
from registration.stain import Mask, Plane
from registration.tissue import TissueMap

WORK_MPP = 1.84
KEPT_CELLS = 2
"""Cells along each side of one that is kept: fine limits are for deciding, not for storing."""

NEAR_TISSUE_UM = 45.0
"""The coarse map of tissue leaves out this much around pen marks; here cells are judged one by one."""

UNSURE_UM = 30.0
"""Around what is spoilt this much is no evidence of a fold, nor of its absence."""

GLASS_ROUNDS = 8
GLASS_STARTS_WITHIN = 0.05
"""Bare glass is looked for up to this much beyond the median of all that is not tissue."""

GLASS_SPREADS = 3.0
"""What deviates by more spreads from the surface is not glass but dirt or ink ..."""

PALE_SPREADS, FAINTEST = 5.0, 0.012
"""... and what is denser than glass by this many spreads, and at least so much, is stained."""


@dataclass(frozen=True, eq=False)
class Glass:
    """Bare glass of a slide."""

    density: Plane
    """Optical density on cells."""
    spread: float
    """Robust deviation of the glass from that."""

    @property
    def pale(self) -> float:
        """Density beyond the glass's that bare glass does not show."""
        return float(np.clip(PALE_SPREADS * self.spread, FAINTEST, STAINED))


@dataclass(frozen=True, eq=False)
class ContentMap:
    """How much of each cell of a slide is tissue worth having."""

    usable: Plane
    """Share of each cell, 0 to 1."""
    cell: float
    """Side of a cell in level-0 pixels."""

    def at(self, points: Points) -> NDArray[np.float32]:
        """Return the share at ``(N, 2)`` level-0 points; off the slide nothing is usable."""
        columns, rows = np.rint(from_level0(points, self.cell)).astype(int).T
        height, width = self.usable.shape
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        taken = self.usable[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
        return np.asarray(taken * inside, np.float32)


def work_downsample(mpp: float) -> float:
    """Return the whole-numbered downsample that brings a slide near :data:`WORK_MPP`.

    A power of two where one is near enough: such levels are stored.
    """
    wanted = max(1.0, WORK_MPP / mpp)
    power = 2.0 ** round(math.log2(wanted))
    return power if abs(power / wanted - 1) < 0.15 else float(round(wanted))


def content_map(
    slide: Slide, tissue: TissueMap, workers: Workers, progress: Progress
) -> ContentMap:
    """Look at all tissue of ``slide`` and decide what is worth having."""
    downsample = work_downsample(slide.mpp)
    cell = CELL_PX * downsample
    kept = slide.size.downsampled(KEPT_CELLS * cell)
    grid = Size(KEPT_CELLS * kept.width, KEPT_CELLS * kept.height)
    on_tissue = tissue.on(Box(0, 0, round(grid.width * cell), round(grid.height * cell)), grid)
    glass = bare_glass(slide, on_tissue)
    area = Box(0, 0, grid.width * CELL_PX, grid.height * CELL_PX)
    boxes = [box for box in area.tiles(TILE_PX) if on_tissue[_cells(box)].any()]
    tasks = [
        TileTask(slide, box, downsample, glass.density[_cells(box)], glass.pale) for box in boxes
    ]
    features = CellFeatures.empty(grid)
    for done, found in enumerate(workers.map(look_at, tasks), start=1):
        for plane, values in zip(features.planes(), found.planes(), strict=True):
            plane[_cells(boxes[done - 1])] = values
        progress("content", done, len(tasks))
    usable = decide(features, on_tissue, slide.mpp * cell)
    usable = cv2.resize(usable, (kept.width, kept.height), interpolation=cv2.INTER_AREA)
    return ContentMap(np.asarray(usable, np.float32), KEPT_CELLS * cell)


def bare_glass(slide: Slide, tissue: Mask) -> Glass:
    """Return the bare glass of a slide: a quadratic surface, of which ink and dirt are no part."""
    image, _ = slide.thumbnail(min(256, max(slide.size.width, slide.size.height)))
    density = averaged(np.asarray(cv2.LUT(image, density_table()), np.float32))
    near = cv2.resize(tissue.astype(np.float32), density.shape[::-1], interpolation=cv2.INTER_AREA)
    bare = near == 0
    if bare.sum() < 0.02 * bare.size:
        lightest = np.full(tissue.shape, np.percentile(density, 1), np.float32)
        return Glass(lightest, STAINED)
    basis = _quadratic(density.shape)
    on_glass, values = basis[bare.ravel()], density[bare]
    glass = values < np.median(values) + GLASS_STARTS_WITHIN
    for _ in range(GLASS_ROUNDS):
        seen = on_glass[glass]
        coefficients = np.linalg.solve(seen.T @ seen, seen.T @ values[glass])
        away = np.abs(values - on_glass @ coefficients)
        spread = 1.4826 * float(np.median(away[glass])) + 1e-3
        glass = away < GLASS_SPREADS * spread
    surface = (basis @ coefficients).reshape(density.shape).astype(np.float32)
    lowest, highest = np.percentile(values[glass], (1, 99))
    cells = cv2.resize(surface, tissue.shape[::-1])
    return Glass(np.clip(cells, lowest - 0.01, highest + 0.01).astype(np.float32), spread)


def decide(features: CellFeatures, tissue: Mask, cell_um: float) -> Plane:
    """Return the usable share of each cell, from the features of all."""
    ink = inked(features.density, features.ink, cell_um)
    rim = features.rim > RIM_SHARE
    bubble = inside_rims(rim, cell_um)
    blur = out_of_focus(features, (ink > 0) | rim, cell_um)
    spoilt = ((ink > 0) | (bubble > 0) | blur).astype(np.uint8)
    unsure = cv2.dilate(spoilt, disc(UNSURE_UM / cell_um)) > 0
    fold = folded(features, unsure, cell_um)
    near = cv2.dilate(tissue.astype(np.uint8), disc(NEAR_TISSUE_UM / cell_um)) > 0
    return np.asarray(
        features.cover * (1 - ink) * (1 - bubble) * (near & ~blur & ~fold), np.float32
    )


def _cells(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of the cells of a tile."""
    return Box(*(value // CELL_PX for value in (box.x, box.y, box.width, box.height))).slices()


def _quadratic(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the six monomials up to degree two on a grid over -1 .. 1: ``(h * w, 6)``."""
    ys, xs = (np.linspace(-1, 1, count) for count in shape)
    y, x = (axis.ravel() for axis in np.meshgrid(ys, xs, indexing="ij"))
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)
