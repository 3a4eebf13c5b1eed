"""Seeded noise: coarse maps over a whole slide, and small periodic textures read at any position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

TEXTURE_SIDE = 512
REPEATS = 3
CUBIC_SPREAD = 0.72
"""Standard deviation that cubic upsampling leaves of unit white noise."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MapNoise:
    """Smooth noise of about unit deviation over a large grid, kept as its few nodes."""

    nodes: Float32
    step: int
    """Grid pixels between nodes: half the size of a feature."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, int], wave: float, rng: np.random.Generator) -> MapNoise:
        """Return noise on a grid of ``shape`` whose features measure ``wave`` grid pixels."""
        step = max(round(wave / 2), 1)
        rows, columns = (side // step + 6 for side in shape)
        white = rng.standard_normal((rows, columns), dtype=np.float32)
        return cls(white / np.float32(CUBIC_SPREAD), step, shape)

    def rows(self, first: int, last: int) -> Float32:
        """Return grid rows ``first .. last - 1``; the same whatever the strip."""
        low = first // self.step
        part = self.nodes[low : -(-last // self.step) + 5]
        size = (part.shape[1] * self.step, part.shape[0] * self.step)
        smooth = cv2.resize(part, size, interpolation=cv2.INTER_CUBIC)
        top, left = first - low * self.step + 2 * self.step, 2 * self.step
        return np.asarray(smooth[top : top + last - first, left : left + self.shape[1]], np.float32)


@dataclass(frozen=True, eq=False)
class Texture:
    """Periodic noise of unit deviation, ``TEXTURE_SIDE`` texels a side."""

    texels: Float32

    @classmethod
    def band(cls, waves: tuple[float, float], seed: list[int]) -> Texture:
        """Return isotropic noise with wavelengths between ``waves`` texels."""
        white = np.random.default_rng(seed).standard_normal((TEXTURE_SIDE, TEXTURE_SIDE))
        rows = np.fft.fftfreq(TEXTURE_SIDE)[:, None]
        columns = np.fft.rfftfreq(TEXTURE_SIDE)[None]
        frequency = np.hypot(rows, columns)
        inside = (frequency >= 1 / waves[1]) & (frequency <= 1 / waves[0])
        gain = np.where(inside, 1 / np.maximum(frequency, 1e-6), 0)
        noise = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(TEXTURE_SIDE, TEXTURE_SIDE))
        return cls((noise / noise.std()).astype(np.float32))

    def at(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> Float32:
        """Return the noise at texel positions of any size; ``x`` and ``y`` are 2-D."""
        x, y = (
            (axis - TEXTURE_SIDE * math.floor(float(axis.min()) / TEXTURE_SIDE)).astype(
                np.float32, copy=False
            )
            for axis in (x, y)
        )
        sampled = cv2.remap(self._repeated, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(sampled, np.float32)

    @cached_property
    def _repeated(self) -> Float32:
        """The texels side by side, since reading across a border is several times slower."""
        return np.tile(self.texels, (REPEATS, REPEATS))
