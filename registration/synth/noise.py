"""Seeded noise: coarse maps over a whole slide, and small periodic textures read at any position."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TEXTURE_SIDE = 1024
CUBIC_SPREAD = 0.72
"""Standard deviation that cubic upsampling leaves of unit white noise."""

Float32 = NDArray[np.float32]


def map_noise(shape: tuple[int, int], wave: float, rng: np.random.Generator) -> Float32:
    """Return smooth noise of about unit deviation whose features measure ``wave`` pixels."""
    step = max(wave / 2, 1.0)
    rows, columns = (math.ceil(side / step) + 4 for side in shape)
    white = rng.standard_normal((rows, columns), dtype=np.float32)
    width, height = round(columns * step), round(rows * step)
    smooth = cv2.resize(white, (width, height), interpolation=cv2.INTER_CUBIC)
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return np.ascontiguousarray(smooth[top : top + shape[0], left : left + shape[1]] / CUBIC_SPREAD)


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
            (axis - TEXTURE_SIDE * math.floor(float(axis[0, 0]) / TEXTURE_SIDE)).astype(np.float32)
            for axis in (x, y)
        )
        sampled = cv2.remap(self.texels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(sampled, np.float32)
