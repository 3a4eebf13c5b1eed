"""Folds: narrow bands in which the section lies twice.

A band shows the stain of the tissue beside it, about twice as dense, on both its sides; and two
layers are not in focus at once. Density is compared with what is normal for the hue on the slide, so
that a nest among stroma, or brown among blue, is no band. Averages along 200 µm in twelve directions
find the bands; single cells then give their limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.patches.blank.bins import CellFeatures, blurred
from pipeline.patches.blank.reference import absorbed, hue_of, normal_by_hue, sharpness
from registration.stain import Mask, Plane

LEAST_ABSORBED = 0.08
"""Sum of the three optical densities below which a second layer could not be told."""

LEAST_CELLS = 1000
DIRECTIONS = 12
LENGTH_UM, WIDTH_UM = 200.0, 30.0
SIDE_UM, SIDE_WIDTH_UM = 60.0, 45.0
"""Distance of the tissue beside a band from its middle, and over what width that is averaged."""

AREA_UM = 60.0
"""Width of the area around a band in which single cells are looked at."""

BAND_SHARE, SIDE_SHARE = 0.4, 0.15
"""Least share of tissue in a band, and beside it ..."""

NO_BAND, NO_SIDE = -9.0, 1.0
"""... and what counts where there is less: nothing rises there, nothing rises over it."""

DENSER, ODDER = 0.35, 0.5
"""Rise of a band over both sides in log density (half of a doubling), and of that together with half
its loss of log sharpness."""

DOUBLED = 0.35
"""Log density of a cell over its surroundings from which it is two layers: half of a doubling."""

SURROUNDINGS_UM, SMOOTH_UM = 60.0, 8.0


@dataclass(frozen=True, eq=False)
class Oddness:
    """How much denser than normal cells are, alone and with how much less sharp: logarithms."""

    density: Plane
    both: Plane
    tissue: Plane
    """1 where cells count, 0 elsewhere."""
    spoilt: Plane
    """1 where what lies there cannot be told, as under ink: no side of a band."""

    def halved(self) -> Oddness:
        """Return the same on cells twice as large."""
        planes = (self.density, self.both, self.tissue, self.spoilt)
        size = (self.density.shape[1] // 2, self.density.shape[0] // 2)
        return Oddness(
            *(np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA)) for plane in planes)
        )

    def turned(self, turn: np.ndarray, side: int) -> Oddness:
        """Return the same in a turned square frame; outside of the slide all is spoilt."""
        planes = ((self.density, 0), (self.both, 0), (self.tissue, 0), (self.spoilt, 1))
        return Oddness(
            *(np.asarray(cv2.warpAffine(p, turn, (side, side), borderValue=v)) for p, v in planes)
        )


def folded(features: CellFeatures, spoilt: Mask, cell_um: float) -> Mask:
    """Return the cells that lie in a fold; ``spoilt`` ones cannot tell."""
    stained = cv2.blur(absorbed(features), (3, 3)) > LEAST_ABSORBED
    tissue = stained & (features.cover > 0.5) & ~spoilt
    if tissue.sum() < LEAST_CELLS:
        return np.zeros(spoilt.shape, np.bool_)
    odd = _oddness(features, tissue, spoilt)
    near = np.zeros((spoilt.shape[0] // 2, spoilt.shape[1] // 2), np.uint8)
    for bands in _bands(odd.halved(), 2 * cell_um):
        near |= bands
    if not near.any():
        return np.zeros(spoilt.shape, np.bool_)
    area = cv2.resize(near, spoilt.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    around = odd.tissue * ~area
    normal = _mean(odd.density, around, SURROUNDINGS_UM / cell_um)
    doubled = area & (_mean(odd.density, odd.tissue, 0.7) - normal > DOUBLED)
    return np.asarray(blurred(doubled.astype(np.float32), SMOOTH_UM / cell_um) > 0.5)


def _oddness(features: CellFeatures, tissue: Mask, spoilt: Mask) -> Oddness:
    hue, total = hue_of(features), np.maximum(absorbed(features), 0.02)
    ratio, structured = sharpness(features, tissue)
    density = np.clip(np.log(total / normal_by_hue(total, hue, tissue)), -0.7, 1.0) * tissue
    lost = np.zeros_like(ratio)
    if structured.any():
        lost = np.clip(normal_by_hue(ratio, hue, structured) - ratio, -1, 1) * structured
    planes = (density, density + 0.5 * lost, tissue, spoilt)
    return Oddness(*(plane.astype(np.float32) for plane in planes))


def _bands(odd: Oddness, cell_um: float) -> Iterator[np.ndarray]:
    """Yield the areas around the bands found in each direction, uint8."""
    height, width = odd.tissue.shape
    side = math.ceil(math.hypot(height, width)) + 2
    for k in range(DIRECTIONS):
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 180 * k / DIRECTIONS, 1)
        turn[:, 2] += ((side - width) / 2, (side - height) / 2)
        turned = odd.turned(turn, side)
        found = (_rise(turned, turned.density, cell_um) > DENSER) & (
            _rise(turned, turned.both, cell_um) > ODDER
        )
        if found.any():
            shape = (_odd_count(AREA_UM / cell_um), _odd_count(LENGTH_UM / cell_um))
            area = cv2.dilate(found.astype(np.uint8), np.ones(shape, np.uint8))
            back = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
            yield np.asarray(cv2.warpAffine(area, turn, (width, height), flags=back))


def _rise(odd: Oddness, plane: Plane, cell_um: float) -> Plane:
    """Return how far horizontal bands lie above normal, and above both their sides."""
    length = _odd_count(LENGTH_UM / cell_um)
    shape = (length, max(1, round(WIDTH_UM / cell_um)))
    share = _boxed(odd.tissue, shape)
    band = np.where(share > BAND_SHARE, _boxed(plane, shape) / (share + 1e-6), NO_BAND)
    shape = (length, _odd_count(SIDE_WIDTH_UM / cell_um))
    share = _boxed(odd.tissue + odd.spoilt, shape)
    summed = _boxed(plane + odd.spoilt, shape)
    beside = np.where(share > SIDE_SHARE, summed / (share + 1e-6), NO_SIDE)
    away = round(SIDE_UM / cell_um)
    denser = np.maximum(np.roll(beside, away, axis=0), np.roll(beside, -away, axis=0))
    return np.asarray(np.minimum(band, band - denser), np.float32)


def _boxed(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Return the mean over boxes of ``(width, height)`` cells; outside there is nothing."""
    return np.asarray(cv2.boxFilter(plane, -1, shape, borderType=cv2.BORDER_CONSTANT), np.float32)


def _mean(values: Plane, weight: Plane, sigma: float) -> Plane:
    """Return the mean of values over a Gaussian window, by weight."""
    return blurred(values * weight, sigma) / (blurred(weight, sigma) + np.float32(1e-3))


def _odd_count(length: float) -> int:
    return 2 * max(1, round(length / 2)) + 1
