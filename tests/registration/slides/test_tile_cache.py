from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from registration.geometry import Box, Image, Size
from registration.slides.slide import Slide, open_slide
from registration.slides.tile_cache import CACHE_BYTES, Key, TileCache
from registration.synth.ndpi import NdpiSpec, write_ndpi

SIDE = 2048
HANDLES = 12


def tile(side: int = 10) -> Image:
    return np.zeros((side, side, 1), np.uint8)


def kept(tiles: TileCache, *keys: Key) -> list[Key]:
    """Return which keys are answered without reading."""

    def unread() -> Image:
        raise LookupError

    found = []
    for key in keys:
        with suppress(LookupError):
            tiles.get(key, unread)
            found.append(key)
    return found


def test_the_least_recently_used_tile_goes_first() -> None:
    tiles = TileCache(300)
    for number in range(3):
        tiles.get((0, 0, number), tile)
    tiles.get((0, 0, 0), tile)
    tiles.get((1, 0, 3), tile)
    expected = [(0, 0, 0), (0, 0, 2), (1, 0, 3)]
    assert kept(tiles, (0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 3)) == expected
    assert tiles.held_bytes == 300


def test_a_tile_larger_than_the_budget_is_kept_alone() -> None:
    tiles = TileCache(300)
    tiles.get((0, 0, 0), tile)
    tiles.get((0, 0, 1), lambda: tile(20))
    assert kept(tiles, (0, 0, 0), (0, 0, 1)) == [(0, 0, 1)]
    assert tiles.held_bytes == 400


def test_a_reader_that_closes_takes_its_own_tiles_along() -> None:
    tiles = TileCache(1000)
    for reader, number in ((4, 0), (5, 0), (4, 1)):
        tiles.get((reader, 0, number), tile)
    tiles.forget(4)
    assert kept(tiles, (4, 0, 0), (4, 0, 1), (5, 0, 0)) == [(5, 0, 0)]


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
