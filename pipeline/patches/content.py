"""How much of a slide is worth having: tissue in focus, without pen, bubbles and folds.

The whole slide is looked at once, tile by tile, at about 1.84 µm per pixel, and described on cells of
about 15 µm. What counts is decided over the whole slide, because ink, bubbles and folds show
themselves only beside what is normal on it.

Focus is the energy of detail between 0 and 1.5 µm over that between 1.5 and 3 µm (differences of
Gaussians of optical density, summed over 100 µm). In focus the first is about as large or larger:
99 % of the tissue on synthetic slides and on 33 of 34 real BCI and MIST images lies above 0.8. A blur
of 2 µm brings it below 0.65.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.execution import Progress, Workers
from registration.geometry import Box, Points, Size, from_level0
from registration.slide import Slide
from registration.stain import Mask, Plane
from registration.tissue import TissueMap

WORK_MPP = 1.84
CELL_PX = 8
"""Side of a cell in pixels of the working resolution."""

TILE_PX = 64 * CELL_PX
MARGIN_PX = 2 * CELL_PX

STAINED = 0.04
"""Optical density beyond the glass's, averaged over 4 µm, from which a spot is tissue."""

DETAILED = 4.5e-3
"""Amplitude of detail from which a spot is tissue even where all around is faint ..."""

FAINT, FAINT_UM = 0.12, 15.0
"""... that is, nothing within 15 µm is denser than this beyond the glass."""

SPOT_UM, DETAIL_UM = 2.0, 3.0
GAP_UM, WALL_UM = 6.0, 5.0
"""Gaps up to twice the first are closed; then what is thinner than twice the second is removed:
the walls of fat cells."""

GLASS_RANGE = 0.03
"""Glass is at most this much darker than the brightest glass of its slide."""

FINE_UM, COARSE_UM = 1.5, 3.0
FOCUS_WINDOW_UM = 100.0
BLUR_EDGE_UM = 60.0
"""Beside what is out of focus this much (across) is not quite in focus either."""

IN_FOCUS = 0.77
FOCUS_MPP_LIMIT = 2.6
"""Coarser slides hold no detail to judge focus by."""

LEAST_DETAIL = 3e-6
"""Energy of detail over the focus window below which there is no structure at all."""

LAYER_UM = 9.0
FOLD_FACTOR, FOLD_PERCENTILE = 1.15, 99.0
"""A fold is denser than this multiple of what nearly all tissue of the slide stays below."""

RIM_DENSITY, RIM_SPREAD, RIM_SHARE = 0.9, 0.45, 0.08
"""The rim of a bubble absorbs every colour at least this much, and all of them alike."""

NEAR_TISSUE_UM = 45.0
"""The coarse map of tissue leaves out this much around pen marks; here cells are judged one by one."""

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
"""Cells look a third of their side beyond their border: what they outline is one cell too large."""

RIM_WIDTH_UM = 45.0
SMALLEST_BUBBLE_UM2 = 120.0**2


@dataclass(frozen=True)
class TileTask:
    """One tile of a slide, in pixels of the working resolution."""

    slide: Slide
    box: Box
    downsample: float
    glass: float
    """Optical density of bare glass here."""


@dataclass(frozen=True, eq=False)
class CellFeatures:
    """What is measured of each cell; float32 ``(rows, columns)``."""

    cover: Plane
    """Share of the cell that is tissue."""
    density: NDArray[np.float32]
    """``(rows, columns, 3)`` mean optical density."""
    fine: Plane
    """Energy of detail up to 1.5 µm."""
    coarse: Plane
    """Energy of detail from 1.5 to 3 µm."""
    layer: Plane
    """Green optical density that every spot of about 9 µm has at least; folds stand out."""
    rim: Plane
    """Share of the cell that is dark and colourless."""

    @classmethod
    def empty(cls, size: Size) -> CellFeatures:
        """Return features of nothing but glass."""
        blank = [np.zeros(size.shape, np.float32) for _ in range(5)]
        return cls(blank[0], np.zeros((*size.shape, 3), np.float32), *blank[1:])

    def planes(self) -> tuple[NDArray[np.float32], ...]:
        """Return all arrays."""
        return self.cover, self.density, self.fine, self.coarse, self.layer, self.rim


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
    grid = slide.size.downsampled(cell)
    on_tissue = tissue.on(Box(0, 0, round(grid.width * cell), round(grid.height * cell)), grid)
    glass = glass_density(slide, on_tissue)
    area = Box(0, 0, grid.width * CELL_PX, grid.height * CELL_PX)
    boxes = [box for box in area.tiles(TILE_PX) if on_tissue[_cells(box)].any()]
    tasks = [
        TileTask(slide, box, downsample, float(np.median(glass[_cells(box)]))) for box in boxes
    ]
    features = CellFeatures.empty(grid)
    for done, found in enumerate(workers.map(look_at, tasks), start=1):
        for plane, values in zip(features.planes(), found.planes(), strict=True):
            plane[_cells(boxes[done - 1])] = values
        progress("content", done, len(tasks))
    return ContentMap(decide(features, on_tissue, slide.mpp * cell), cell)


def glass_density(slide: Slide, tissue: Mask) -> Plane:
    """Return the optical density of bare glass over a slide, as a quadratic surface on its cells."""
    height, width = tissue.shape
    image, _ = slide.thumbnail(min(256, max(slide.size.width, slide.size.height)))
    density = _mean_density(image)
    near = cv2.resize(tissue.astype(np.float32), density.shape[::-1], interpolation=cv2.INTER_AREA)
    bare = near == 0
    if bare.sum() < 0.02 * bare.size:
        return np.full(tissue.shape, np.percentile(density, 1), np.float32)
    coefficients = np.linalg.lstsq(_quadratic(density.shape)[bare.ravel()], density[bare])[0]
    surface = (_quadratic((height, width)) @ coefficients).reshape(height, width)
    brightest = np.percentile(density[bare], 5)
    return np.asarray(np.clip(surface, brightest, brightest + GLASS_RANGE), np.float32)


def look_at(task: TileTask) -> CellFeatures:
    """Describe the cells of one tile."""
    mpp = task.slide.mpp * task.downsample
    image = task.slide.read_scaled(task.box.expanded(MARGIN_PX), task.downsample)
    density = np.asarray(cv2.LUT(image, _density_table()), np.float32)
    red, green, blue = cv2.split(density)
    mean = (red + green + blue) * np.float32(1 / 3)
    smooth, smoother = _blurred(mean, FINE_UM / mpp), _blurred(mean, COARSE_UM / mpp)
    detail = smooth - smoother
    spots = _blurred(mean, SPOT_UM / mpp) > task.glass + STAINED
    faint = cv2.dilate(mean, _disc(FAINT_UM / mpp)) < task.glass + FAINT
    spots |= faint & (_blurred(np.abs(detail), DETAIL_UM / mpp) > DETAILED)
    cover = cv2.morphologyEx(spots.astype(np.uint8), cv2.MORPH_CLOSE, _disc(GAP_UM / mpp))
    cover = cv2.morphologyEx(cover, cv2.MORPH_OPEN, _disc(WALL_UM / mpp))
    coarse = detail * detail
    lightest = cv2.min(cv2.min(red, green), blue)
    darkest = cv2.max(cv2.max(red, green), blue)
    rim = (lightest > RIM_DENSITY) & (darkest - lightest < RIM_SPREAD * darkest)
    return CellFeatures(
        _pooled(cover.astype(np.float32)),
        _pooled(density),
        _pooled((mean - smooth) ** 2) if mpp < FOCUS_MPP_LIMIT else _pooled(coarse),
        _pooled(coarse),
        _pooled(cv2.erode(green, _disc(LAYER_UM / mpp / 2))),
        _pooled(rim.astype(np.float32)),
    )


def decide(features: CellFeatures, tissue: Mask, cell_um: float) -> Plane:
    """Return the usable share of each cell, from the features of all."""
    ink = inked(features.density)
    rim = features.rim > RIM_SHARE
    near = cv2.dilate(tissue.astype(np.uint8), _disc(NEAR_TISSUE_UM / cell_um)) > 0
    good = near & ~ink & ~inside_rims(rim, cell_um) & in_focus(features, ink | rim, cell_um)
    if good.any():
        most = FOLD_FACTOR * np.percentile(features.layer[good], FOLD_PERCENTILE)
        good &= cv2.blur(features.layer, (2, 2)) < most
    return np.asarray(features.cover * good, np.float32)


def in_focus(features: CellFeatures, drawn: Mask, cell_um: float) -> Mask:
    """Return which cells show sharp structure; the lines ``drawn`` over the tissue do not count."""
    window = (_odd(FOCUS_WINDOW_UM / cell_um),) * 2
    counts = (cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0).astype(np.float32)
    share = cv2.blur(counts, window) + 1e-6
    coarse = cv2.blur(features.coarse * counts, window) / share
    fine = cv2.blur(features.fine * counts, window) / share
    blurred = (fine < IN_FOCUS * coarse).astype(np.uint8)
    blurred = cv2.morphologyEx(blurred, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    edge = np.ones((_odd(BLUR_EDGE_UM / cell_um),) * 2, np.uint8)
    return np.asarray((cv2.dilate(blurred, edge) == 0) & (coarse > LEAST_DETAIL))


def inked(density: NDArray[np.float32]) -> Mask:
    """Return the cells under a pen's stroke, from mean optical densities ``(rows, columns, 3)``.

    Blue and green ink absorb red far more than a section does; black ink absorbs everything.
    (Ink on bare glass is no tissue to begin with.)
    """
    red, green, _ = planes = cv2.split(cv2.blur(density, (3, 3)))
    largest, smallest = np.max(planes, axis=0), np.min(planes, axis=0)
    ink = ((red > 0.9) & (green < 0.87 * red)) | (
        (smallest > 0.85) & (largest - smallest < 0.35 * largest)
    )
    opened = cv2.morphologyEx(ink.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened, bool)


def inside_rims(rim: Mask, cell_um: float) -> Mask:
    """Return the cells that a thin closed rim surrounds, with the rim itself."""
    lines = cv2.morphologyEx(rim.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(lines, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    inside = np.zeros(rim.shape, np.uint8)
    for outline in outlines:
        filled = np.zeros(rim.shape, np.uint8)
        cv2.drawContours(filled, [outline], -1, 1, cv2.FILLED)
        drawn = int((lines & filled).sum())
        hollow_um2 = (int(filled.sum()) - drawn) * cell_um**2
        width_um = drawn * cell_um / max(cv2.arcLength(outline, closed=True), 1.0)
        if hollow_um2 > SMALLEST_BUBBLE_UM2 and width_um < RIM_WIDTH_UM:
            inside |= filled
    return np.asarray(cv2.erode(inside, CROSS), bool)


def _cells(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of the cells of a tile."""
    return Box(*(value // CELL_PX for value in (box.x, box.y, box.width, box.height))).slices()


def _density_table() -> NDArray[np.float32]:
    """Return the optical density of each 8-bit value, ``(1, 256, 3)``."""
    levels = np.maximum(np.arange(256, dtype=np.float32), 1) / 255
    return np.repeat(-np.log(levels)[None, :, None], 3, axis=2)


def _mean_density(image: NDArray[np.uint8]) -> Plane:
    return np.asarray(cv2.LUT(image, _density_table()).mean(axis=2), np.float32)


def _quadratic(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the six monomials up to degree two on a grid over -1 .. 1: ``(h * w, 6)``."""
    ys, xs = (np.linspace(-1, 1, count) for count in shape)
    y, x = (axis.ravel() for axis in np.meshgrid(ys, xs, indexing="ij"))
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)


def _pooled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over each cell, without the margin."""
    inner = plane[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    size = (inner.shape[1] // CELL_PX, inner.shape[0] // CELL_PX)
    return np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_AREA), np.float32)


def _blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _odd(length: float) -> int:
    return 2 * max(1, round(length / 2)) + 1
