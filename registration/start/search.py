"""Exhaustive search for the rough alignment of two sections: rotation, mirror, scale, shift.

Every rotation, turned over or not, at a few scales, is cross-correlated with the fixed section at
very low resolution. Correlated is the band of frequencies that holds lumina, islands and edges,
with its local contrast evened out, so that neither stain nor outline decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from registration.stain import Plane
from registration.start.views import Overview, shrunk_to
from registration.transforms import Projective

SEARCH_SIDE = 160
ANGLE_STEP_DEG = 5.0
SCALES = (0.93, 1.0, 1.07)
"""Beside the scale that the slides' µm per pixel give: sections shrink, and mpp may be wrong."""

FAR_SCALES = (0.81, 0.87, 1.15, 1.24)
"""Tried when nothing convincing is found near the expected scale."""

BAND_PX = (1.2, 5.0)
EVEN_OUT_PX = 7.5
LEAST_CONTRAST_SHARE = 0.15
SAME_ANGLE_DEG = 12.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One rough alignment."""

    transform: Projective
    """Level-0 pixels of the fixed slide to those of the moving slide."""
    score: float
    """Normalised cross-correlation of the two bands, at most 1."""
    mirrored: bool
    angle_deg: float
    scale: float


Turns = Mapping[bool, Sequence[float]]
"""Rotations to try in degrees, for the moving section turned over or not."""

_ALL_ANGLES = tuple(np.arange(0.0, 360.0, ANGLE_STEP_DEG).tolist())
ALL_TURNS: Turns = {False: _ALL_ANGLES, True: _ALL_ANGLES}


def search(
    fixed: Overview,
    moving: Overview,
    keep: int,
    scales: tuple[float, ...] = SCALES,
    turns: Turns = ALL_TURNS,
) -> list[Candidate]:
    """Return the ``keep`` best alignments, best first, each at a rotation of its own."""
    fixed, moving = shrunk_to(SEARCH_SIDE, fixed, moving)
    correlator = _Correlator.of(_band(fixed), _band(moving), max(scales))
    found: list[Candidate] = []
    for mirrored, angles in turns.items():
        for scale in scales:
            for angle in angles:
                turned, score = correlator.best_shift(angle, scale, mirrored)
                transform = moving.to_level0.after(turned).after(fixed.to_level0.inverse)
                found.append(Candidate(transform, score, mirrored, angle, scale))
    return _distinct(sorted(found, key=lambda candidate: -candidate.score), keep)


def _distinct(candidates: list[Candidate], keep: int) -> list[Candidate]:
    """Drop candidates that a better one at nearly the same rotation stands for."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if len(kept) == keep:
            break
        if not any(_alike(candidate, other) for other in kept):
            kept.append(candidate)
    return kept


def _alike(one: Candidate, other: Candidate) -> bool:
    turn = abs((one.angle_deg - other.angle_deg + 180) % 360 - 180)
    return one.mirrored == other.mirrored and turn < SAME_ANGLE_DEG


def _band(view: Overview) -> Plane:
    """Return the view's band of frequencies with its local contrast evened out."""
    plane = view.plane
    band = cv2.GaussianBlur(plane, (0, 0), BAND_PX[0]) - cv2.GaussianBlur(plane, (0, 0), BAND_PX[1])
    contrast = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), EVEN_OUT_PX))
    return np.asarray(band / (contrast + LEAST_CONTRAST_SHARE * contrast.max() + 1e-6), np.float32)


@dataclass(frozen=True, eq=False)
class _Correlator:
    """Correlates turned versions of one band with another by FFT."""

    spectrum: NDArray[np.complex64]
    energy: float
    moving: Plane
    canvas: int
    side: int

    @classmethod
    def of(cls, fixed: Plane, moving: Plane, largest_scale: float) -> _Correlator:
        """Prepare the fixed spectrum; the FFT leaves half of the larger image as room to shift."""
        canvas = math.ceil(math.hypot(*moving.shape) * largest_scale)
        side = scipy.fft.next_fast_len(max(canvas, round(1.5 * max(fixed.shape))), real=True)
        spectrum = scipy.fft.rfft2(fixed, (side, side))
        return cls(spectrum, float(np.sqrt((fixed**2).sum())), moving, canvas, side)

    def best_shift(self, angle: float, scale: float, mirrored: bool) -> tuple[Projective, float]:
        """Return the best map of fixed pixels to moving pixels at this rotation, and its score."""
        to_canvas = _turn(self.moving.shape, self.canvas, angle, scale, mirrored)
        size = (self.canvas, self.canvas)
        turned = cv2.warpAffine(self.moving, to_canvas.matrix[:2], size, flags=cv2.INTER_LINEAR)
        spectrum = scipy.fft.rfft2(turned, (self.side, self.side))
        surface = scipy.fft.irfft2(self.spectrum * np.conj(spectrum), (self.side, self.side))
        row, column = np.divmod(int(surface.argmax()), self.side)
        score = float(surface[row, column]) / (
            self.energy * float(np.sqrt((turned**2).sum())) + 1e-9
        )
        # Shifts wrap around: more than half the turned image to the left is to the left.
        dy, dx = (s - self.side if s > self.side - self.canvas / 2 else s for s in (row, column))
        to_fixed = Projective.translation(dx, dy).after(to_canvas)
        return to_fixed.inverse, score


def _turn(
    shape: tuple[int, ...], canvas: int, angle: float, scale: float, mirrored: bool
) -> Projective:
    """Return the map of an image onto a square canvas: mirrored, turned and scaled about centres."""
    radians = math.radians(angle)
    cos, sin = scale * math.cos(radians), scale * math.sin(radians)
    linear = np.array([[-cos if mirrored else cos, -sin], [-sin if mirrored else sin, cos]])
    center = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    offset = (canvas - 1) / 2 - linear @ center
    return Projective.affine(np.column_stack([linear, offset]))
