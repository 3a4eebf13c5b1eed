"""Colour profiles: pixels of a scanner's own colour space to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from registration.geometry import Image


def to_srgb(pixels: Image, profile: bytes | None) -> Image:
    """Return ``(h, w, 3)`` pixels in sRGB; unchanged without a usable ``profile``."""
    transform = None if profile is None else _transform(profile)
    if transform is None:
        return pixels
    converted = PillowImage.fromarray(pixels)
    ImageCms.applyTransform(converted, transform, inPlace=True)
    return np.asarray(converted)


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> Any:
    """Build the transform to sRGB; ``None`` for one that changes nothing, or is not of RGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    colors = np.stack(np.meshgrid(*[np.arange(0, 256, 17)] * 3), axis=-1).astype(np.uint8)
    image = PillowImage.fromarray(colors.reshape(16, -1, 3))
    changed = np.asarray(ImageCms.applyTransform(image, transform), np.int16)
    return transform if np.abs(changed - np.asarray(image, np.int16)).max() > 1 else None
