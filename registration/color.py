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
    """Build the transform to sRGB; ``None`` for a profile that is sRGB already, or not RGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB" or "sRGB" in str(
            source.profile.profile_description
        ):
            return None
        return ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, TypeError):
        return None
