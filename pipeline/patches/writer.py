"""The images of a kept pair: cut from level 0 with one interpolation, encoded, written whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np

from pipeline.patches.settings import ImageKind
from registration.files.storage import written_whole
from registration.geometry import Box, Image
from registration.pair import SlidePair
from registration.result import Registration
from registration.warp import warp_box

SUFFIXES: dict[ImageKind, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}

PNG_LEVEL = 1
"""Five times as fast as the usual level 6, for files a tenth larger."""

JPEG_QUALITY = 95


@dataclass(frozen=True)
class RunSource:
    """A finished registration, as a worker finds it again."""

    folder: Path
    key: str

    def open(self) -> tuple[Registration, SlidePair]:
        """Return the registration and its open slides, once per process."""
        return _opened(self)


@dataclass(frozen=True)
class CutTask:
    """Some patches of one run."""

    source: RunSource
    boxes: tuple[Box, ...]
    """Pixels of the fixed slide's level with ``downsample``."""
    downsample: float
    folder: Path
    image: ImageKind
    side_by_side: bool


def cut(task: CutTask) -> int:
    """Cut and write the pairs that are not there yet; return how many were."""
    registration, pair = task.source.open()
    written = 0
    for box in task.boxes:
        paths = image_paths(task.folder, box, task.image, task.side_by_side)
        if all(path.exists() for path in paths):
            continue
        he, ihc = cut_pair(registration, pair, box, task.downsample)
        images = [np.hstack([he, ihc])] if task.side_by_side else [he, ihc]
        for path, image in zip(paths, images, strict=True):
            write_image(path, image, task.image)
        written += 1
    return written


def cut_pair(
    registration: Registration, pair: SlidePair, box: Box, downsample: float
) -> tuple[Image, Image]:
    """Return the H&E and the IHC image of one patch, ``(size, size, 3)`` each."""
    fixed = pair.fixed_slide.read_scaled(box, downsample)
    moved = warp_box(pair.moving_slide, registration.chain, box, downsample).image
    return (moved, fixed) if registration.moving == "he" else (fixed, moved)


def image_paths(folder: Path, box: Box, image: ImageKind, side_by_side: bool) -> tuple[Path, ...]:
    """Return where the images of a patch are kept until they get their final names."""
    suffix = SUFFIXES[image]
    if side_by_side:
        return (folder / f"{box.x}_{box.y}{suffix}",)
    return folder / f"{box.x}_{box.y}_he{suffix}", folder / f"{box.x}_{box.y}_ihc{suffix}"


def write_image(path: Path, image: Image, kind: ImageKind) -> None:
    """Encode and write one image."""
    with written_whole(path) as part:
        part.write_bytes(encoded(image, kind))


def encoded(image: Image, kind: ImageKind) -> bytes:
    """Return an image as PNG or WebP, both lossless, or as JPEG without colour subsampling."""
    pixels = np.ascontiguousarray(image)
    if kind == "png":
        return bytes(imagecodecs.png_encode(pixels, level=PNG_LEVEL))
    if kind == "webp":
        return bytes(imagecodecs.webp_encode(pixels, lossless=True))
    return bytes(imagecodecs.jpeg8_encode(pixels, level=JPEG_QUALITY, subsampling="444"))


@lru_cache(maxsize=2)
def _opened(source: RunSource) -> tuple[Registration, SlidePair]:
    registration = Registration.load(source.folder)
    return registration, registration.open_pair()
