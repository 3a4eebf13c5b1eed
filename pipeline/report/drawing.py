"""Pictures for reports, drawn with cv2 so that nothing heavy is imported for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Image

PALENESS = 0.6
Palette = Literal["amount", "change"]

_CHANGE = ((33, 78, 148), (122, 170, 214), (247, 247, 244), (233, 160, 112), (165, 44, 36))
"""Blue for less, red for more, nearly white for none."""


@dataclass(frozen=True, slots=True)
class Legend:
    """A colour bar."""

    gradient: str
    """CSS colours, lowest first."""
    low: str
    middle: str
    high: str
    unit: str


def backdrop(image: Image) -> Image:
    """Return a pale grey version of an image, to draw on."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    pale = 255 - (255 - grey) * PALENESS
    return np.repeat(pale.astype(np.uint8)[..., None], 3, axis=2)


def coloured(values: NDArray[np.float64], low: float, high: float, palette: Palette) -> Image:
    """Return ``(h, w)`` values as colours; those outside ``low .. high`` take the end's colour."""
    span = max(high - low, 1e-12)
    index = np.clip((values - low) / span * 255, 0, 255).astype(np.uint8)
    return np.asarray(_table(palette)[index], np.uint8)


def colour_of(value: float, low: float, high: float, palette: Palette) -> str:
    """Return the CSS colour of one value."""
    red, green, blue = coloured(np.array([[value]]), low, high, palette)[0, 0]
    return f"rgb({red} {green} {blue})"


def laid_over(below: Image, above: Image, opacity: NDArray[np.float32] | float) -> Image:
    """Return two images blended; ``opacity`` of the upper one is a number or ``(h, w)``."""
    weight = np.float32(opacity) if isinstance(opacity, float) else opacity[..., None]
    mixed = below + (above.astype(np.float32) - below) * weight
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)


def legend(low: float, high: float, unit: str, palette: Palette, digits: int = 1) -> Legend:
    """Return the colour bar of a palette between two values."""
    colours = _table(palette)[np.linspace(0, 255, 9).astype(int)]
    middle = (low + high) / 2
    first, second, third = (
        f"{value:.{digits}f}".replace("-", "−") for value in (low, middle, high)
    )
    gradient = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in colours)
    return Legend(gradient, first, second, third, unit)


@cache
def _table(palette: Palette) -> NDArray[np.uint8]:
    """Return the ``(256, 3)`` colours of a palette."""
    if palette == "amount":
        ramp = np.arange(256, dtype=np.uint8)[None]
        return np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS)[0, :, ::-1], np.uint8)
    anchors = np.array(_CHANGE, np.float64)
    where = np.linspace(0, len(anchors) - 1, 256)
    planes = [np.interp(where, np.arange(len(anchors)), anchors[:, k]) for k in range(3)]
    return np.stack(planes, axis=1).round().astype(np.uint8)
