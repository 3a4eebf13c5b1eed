"""Folds: narrow bands in which the section lies twice.

A band shows the stain of the tissue beside it, about twice as dense, on both its sides; and two
layers are not in focus at once. Density is compared with what usual for the hue on the slide, so
that a nest among stroma, or brown among blue, is no band. Averages along 200 µm in twelve directions
find the bands; single bins then give their limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.patches.blank.bins import BinFeatures, blurred, odd_count
from pipeline.patches.blank.reference import absorbed, hue_of, reference_by_hue, sharpness
from pipeline.patches.blank.settings import LIMITS
from registration.stain import Mask, Plane


@dataclass(frozen=True, eq=False)
class Oddness:
    """How much denser than the slide's reference bins are, alone and with how much less sharp.

    Logarithms.
    """

    density: Plane
    both: Plane
    tissue: Plane
    """1 where bins count, 0 elsewhere."""
    artefacts: Plane
    """1 where what lies there cannot be told, as under ink: no side of a band."""

    def halved(self) -> Oddness:
        """Return the same on bins twice as large."""
        planes = (self.density, self.both, self.tissue, self.artefacts)
        size = (self.density.shape[1] // 2, self.density.shape[0] // 2)
        return Oddness(
            *(np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA)) for plane in planes)
        )

    def turned(self, turn: np.ndarray, side: int) -> Oddness:
        """Return the same in a turned square frame; outside of the slide all is an artefact."""
        planes = ((self.density, 0), (self.both, 0), (self.tissue, 0), (self.artefacts, 1))
        return Oddness(
            *(np.asarray(cv2.warpAffine(p, turn, (side, side), borderValue=v)) for p, v in planes)
        )


def folded(features: BinFeatures, artefacts: Mask, bin_um: float) -> Mask:
    """Return the bins that lie in a fold; those in ``artefacts`` cannot tell."""
    stained = cv2.blur(absorbed(features), (3, 3)) > LIMITS.fold_density
    tissue = stained & (features.cover > 0.5) & ~artefacts
    if tissue.sum() < LIMITS.fold_bins:
        return np.zeros(artefacts.shape, np.bool_)
    odd = _oddness(features, tissue, artefacts)
    near = np.zeros((artefacts.shape[0] // 2, artefacts.shape[1] // 2), np.uint8)
    for bands in _bands(odd.halved(), 2 * bin_um):
        near |= bands
    if not near.any():
        return np.zeros(artefacts.shape, np.bool_)
    area = cv2.resize(near, artefacts.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    beside = odd.tissue * ~area
    surroundings = _mean(odd.density, beside, LIMITS.fold_surroundings_um / bin_um)
    doubled = area & (_mean(odd.density, odd.tissue, 0.7) - surroundings > LIMITS.fold_doubled)
    return np.asarray(blurred(doubled.astype(np.float32), LIMITS.fold_smooth_um / bin_um) > 0.5)


def _oddness(features: BinFeatures, tissue: Mask, artefacts: Mask) -> Oddness:
    hue, total = hue_of(features), np.maximum(absorbed(features), 0.02)
    ratio, structured = sharpness(features, tissue)
    density = np.clip(np.log(total / reference_by_hue(total, hue, tissue)), -0.7, 1.0) * tissue
    lost = np.zeros_like(ratio)
    if structured.any():
        lost = np.clip(reference_by_hue(ratio, hue, structured) - ratio, -1, 1) * structured
    planes = (density, density + 0.5 * lost, tissue, artefacts)
    return Oddness(*(plane.astype(np.float32) for plane in planes))


def _bands(odd: Oddness, bin_um: float) -> Iterator[np.ndarray]:
    """Yield the areas around the bands found in each direction, uint8."""
    height, width = odd.tissue.shape
    side = math.ceil(math.hypot(height, width)) + 2
    for k in range(LIMITS.fold_directions):
        turn = cv2.getRotationMatrix2D(
            ((width - 1) / 2, (height - 1) / 2), 180 * k / LIMITS.fold_directions, 1
        )
        turn[:, 2] += ((side - width) / 2, (side - height) / 2)
        turned = odd.turned(turn, side)
        found = (_rise(turned, turned.density, bin_um) > LIMITS.fold_denser) & (
            _rise(turned, turned.both, bin_um) > LIMITS.fold_odder
        )
        if found.any():
            shape = (
                odd_count(LIMITS.fold_area_um / bin_um),
                odd_count(LIMITS.fold_length_um / bin_um),
            )
            area = cv2.dilate(found.astype(np.uint8), np.ones(shape, np.uint8))
            back = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
            yield np.asarray(cv2.warpAffine(area, turn, (width, height), flags=back))


def _rise(odd: Oddness, plane: Plane, bin_um: float) -> Plane:
    """Return how far horizontal bands lie above the reference, and above both their sides."""
    length = odd_count(LIMITS.fold_length_um / bin_um)
    shape = (length, max(1, round(LIMITS.fold_width_um / bin_um)))
    share = _boxed(odd.tissue, shape)
    band = np.where(
        share > LIMITS.fold_band_share, _boxed(plane, shape) / (share + 1e-6), LIMITS.fold_no_band
    )
    shape = (length, odd_count(LIMITS.fold_side_width_um / bin_um))
    share = _boxed(odd.tissue + odd.artefacts, shape)
    summed = _boxed(plane + odd.artefacts, shape)
    beside = np.where(share > LIMITS.fold_side_share, summed / (share + 1e-6), LIMITS.fold_no_side)
    away = round(LIMITS.fold_side_um / bin_um)
    denser = np.maximum(np.roll(beside, away, axis=0), np.roll(beside, -away, axis=0))
    return np.asarray(np.minimum(band, band - denser), np.float32)


def _boxed(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Return the mean over boxes of ``(width, height)`` bins; outside there is nothing."""
    return np.asarray(cv2.boxFilter(plane, -1, shape, borderType=cv2.BORDER_CONSTANT), np.float32)


def _mean(values: Plane, weight: Plane, sigma: float) -> Plane:
    """Return the mean of values over a Gaussian window, by weight."""
    return blurred(values * weight, sigma) / (blurred(weight, sigma) + np.float32(1e-3))
