"""Pictures within pages: JPEG as data URIs."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
from numpy.typing import NDArray

QUALITY = 80


def jpeg_uri(image: NDArray[np.uint8], quality: int = QUALITY) -> str:
    """Return an ``(h, w, 3)`` RGB image as a JPEG data URI, its colours in full resolution."""
    # Pillow gives libjpeg a byte per pixel for this, and fails on images of noise.
    whole = np.ascontiguousarray(image)
    content = imagecodecs.jpeg8_encode(whole, level=quality, subsampling="444", optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")
