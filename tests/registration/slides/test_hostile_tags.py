"""TIFF tags of a wrong type or value: each file is read, or refused in one sentence."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from registration.errors import SlideError
from registration.files.images import read_image
from registration.geometry import Box
from registration.slides.slide import open_slide

SEEDS = 300
KINDS = tuple(range(19))
VALUES = (0, 1, 2, 3, 5, 7, 8, 255, 256, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)


def originals(folder: Path) -> list[Path]:
    """Write files of different layouts, with all the tags that a slide may have."""
    ys, xs = np.mgrid[:70, :110]
    rgb = np.stack([xs * 2, ys * 3, (xs + ys) % 250], axis=-1).astype(np.uint8)
    tags = [(274, "H", 1, 6, True), (281, "H", 3, (255,) * 3, True), (285, "s", 0, "page", True)]
    resolution = {"resolution": (1e4 / 0.46, 1e4 / 0.46), "resolutionunit": "CENTIMETER"}
    common = {"photometric": "rgb", "extratags": tags, **resolution}
    names = [folder / f"{number}.tif" for number in range(5)]
    tifffile.imwrite(names[0], rgb, rowsperstrip=16, compression="lzw", predictor=2, **common)
    with tifffile.TiffWriter(names[1], ome=True) as writer:
        size = {"axes": "YXS", "PhysicalSizeX": 0.46, "PhysicalSizeY": 0.46}
        writer.write(rgb, tile=(32, 48), subifds=1, metadata=size, compression="jpeg", **common)
        writer.write(rgb[::2, ::2], tile=(32, 48), subfiletype=1, **common)
    alpha = np.concatenate([rgb, rgb[..., :1]], axis=-1)
    tifffile.imwrite(names[2], alpha, extrasamples=["unassalpha"], bigtiff=True, **common)
    colours = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85
    tifffile.imwrite(names[3], rgb[..., 0], photometric="palette", colormap=colours, byteorder=">")
    tifffile.imwrite(names[4], rgb.astype(np.uint16) * 257, tile=(32, 48), **common)
    return names


def corrupted(content: bytes, seed: int) -> bytes:
    """Change type, count or value of one to three entries of the directories."""
    dice = random.Random(seed)
    changed = bytearray(content)
    order = "<" if content[:2] == b"II" else ">"
    is_big = 43 in content[2:4]
    number, entry, offset = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    start = struct.unpack_from(order + offset, content, 8 if is_big else 4)[0]
    count = struct.unpack_from(order + number, content, start)[0]
    for _ in range(dice.randint(1, 3)):
        at = start + struct.calcsize(number) + entry * dice.randrange(count)
        part = dice.choice(["tag", "type", "count", "value", "value", "bytes"])
        if part == "tag":
            struct.pack_into(
                order + "H", changed, at, dice.choice((254, 256, 270, 330, 34675, 513))
            )
        elif part == "type":
            struct.pack_into(order + "H", changed, at + 2, dice.choice(KINDS))
        elif part == "count":
            struct.pack_into(order + offset, changed, at + 4, dice.choice(VALUES))
        elif part == "value":
            struct.pack_into(
                order + offset, changed, at + (12 if is_big else 8), dice.choice(VALUES)
            )
        else:
            where = dice.randrange(8, len(changed))
            changed[where] = dice.randrange(256)
    return bytes(changed)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("originals")
    return [path.read_bytes() for path in originals(folder)]


def test_the_originals_are_read(tmp_path: Path) -> None:
    for path in originals(tmp_path):
        assert read_image(path).shape[:2] in ((70, 110), (110, 70))


def read_as_slide(path: Path) -> None:
    with open_slide(path, 0.5) as slide:
        slide.thumbnail(64)
        slide.read(Box(5, 5, 40, 30))


def refusal(read: Callable[[Path], object], path: Path) -> str | None:
    """Return why ``path`` is refused, or ``None`` where it is read."""
    try:
        read(path)
    except SlideError as error:
        return str(error)
    return None


@pytest.mark.parametrize("tenth", range(10))
def test_corrupted_tags_end_in_one_sentence(tmp_path: Path, files: list[bytes], tenth: int) -> None:
    path = tmp_path / "slide.tif"
    for seed in range(tenth * SEEDS // 10, (tenth + 1) * SEEDS // 10):
        path.write_bytes(corrupted(files[seed % len(files)], seed))
        for read in (read_as_slide, read_image):
            message = refusal(read, path)
            assert message is None or str(path) in message, seed
            assert message is None or ("\n" not in message and len(message) < 600), seed
