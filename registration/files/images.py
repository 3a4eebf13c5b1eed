"""Image files of every kind as 8-bit RGB, upright and in sRGB: one reader for slides and patches.

PNG, JPEG, BMP and WebP are decoded whole; TIFF as in :mod:`registration.files.tiff`. What cannot be
read rightly is refused by name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL import Image as PillowImage

from registration.errors import SlideError
from registration.files.colour import to_srgb
from registration.files.jpeg import damage_in
from registration.files.memory import check_memory
from registration.files.refusal import check_file, explain, refusing
from registration.files.samples import (
    Image,
    Samples,
    eight_bit,
    is_opacity_void,
    oriented,
    to_rgb,
    unused_bits,
)
from registration.files.tiff import TiffImage, read_whole
from registration.files.tiff_reach import is_tiff

LARGEST_PLAIN_PIXELS = 400 * 10**6
BYTES_PER_PIXEL = 12
"""What decoding and conversion hold at once."""
ORIENTATION = 274
OPENERS: dict[bytes, Callable[[Path], PillowImage.Image]] = {
    b"\x89PNG": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
}
"""By the first bytes of a file. Opened directly: Pillow's own limit on sizes is lower than ours."""
PNG_DEPTH_AT = 24
UNWRITTEN = bytes(4096)
"""An interrupted copy leaves zeros at the end, and no coded image so many."""


@dataclass(frozen=True)
class PlainImage:
    """A decoded PNG, JPEG, BMP or WebP."""

    format: str
    pixels: Image
    """Upright, in the colours of the profile."""
    icc_profile: bytes | None


def read_image(path: Path) -> Image:
    """Return an image file, ``(height, width, 3)``; :class:`SlideError` where it cannot be read."""
    check_file(path, "image")
    if not is_tiff(path):
        plain = read_plain(path)
        return to_srgb(plain.pixels, plain.icc_profile)
    image = TiffImage(path)
    try:
        page = image.pages[0]
        check_memory(f"{path}", BYTES_PER_PIXEL * page.imagewidth * page.imagelength)
        with refusing(path):
            pixels = read_whole(image)
    finally:
        image.close()
    return to_srgb(oriented(pixels, image.orientation), image.icc_profile)


def image_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an upright image without decoding all of it.

    Raises :class:`SlideError`.
    """
    check_file(path, "image")
    if not is_tiff(path):
        with _opened(path) as image:
            # Pillow decodes a PNG to find its orientation, which a square does not need.
            is_square = image.width == image.height
            return image.size if is_square else _turned(image.size, _orientation(image))
    tiff = TiffImage(path)
    tiff.close()
    return _turned((tiff.pages[0].imagewidth, tiff.pages[0].imagelength), tiff.orientation)


def read_plain(path: Path) -> PlainImage:
    """Decode a PNG, JPEG, BMP or WebP; :class:`SlideError` where it cannot be read."""
    with _opened(path) as image:
        _refuse_damage(path, image.format)
        pixels = oriented(_rgb(path, image), _orientation(image))
        return PlainImage(str(image.format).lower(), pixels, image.info.get("icc_profile"))


@contextmanager
def _opened(path: Path) -> Iterator[PillowImage.Image]:
    """Open an image of a known kind that fits into memory."""
    with path.open("rb") as file:
        head = file.read(4)
    opener = next((OPENERS[magic] for magic in OPENERS if head.startswith(magic)), None)
    if opener is None:
        raise SlideError(explain(path))
    with refusing(path), opener(path) as image:
        _refuse_giants(path, image.size)
        if (count := getattr(image, "n_frames", 1)) > 1:
            raise SlideError(f"{path} holds {count} pictures; export the one that is meant.")
        yield image


def _refuse_damage(path: Path, kind: str | None) -> None:
    """Refuse damage that decoding fills with plausible pixels, where the format lets it be seen.

    Pillow stops at the last row, before the checksums at the end of a PNG.
    """
    if kind == "JPEG" and (damage := damage_in(path.read_bytes())):
        raise SlideError(explain(path, damage))
    if kind == "WEBP" and path.read_bytes().endswith(UNWRITTEN):
        raise SlideError(explain(path, "its end was never written"))
    if kind == "PNG":
        with PngImagePlugin.PngImageFile(path) as image:
            image.verify()


def _rgb(path: Path, image: PillowImage.Image) -> Image:
    """Decode an image of any mode as RGB."""
    if image.mode in ("CMYK", "LAB", "HSV"):
        raise SlideError(f"{path} has {image.mode} pixels; export it as 8-bit RGB.")
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        _check_range(path, int(grey.max(initial=0)))
        shown = eight_bit(grey, 65535)
        shown[grey == image.info.get("transparency", -1)] = 255
        return np.repeat(shown[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise SlideError(f"{path} has 32-bit pixels; export it as 8-bit RGB.")
    has_alpha = image.has_transparency_data
    pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    if _is_16_bit_png(path):
        # Pillow keeps the upper byte of each sample, and so does not find a colour that means nothing.
        if "transparency" in image.info:
            raise SlideError(f"{path} has a transparent colour of 16 bits; export it as 8-bit RGB.")
        _check_range(path, 256 * int(pixels[..., :3].max(initial=0)))
    samples = Samples(3, 255, alpha=3 if has_alpha else None)
    if is_opacity_void([pixels], samples):
        samples = Samples(3, 255)
    return to_rgb(pixels, samples)


def _check_range(path: Path, highest: int) -> None:
    """Refuse 16-bit samples of unknown range."""
    if reason := unused_bits(highest, 16):
        raise SlideError(f"{path}: {reason}")


def _is_16_bit_png(path: Path) -> bool:
    """Return whether a PNG has 16 bits per sample, which Pillow's mode does not tell."""
    with path.open("rb") as file:
        head = file.read(PNG_DEPTH_AT + 1)
    return head.startswith(b"\x89PNG") and head[PNG_DEPTH_AT] == 16


def _orientation(image: PillowImage.Image) -> int:
    """Return how an image is turned as its EXIF data say, 1 to 8; 1 where they say nothing."""
    try:
        value = image.getexif().get(ORIENTATION)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the size of an image once it is upright."""
    return (size[1], size[0]) if orientation >= 5 else size


def _refuse_giants(path: Path, size: tuple[int, int]) -> None:
    """Refuse an image that would not fit into memory."""
    need = BYTES_PER_PIXEL * size[0] * size[1]
    if size[0] * size[1] > LARGEST_PLAIN_PIXELS:
        raise SlideError(
            f"{path} is {size[0]} x {size[1]} px, too large for a format that can only be decoded "
            f"whole ({need / 2**30:.1f} GiB). Convert it to a tiled pyramidal TIFF."
        )
    check_memory(f"{path} is {size[0]} x {size[1]} px", need)
