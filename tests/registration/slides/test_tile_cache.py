from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from registration.geometry import Box, Size
from registration.slides.slide import Slide, open_slide
from registration.slides.tile_cache import CACHE_BYTES, TileCache
from registration.synth.ndpi import NdpiSpec, write_ndpi

SIDE = 2048
HANDLES = 12


def test_the_least_recently_used_tile_goes_first() -> None:
    tiles = TileCache(300)
    for number in range(3):
        tiles.put((0, 0, number), np.full((10, 10, 1), number, np.uint8))
    tiles.get((0, 0, 0))
    tiles.put((1, 0, 3), np.full((10, 10, 1), 3, np.uint8))
    kept = [
        key for key in ((0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 3)) if tiles.get(key) is not None
    ]
    assert kept == [(0, 0, 0), (0, 0, 2), (1, 0, 3)]
    assert tiles.held_bytes == 300


def test_a_tile_larger_than_the_budget_is_kept_alone() -> None:
    tiles = TileCache(300)
    tiles.put((0, 0, 0), np.zeros((10, 10, 1), np.uint8))
    tiles.put((0, 0, 1), np.zeros((20, 20, 1), np.uint8))
    assert tiles.get((0, 0, 0)) is None
    assert tiles.get((0, 0, 1)) is not None
    assert tiles.held_bytes == 400


def test_a_reader_that_closes_takes_its_own_tiles_along() -> None:
    tiles = TileCache(1000)
    for reader in (4, 5, 4):
        tiles.put((reader, 0, tiles.held_bytes), np.zeros((10, 10, 1), np.uint8))
    tiles.forget(4)
    assert tiles.held_bytes == 100
    assert tiles.get((5, 0, 100)) is not None


def growth_of_reading(path: Path) -> float:
    """Return by how many MiB a process grows that reads all of several open slides."""
    process = psutil.Process()
    slides: list[Slide] = []
    for number in range(HANDLES + 1):
        slides.append(open_slide(path, mpp=0.5))
        for top in range(0, SIDE, 256):
            slides[-1].read(Box(0, top, SIDE, 256))
        if number == 0:
            before = process.memory_info().rss
    return (process.memory_info().rss - before) / 2**20


@pytest.mark.parametrize("suffix", [".ndpi", ".ome.tif"])
def test_many_open_slides_hold_no_more_tiles_than_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise{suffix}"
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    if suffix == ".ndpi":
        write_ndpi(path, NdpiSpec(Size(SIDE, SIDE), 0.5), [pixels])
    else:
        tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", ome=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        growth = pool.submit(growth_of_reading, path).result()
    assert growth < 1.5 * CACHE_BYTES / 2**20
