"""Samples of image files to 8-bit RGB: range, sense, palette and opacity as the file states them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``(height, width, 3)`` RGB."""


@dataclass(frozen=True)
class Samples:
    """What the samples of an image mean."""

    colours: int
    """Samples per pixel that are colour: 1 for grey or an index, 3 for RGB."""
    most: int
    """The value of full brightness."""
    is_inverted: bool = False
    """Whether 0 is white."""
    alpha: int | None = None
    """Which sample is the opacity, if one is."""
    is_premultiplied: bool = False
    palette: Image | None = None
    """``(colours, 3)`` RGB of each index."""


def to_rgb(pixels: NDArray[Any], samples: Samples) -> Image:
    """Return ``(h, w, n)`` samples as RGB; what is not opaque lies on white."""
    if samples.palette is not None:
        return np.take(samples.palette, pixels[..., 0].astype(np.intp), axis=0, mode="clip")
    colours = eight_bit(pixels[..., : samples.colours], samples.most)
    if samples.is_inverted:
        colours = 255 - colours
    if samples.colours == 1:
        colours = np.repeat(colours, 3, axis=-1)
    if samples.alpha is None:
        return np.ascontiguousarray(colours)
    alpha = eight_bit(pixels[..., samples.alpha, None], samples.most)
    if samples.is_premultiplied:
        return np.asarray(np.minimum(colours.astype(np.uint16) + (255 - alpha), 255), np.uint8)
    return on_white(np.concatenate([colours, alpha], axis=-1))


def eight_bit(pixels: NDArray[Any], most: int) -> Image:
    """Scale ``0 .. most`` to ``0 .. 255``."""
    if most == 255 and pixels.dtype == np.uint8:
        return pixels
    return np.asarray(np.minimum(pixels * (255.0 / most) + 0.5, 255), np.uint8)


def on_white(rgba: NDArray[np.uint8]) -> Image:
    """Return ``(h, w, 4)`` RGBA pixels (not premultiplied) composited on white, ``(h, w, 3)``."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha.astype(np.uint16)
    blended = (rgba[..., :3] * weight + 255 * (255 - weight) + 127) // 255
    return blended.astype(np.uint8)


def is_opacity_void(parts: Sequence[NDArray[Any]], samples: Samples) -> bool:
    """Return whether an image would vanish: an opacity of 0 everywhere, over colours that vary.

    ``parts`` are its samples, ``(h, w, n)`` each.
    """
    if samples.alpha is None or any(part[..., samples.alpha].any() for part in parts):
        return False
    colours = [part[..., : samples.colours] for part in parts if part.size]
    return bool(colours) and min(part.min() for part in colours) != max(
        part.max() for part in colours
    )


def unused_bits(highest: int, bits: int) -> str | None:
    """Say why the range of samples is unknown: none uses the highest of ``bits``; ``None`` if known.

    Cameras of 10, 12 or 14 bits are stored in 16 without a word of it; taken as full range, their
    white is nearly black.
    """
    if highest == 0 or highest >= 2 ** (bits - 1):
        return None
    return (
        f"its {bits}-bit samples go up to {highest} only, and nothing in the file says how many of "
        "the bits count. Export it as 8-bit RGB, or say it (TIFF: MaxSampleValue; OME: SignificantBits)."
    )


def oriented(pixels: Image, orientation: int) -> Image:
    """Turn stored pixels upright: ``orientation`` 1 to 8 as in TIFF and EXIF."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
