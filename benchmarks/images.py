"""How fast pyramids are written and read: ``python -m benchmarks.images [--side 20480] [--json FILE]``.

One core. Tissue-like texture; each format is written in a process of its own, whose peak memory is
reported, and read back as random 1024 px boxes by our reader and, where it can, by OpenSlide.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from registration.geometry import Box, Image, Size
from registration.slides.formats import ImageFormat
from registration.slides.pyramid import PyramidSpec, encode_unit, unit_boxes, write_pyramid
from registration.slides.raster import TiffReader
from registration.slides.reader import SlideReader
from registration.slides.vendors import OpenSlideReader

FORMATS: dict[ImageFormat, str] = {
    "tiff": "a.tif",
    "ome-tiff": "a.ome.tif",
    "ome-zarr": "a.ome.zarr",
}
MPP = 0.46
TEXTURE = "texture.npy"
READ_SIDE = 1024
READS = 120


def texture(side: int) -> Image:
    """Return nuclei-sized blobs in two stains, with sensor noise, by Beer-Lambert's law."""
    random = np.random.default_rng(0)
    density = np.zeros((side, side, 3), np.float32)
    for color, sigma, share in (((0.6, 0.7, 0.3), 6, 0.3), ((0.1, 0.9, 0.3), 25, 0.6)):
        field = cv2.GaussianBlur(random.normal(size=(side, side)).astype(np.float32), (0, 0), sigma)
        amount = np.clip(field / field.std() + share, 0, 1.5)[..., None]
        density += amount * np.array(color, np.float32)
    light = 245 * np.exp(-density) + random.normal(0, 2.5, density.shape)
    return np.clip(light, 0, 255).astype(np.uint8)


def write(spec: PyramidSpec, path: Path, texture_path: Path) -> dict[str, float]:
    """Write one pyramid and return seconds, the encoder's share of them, and peak memory."""
    unit = np.load(texture_path)
    process = psutil.Process()
    encoding, peak = 0.0, 0

    def units() -> Any:
        nonlocal encoding, peak
        for box in unit_boxes(spec):
            start = time.perf_counter()
            encoded = encode_unit(spec, unit[: box.height, : box.width], box)
            encoding += time.perf_counter() - start
            peak = max(peak, process.memory_info().rss)
            yield encoded

    start = time.perf_counter()
    write_pyramid(path, spec, units())
    seconds = time.perf_counter() - start
    return {"write_s": seconds, "of_it_encoding_s": encoding, "peak_mb": peak / 2**20}


def reads_per_second(reader: SlideReader, threads: int) -> float:
    """Return how many random boxes of level 0 are read per second."""
    size, random = reader.facts.sizes[0], np.random.default_rng(1)
    corners = random.integers([0, 0], [size.width - READ_SIDE, size.height - READ_SIDE], (READS, 2))
    boxes = [Box(int(x), int(y), READ_SIDE, READ_SIDE) for x, y in corners]
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda box: reader.read(box, 0), boxes))
    return READS / (time.perf_counter() - start)


def measure(format_: ImageFormat, side: int, folder: Path) -> dict[str, float]:
    """Write and read one format."""
    path = folder / FORMATS[format_]
    spec = PyramidSpec(Size(side, side - 300), MPP, format=format_)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        row = pool.apply(write, (spec, path, folder / TEXTURE))
    files = path.rglob("*") if path.is_dir() else [path]
    row["file_mb"] = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    if format_ == "ome-zarr":
        return row
    readers: dict[str, Callable[[Path], SlideReader]] = {"ours": TiffReader}
    if format_ == "tiff":
        readers["openslide"] = OpenSlideReader
    for name, reader in readers.items():
        for threads in (1, 2):
            row[f"{name}_reads_s_{threads}"] = reads_per_second(reader(path), threads)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20480)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / TEXTURE, texture(4 * PyramidSpec(Size(1, 1), MPP).tile))
        rows = {name: measure(name, arguments.side, Path(folder)) for name in FORMATS}
    for name, row in rows.items():
        print(f"{name:9s}", "  ".join(f"{key} {value:.1f}" for key, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"side": arguments.side, "formats": rows}, indent=2))


if __name__ == "__main__":
    main()
