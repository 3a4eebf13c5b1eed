"""Colour profiles: pixels of a scanner's own colour space to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from registration.files.samples import Image


def to_srgb(pixels: Image, profile: bytes | None) -> Image:
    """Return ``(h, w, 3)`` pixels in sRGB; unchanged without a usable ``profile``."""
    mode, transform = (None, None) if profile is None else _transform(profile)
    if transform is None:
        return pixels
    if mode == "RGB":
        converted = PillowImage.fromarray(pixels)
        ImageCms.applyTransform(converted, transform, inPlace=True)
        return np.array(converted)
    if (pixels != pixels[..., :1]).any():
        return pixels
    return np.array(ImageCms.applyTransform(PillowImage.fromarray(pixels[..., 0]), transform))


def is_usable(profile: bytes) -> bool:
    """Return whether a profile can be read, and is one of RGB or grey pixels."""
    return _transform(profile)[0] is not None


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> tuple[str | None, Any]:
    """Build the transform to sRGB and say what it takes, ``RGB`` or ``L``.

    The transform is ``None`` where it changes nothing; both are where the profile is of no use.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"RGB": "RGB", "GRAY": "L"}.get(source.profile.xcolor_space.strip())
        if mode is None:
            return None, None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError):
        return None, None
    channels = len(mode)
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 17)] * channels), axis=-1).astype(np.uint8)
    image = PillowImage.fromarray(colours.reshape(16, -1, channels).squeeze())
    changed = np.asarray(ImageCms.applyTransform(image, transform), np.int16)
    unchanged = np.asarray(image.convert("RGB"), np.int16)
    return mode, transform if np.abs(changed - unchanged).max() > 1 else None
