"""What the automatic start looks at: both slides at one small scale, cut to their tissue."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Points, level_box, look_up, mesh
from registration.matching import nuclei, structure
from registration.slides.slide import Slide
from registration.stain import Mask, Plane, tissue_mask
from registration.transforms import Projective

OVERVIEW_SIDE = 512
VIEW_SIDE = 1280
"""The tissue of the larger slide is looked at with 640 to 1,280 pixels along its longest side."""

MARGIN_SHARE = 0.05
SMALL_PART_SHARE = 0.05
"""Parts of the tissue smaller than this share of the largest do not widen the view."""

MASK_MPP_RANGE = (2.0, 16.0)
"""Tissue is found as if on a slide of this resolution: plain images name any number of µm."""


@dataclass(frozen=True, eq=False)
class Overview:
    """One slide at low resolution."""

    plane: Plane
    """Stain-independent structure, see :func:`registration.matching.structure`."""
    nuclei: Plane
    """Hematoxylin, which the search does not look at, see :func:`registration.matching.nuclei`."""
    mask: Mask
    """Where there is tissue; all of it where none was found."""
    to_level0: Projective
    """Pixels of the view to level-0 pixels of the slide."""
    elongation: float = 1.0
    """Length of the longer side over that of a broad section with as much tissue."""

    @property
    def side(self) -> int:
        """Length of the longer side in pixels."""
        return int(max(self.plane.shape))

    def shrunk(self, factor: float) -> Overview:
        """Return the view at a lower resolution."""
        if factor == 1:
            return self
        height, width = self.plane.shape
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        sx, sy = width / size[0], height / size[1]
        scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1.0]])
        return Overview(
            cv2.resize(self.plane, size, interpolation=cv2.INTER_AREA),
            cv2.resize(self.nuclei, size, interpolation=cv2.INTER_AREA),
            cv2.resize(self.mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0,
            self.to_level0.after(Projective(scale)),
            self.elongation,
        )

    def grid(self, spacing: int, phase: float = 0.5) -> Points:
        """Return the points of a square grid that lie on tissue, ``phase`` steps from the corner."""
        height, width = self.plane.shape
        points = mesh(
            np.arange(phase * spacing, width, spacing), np.arange(phase * spacing, height, spacing)
        )
        near = cv2.blur(self.mask.astype(np.float32), (spacing, spacing))
        return np.asarray(points[look_up(near, points) > 0.25])

    def coverage_in(self, like: Overview, transform: Projective) -> Mask:
        """Return which pixels of ``like`` this view reaches under a level-0 transform."""
        height, width = like.plane.shape
        points = mesh(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        pull = self.to_level0.inverse.after(transform).after(like.to_level0)
        inside = Box(0, 0, self.plane.shape[1], self.plane.shape[0]).contains(pull(points))
        return inside.reshape(height, width)

    def in_frame_of(self, like: Overview, transform: Projective) -> Overview:
        """Return this view resampled to the pixels of ``like``.

        ``transform`` maps level-0 pixels of ``like``'s slide to those of this one.
        """
        pull = self.to_level0.inverse.after(transform).after(like.to_level0)
        height, width = like.plane.shape
        plane, nuclei, mask = (
            cv2.warpPerspective(
                plane,
                pull.matrix,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=outside,
            )
            for plane, outside in (
                (self.plane, _glass(self.plane, self.mask)),
                (self.nuclei, _glass(self.nuclei, self.mask)),
                (self.mask.astype(np.uint8), 0),
            )
        )
        return Overview(plane, nuclei, mask > 0, self.to_level0.after(pull), like.elongation)


def shrunk_to(side: int, fixed: Overview, moving: Overview) -> tuple[Overview, Overview]:
    """Return both views at one lower scale, the larger with about ``side`` pixels, not enlarged.

    A long, thin piece gets more: as many pixels of tissue as a broad section has.
    """
    factor = max(1.0, *(view.side / view.elongation / side for view in (fixed, moving)))
    return fixed.shrunk(factor), moving.shrunk(factor)


def view_pair(fixed: Slide, moving: Slide) -> tuple[Overview, Overview]:
    """Read both slides at one scale (µm per pixel), each cut to the part that holds its tissue."""
    boxes = [_tissue_box(slide) for slide in (fixed, moving)]
    sides = [
        max(box.size.shape) * slide.mpp for box, slide in zip(boxes, (fixed, moving), strict=True)
    ]
    wanted = max(max(sides) / VIEW_SIDE, fixed.mpp, moving.mpp)
    mpp = fixed.mpp * 2 ** math.ceil(math.log2(wanted / fixed.mpp) - 1e-6)
    return _read(fixed, boxes[0], mpp), _read(moving, boxes[1], mpp)


def piece_view(slide: Slide, mpp: float) -> Overview:
    """Read a slide that shows one piece of tissue, whatever its shape, at ``mpp`` µm per pixel."""
    view = _read(slide, Box.of(slide.size), mpp)
    return replace(view, elongation=max(1.0, view.side / math.sqrt(2 * view.mask.sum())))


def piece_mpp(tissue_um2: float, finest: float) -> float:
    """Return ``finest`` times the power of two at which a piece has a broad section's pixels."""
    wanted = max(math.sqrt(2 * tissue_um2) / VIEW_SIDE, finest)
    return finest * 2.0 ** math.ceil(math.log2(wanted / finest) - 1e-6)


def principal_axes(mask: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle ``(x, y)`` of a mask and its axes as rows, the longer one first."""
    points = np.argwhere(mask)[:, ::-1].astype(np.float64)
    center = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((points - center).T))
    return center, axes.T[::-1]


def _glass(plane: Plane, mask: Mask) -> float:
    """Return the value of a plane on bare glass."""
    bare = plane[~mask]
    return float(np.median(bare) if bare.size > 100 else np.percentile(plane, 2))


def _tissue_box(slide: Slide) -> Box:
    """Return the level-0 box around the tissue of a slide, or around everything."""
    image, downsample = slide.thumbnail(OVERVIEW_SIDE)
    mask = tissue_mask(image, float(np.clip(slide.mpp * downsample, *MASK_MPP_RANGE)))
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = stats[1:]
    if not len(parts):
        return Box.of(slide.size)
    areas = parts[:, cv2.CC_STAT_AREA]
    parts = parts[areas >= SMALL_PART_SHARE * areas.max()]
    left, top = parts[:, cv2.CC_STAT_LEFT].min(), parts[:, cv2.CC_STAT_TOP].min()
    right = (parts[:, cv2.CC_STAT_LEFT] + parts[:, cv2.CC_STAT_WIDTH]).max()
    bottom = (parts[:, cv2.CC_STAT_TOP] + parts[:, cv2.CC_STAT_HEIGHT]).max()
    x, y, width, height = (
        round(float(value) * downsample) for value in (left, top, right - left, bottom - top)
    )
    margin = round(MARGIN_SHARE * max(width, height))
    return Box(x, y, width, height).expanded(margin).clipped(slide.size)


def _read(slide: Slide, box: Box, mpp: float) -> Overview:
    """Read a level-0 box of a slide at ``mpp``."""
    downsample = max(1.0, mpp / slide.mpp)
    level = level_box(box, downsample)
    image = slide.read_scaled(level, downsample)
    mask = tissue_mask(image, float(np.clip(mpp, *MASK_MPP_RANGE)))
    to_level0 = Projective.of_level(downsample).after(Projective.translation(level.x, level.y))
    return Overview(structure(image), nuclei(image), mask if mask.any() else ~mask, to_level0)
