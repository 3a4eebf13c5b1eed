"""From dye to pixels: Beer-Lambert colours, uneven light, the lens, the sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from registration.geometry import Box, Image, Size
from registration.synth.noise import Float32
from registration.synth.settings import Section

BLUR_PX = 0.65
"""Deviation of the point spread at 0.46 µm per pixel."""
NOISE_LEVELS = 1.6
"""Deviation of the sensor's noise in grey levels."""
SENSOR_SIDE = 1024
FALL_OFF = 0.035
"""How much darker the light is at its dimmest."""


@dataclass(frozen=True, slots=True)
class Stains:
    """Optical density per unit of dye in red, green and blue, and the colour of bare glass."""

    vectors: tuple[tuple[float, float, float], ...]
    glass: tuple[float, float, float]


STAINS: dict[Section, Stains] = {
    # haematoxylin, eosin
    "he": Stains(((0.72, 0.84, 0.38), (0.14, 0.80, 0.50)), (243.0, 242.0, 245.0)),
    # haematoxylin, diaminobenzidine (DAB)
    "ihc": Stains(((0.74, 0.58, 0.30), (0.34, 0.66, 0.90)), (242.0, 243.0, 244.0)),
}


def transmitted(section: Section, dyes: tuple[Float32, ...]) -> Float32:
    """Return the light through ``(h, w)`` amounts of each dye, ``(h, w, 3)``, glass included."""
    stains = STAINS[section]
    light = np.empty((*dyes[0].shape, 3), np.float32)
    for channel in range(3):
        density = sum(
            dye * np.float32(vector[channel])
            for dye, vector in zip(dyes, stains.vectors, strict=True)
        )
        light[..., channel] = np.exp(-np.asarray(density)) * np.float32(stains.glass[channel])
    return light


def focused(light: Float32, mpp: float) -> Float32:
    """Return the light after the objective's blur."""
    return np.asarray(cv2.GaussianBlur(light, (7, 7), BLUR_PX * 0.46 / mpp), np.float32)


def illumination(box: Box, size: Size, seed: list[int]) -> Float32:
    """Return the gain of the uneven light, ``(h, w, 1)``."""
    rng = np.random.default_rng([*seed, 401])
    x0, y0 = rng.uniform(0.3, 0.7, 2)
    x = (np.arange(box.x, box.right) / size.width - x0).astype(np.float32)
    y = (np.arange(box.y, box.bottom) / size.height - y0).astype(np.float32)
    gain = 1 - FALL_OFF * 2 * (x[None] ** 2 + y[:, None] ** 2)
    return np.asarray(gain[..., None], np.float32)


class Sensor:
    """Noise of the sensor: one random field, read from another place for every tile."""

    def __init__(self, seed: int, number: int) -> None:
        self._seed = [seed, 601 + number]
        grain = np.random.default_rng(self._seed).standard_normal(
            (SENSOR_SIDE, SENSOR_SIDE, 3), dtype=np.float32
        )
        self._grain = grain * np.float32(NOISE_LEVELS)

    def digitised(self, light: Float32, box: Box) -> Image:
        """Return uint8 pixels of a tile no larger than half the sensor's field."""
        rng = np.random.default_rng([*self._seed, box.y, box.x])
        y, x = rng.integers(0, SENSOR_SIDE // 2, 2).tolist()
        grain = self._grain[y : y + box.height, x : x + box.width]
        if rng.random() < 0.5:
            grain = grain[::-1]
        noisy = light + grain
        return np.asarray(np.rint(np.clip(noisy, 0, 255, out=noisy), out=noisy), np.uint8)
