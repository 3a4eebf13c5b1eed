"""Pictures within pages: JPEG as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80


def jpeg_uri(image: NDArray[np.uint8], quality: int = QUALITY) -> str:
    """Return an ``(h, w, 3)`` RGB image as a JPEG data URI, its colours in full resolution."""
    buffer = io.BytesIO()
    # Not `optimize`: for that Pillow holds a byte per pixel, and fails on images of noise.
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
