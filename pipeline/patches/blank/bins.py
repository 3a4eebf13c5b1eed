"""What is measured of each small bin of a slide, tile by tile, before anything is decided.

A slide is looked at near 1.84 µm per pixel and described on bins of about 7 µm. Tissue is told pixel
by pixel: its limit lies where half of the light absorbed just inside it is absorbed, so that neither
dense nor faint tissue comes out too large.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches.blank.settings import LIMITS
from registration.geometry import Box, Size
from registration.slides.slide import Slide
from registration.stain import Mask, Plane, disc, optical_densities

Colours = NDArray[np.float32]
"""``(rows, columns, 3)`` optical density in red, green and blue."""


@dataclass(frozen=True, eq=False)
class TileTask:
    """One tile of a slide, in pixels of the working resolution."""

    slide: Slide
    box: Box
    downsample: float
    glass: Plane
    """Optical density of bare glass at the tile's bins."""
    pale: float
    """Optical density beyond it that bare glass of the slide does not show."""


@dataclass(frozen=True, eq=False)
class BinFeatures:
    """What is measured of each bin; float32 ``(rows, columns)``."""

    cover: Plane
    """Share of the bin that is tissue."""
    density: Colours
    """Mean optical density."""
    ink: Plane
    """Share of the bin that has the colour of ink."""
    fine: Plane
    """Energy of detail up to 1.5 µm."""
    coarse: Plane
    """Energy of detail from 1.5 to 3 µm."""
    layer: Colours
    """Optical density beyond the glass's that every spot of about 9 µm has at least: what lies
    between nuclei. Folds stand out."""
    rim: Plane
    """Share of the bin that is dark and colourless."""

    @classmethod
    def empty(cls, size: Size) -> BinFeatures:
        """Return features of nothing but glass."""
        cover, ink, fine, coarse, rim = (np.zeros(size.shape, np.float32) for _ in range(5))
        density, layer = (np.zeros((*size.shape, 3), np.float32) for _ in range(2))
        return cls(cover, density, ink, fine, coarse, layer, rim)

    def planes(self) -> tuple[NDArray[np.float32], ...]:
        """Return all arrays."""
        return self.cover, self.density, self.ink, self.fine, self.coarse, self.layer, self.rim


def look_at(task: TileTask) -> BinFeatures:
    """Describe the bins of one tile."""
    mpp = task.slide.mpp * task.downsample
    image = task.slide.read_scaled(task.box.expanded(LIMITS.margin_px), task.downsample)
    density = np.asarray(cv2.LUT(image, density_table()), np.float32)
    red, green, blue = cv2.split(density)
    mean = averaged(density)
    smooth, smoother = blurred(mean, LIMITS.fine_um / mpp), blurred(mean, LIMITS.coarse_um / mpp)
    detail = smooth - smoother
    coarse = detail * detail
    glass = _with_margin(task.glass, task.box.size)
    halved = cv2.resize(density, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    layer = cv2.morphologyEx(halved, cv2.MORPH_OPEN, disc(LIMITS.layer_um / mpp / 4))
    inside = cv2.resize(averaged(layer), mean.shape[::-1]) - glass
    lightest = cv2.min(cv2.min(red, green), blue)
    darkest = cv2.max(cv2.max(red, green), blue)
    rim = (lightest > LIMITS.rim_density) & (darkest - lightest < LIMITS.rim_spread * darkest)
    cover = _stained(mean - glass, detail, inside, mpp)
    cover = _opened(
        cover | _pale(blurred(mean, LIMITS.pale_spot_um / mpp) - glass > task.pale, cover, mpp), mpp
    )
    return BinFeatures(
        _pooled(cover.astype(np.float32)),
        _pooled(density),
        _pooled(ink_coloured(halved).astype(np.float32), 2),
        _pooled((mean - smooth) ** 2) if mpp < LIMITS.focus_mpp else _pooled(coarse),
        _pooled(coarse),
        np.maximum(_pooled(layer, 2) - task.glass[..., None], 0),
        _pooled(rim.astype(np.float32)),
    )


def ink_coloured(density: Colours) -> Mask:
    """Return where optical densities ``(rows, columns, 3)`` are those of a pen over tissue.

    Blue and green ink absorb red far more than a section does; black ink absorbs everything.
    (Ink on bare glass is no tissue to begin with.)
    """
    red, green, blue = cv2.split(density)
    largest, smallest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    coloured = (red > LIMITS.ink_red) & (green < LIMITS.ink_green * red)
    alike = largest - smallest < LIMITS.ink_spread * largest
    return np.asarray(coloured | ((smallest > LIMITS.ink_black) & alike))


def averaged(density: Colours) -> Plane:
    """Return the mean of the three colours."""
    return np.asarray(cv2.transform(density, np.full((1, 3), 1 / 3, np.float32)), np.float32)


def density_table() -> NDArray[np.float32]:
    """Return the optical density of each 8-bit value, ``(1, 256, 3)``."""
    return np.repeat(optical_densities().astype(np.float32)[None, :, None], 3, axis=2)


def blurred(plane: Plane, sigma: float) -> Plane:
    """Return a plane after a Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)


def odd_count(length: float) -> int:
    """Return the odd number of bins, three or more, nearest above a length in bins."""
    return 2 * max(1, round(length / 2)) + 1


def _stained(density: Plane, detail: Plane, inside: Plane, mpp: float) -> Mask:
    """Return where there is tissue, from the density beyond the glass's; gaps are closed.

    ``inside`` is the density of what is wide enough not to be a nucleus.
    """
    limit = np.maximum(
        LIMITS.half * cv2.dilate(inside, disc(LIMITS.inside_um / mpp)), LIMITS.stained
    )
    spots = blurred(density, LIMITS.spot_um / mpp) > limit
    dense = cv2.dilate((density > LIMITS.faint).astype(np.uint8), disc(LIMITS.faint_um / mpp)) > 0
    spots |= ~dense & (blurred(np.abs(detail), LIMITS.detail_um / mpp) > LIMITS.detailed)
    closed = cv2.morphologyEx(spots.astype(np.uint8), cv2.MORPH_CLOSE, disc(LIMITS.gap_um / mpp))
    return np.asarray(closed, bool)


def _pale(shown: Mask, cover: Mask, mpp: float) -> Mask:
    """Return where something hardly stained is ``shown`` that is no halo of the ``cover``."""
    halo = cv2.dilate(cover.astype(np.uint8), disc(LIMITS.halo_um / mpp)) > 0
    wide = disc(LIMITS.pale_um / mpp)
    apart = cv2.morphologyEx((shown & ~halo).astype(np.uint8), cv2.MORPH_OPEN, wide)
    apart = cv2.morphologyEx(apart, cv2.MORPH_CLOSE, wide)
    reach = cv2.dilate(apart, disc((LIMITS.halo_um + LIMITS.pale_spot_um) / mpp)) > 0
    return np.asarray((reach & shown) | (apart > 0))


def _opened(cover: Mask, mpp: float) -> Mask:
    """Return the cover without seams between its two kinds, and without thin walls."""
    whole = cv2.morphologyEx(cover.astype(np.uint8), cv2.MORPH_CLOSE, disc(LIMITS.gap_um / mpp / 2))
    return np.asarray(cv2.morphologyEx(whole, cv2.MORPH_OPEN, disc(LIMITS.wall_um / mpp)), bool)


def _with_margin(bins: Plane, size: Size) -> Plane:
    """Return a plane on a tile's bins at each of its pixels, continued into the margin."""
    pixels = cv2.resize(bins, (size.width, size.height))
    return np.asarray(np.pad(pixels, LIMITS.margin_px, mode="edge"), np.float32)


def _pooled(plane: NDArray[np.float32], halvings: int = 1) -> NDArray[np.float32]:
    """Return the mean over each bin, without the margin; ``halvings`` is the plane's downsample."""
    margin, side = LIMITS.margin_px // halvings, LIMITS.bin_px // halvings
    inner = plane[margin:-margin, margin:-margin]
    size = (inner.shape[1] // side, inner.shape[0] // side)
    return np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_AREA), np.float32)
