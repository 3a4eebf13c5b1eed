"""Exact area averaging, for virtual levels between the stored ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from registration.geometry import Box, Image

STRIP_PIXELS = 2**21
"""Source pixels held at once."""


def source_box(box: Box, ratio: float) -> Box:
    """Return the source pixels under ``box``, whose pixels are ``ratio`` source pixels wide."""
    x, y = math.floor(box.x * ratio + 1e-9), math.floor(box.y * ratio + 1e-9)
    right = math.ceil(box.right * ratio - 1e-9)
    bottom = math.ceil(box.bottom * ratio - 1e-9)
    return Box(x, y, right - x, bottom - y)


def area_average(read: Callable[[Box], Image], source: Box, box: Box, ratio: float) -> Image:
    """Return ``box`` of the image made of averages over ``ratio x ratio`` source pixels.

    ``read`` gives the pixels of a source box. Pixel ``x`` of the result covers source positions
    ``x * ratio .. (x + 1) * ratio`` measured from the left edge of source pixel 0, cut exactly.
    """
    if abs(ratio - 1) < 1e-9:
        return read(box)
    whole = round(ratio)
    result = np.empty((box.height, box.width, 3), np.uint8)
    rows = max(1, int(STRIP_PIXELS / max(source.width * ratio, 1)))
    for top in range(0, box.height, rows):
        strip = Box(box.x, box.y + top, box.width, min(rows, box.height - top))
        part = source_box(strip, ratio)
        pixels = read(part)
        out = result[top : top + strip.height]
        if abs(ratio - whole) < 1e-9:
            out[:] = cv2.resize(pixels, (strip.width, strip.height), interpolation=cv2.INTER_AREA)
        else:
            out[:] = _weighted(pixels, part, strip, ratio)
    return result


def _weighted(pixels: Image, source: Box, box: Box, ratio: float) -> Image:
    """Average with fractional weights at the edges of each output pixel, one axis at a time."""
    across = _overlaps(box.x, box.width, source.x, source.width, ratio)
    down = _overlaps(box.y, box.height, source.y, source.height, ratio)
    rows = (down @ pixels.reshape(source.height, -1)).reshape(box.height, source.width, 3)
    columns = across @ cv2.transpose(rows).reshape(source.width, -1)
    averaged = cv2.transpose(columns.reshape(box.width, box.height, 3))
    return np.asarray(cv2.convertScaleAbs(averaged), np.uint8)


def _overlaps(
    start: int, count: int, source_start: int, source_count: int, ratio: float
) -> sparse.csr_array:
    """Return the ``(count, source_count)`` share of each source pixel in each output pixel."""
    left = (start + np.arange(count)) * ratio - source_start
    first = np.floor(left + 1e-9).astype(int)
    width = math.ceil(ratio) + 1
    columns = first[:, None] + np.arange(width)
    overlap = np.minimum(columns + 1, left[:, None] + ratio) - np.maximum(columns, left[:, None])
    shares: NDArray[np.float64] = np.clip(overlap, 0, None) / ratio
    rows = np.repeat(np.arange(count), width)
    kept = (shares.ravel() > 1e-9) & (columns.ravel() < source_count)
    return sparse.csr_array(
        (shares.ravel()[kept].astype(np.float32), (rows[kept], columns.ravel()[kept])),
        shape=(count, source_count),
    )
