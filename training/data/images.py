"""Images as files, as 8-bit arrays and as what networks see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from registration.errors import SlideError
from registration.files import images
from registration.files.storage import written_whole
from training.errors import DataError

Pixels = NDArray[np.uint8]
"""``(height, width, 3)`` RGB."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
NOT_READ = frozenset(
    {
        *(".gif", ".jp2", ".j2k", ".jpx", ".jxl", ".jxr", ".avif", ".heic", ".heif"),
        *(".apng", ".jfif", ".ppm", ".pgm", ".pnm", ".tga", ".psd", ".exr"),
    }
)
"""Suffixes of images that are not taken from a folder: what is left out is named."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file, or one half of a side-by-side image."""

    path: Path
    half: Literal["left", "right"] | None = None

    def read(self) -> Pixels:
        """Return the image, ``(height, width, 3)`` uint8; raises :class:`DataError`."""
        pixels = read_image(self.path)
        if self.half is None:
            return pixels
        if pixels.shape[1] % 2:
            raise DataError(
                f"a side-by-side image has an even width, this one {pixels.shape[1]} px: {self.path}"
            )
        middle = pixels.shape[1] // 2
        return pixels[:, :middle] if self.half == "left" else pixels[:, middle:]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, from the file's header; raises :class:`DataError`."""
        width, height = image_size(self.path)
        return (width if self.half is None else width // 2), height


def read_image(path: Path) -> Pixels:
    """Return an image file as RGB, ``(height, width, 3)`` uint8, upright and in sRGB.

    Raises :class:`DataError`, naming the file, when it is missing or cannot be read rightly.
    """
    try:
        return images.read_image(path)
    except SlideError as error:
        raise DataError(str(error)) from error


def image_size(path: Path) -> tuple[int, int]:
    """Return ``(width, height)`` without decoding the pixels; raises :class:`DataError`."""
    try:
        return images.image_size(path)
    except SlideError as error:
        raise DataError(str(error)) from error


def write_png(path: Path, pixels: Pixels) -> None:
    """Write an image, whole or not at all."""
    with written_whole(path) as part:
        Image.fromarray(pixels).save(part, format="PNG", compress_level=3)


def to_network(pixels: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1], same shape."""
    return pixels.float().div_(127.5).sub_(1.0)


def from_network(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8, rounded, same shape."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_batch(pixels: Pixels) -> Tensor:
    """Return one ``(H, W, 3)`` uint8 image as a ``(1, 3, H, W)`` uint8 tensor."""
    # torch warns of arrays that cannot be written to, such as those that a file is mapped into
    whole = np.require(pixels, requirements=["C", "W"])
    return torch.from_numpy(whole).permute(2, 0, 1)[None]


def from_batch(images: Tensor) -> Pixels:
    """Return the first of ``(N, 3, H, W)`` uint8 images as ``(H, W, 3)``."""
    return np.ascontiguousarray(images[0].permute(1, 2, 0).cpu().numpy())
