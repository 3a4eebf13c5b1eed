"""The registered slide read through the chain: time against OpenSlide and the warp, and agreement.

    python -m benchmarks.registered_slide [--size 8192] [--reads 30]

Draws a pair, relates it by a made-up smooth field, and reads random 1,024 px regions of every level.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import openslide
import zarr

from registration.execution import InProcess, no_progress
from registration.geometry import Box, Size
from registration.pair import SlidePair
from registration.registered_slide import RegisteredSlide, write_image
from registration.slides.slide import Slide, open_slide
from registration.synth.case import write_case
from registration.synth.settings import SynthSettings
from registration.transforms import Chain, DisplacementField, Projective
from registration.warp import warp_box

REGION_PX = 1024
LEAST_SIDE_PX = 1024


def smooth(size: Size) -> Chain:
    """Return a field of some 40 px over 800 px, and a turn by 5 degrees about the middle."""
    rng = np.random.default_rng(5)
    spacing = 400.0
    shape = (int(size.height / spacing) + 3, int(size.width / spacing) + 3, 2)
    nodes = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 1.2) * 80
    turn = np.deg2rad(5.0)
    cos, sin = np.cos(turn), np.sin(turn)
    x, y = size.width / 2, size.height / 2
    affine = [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]]
    return Chain(
        (
            DisplacementField.from_nodes((-spacing, -spacing), spacing, nodes),
            Projective.affine(affine),
        )
    )


def milliseconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - begun)


def measure_level(
    pair: SlidePair, chain: Chain, level: int, corners: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """Return median milliseconds of a raw read, of the warp alone and of both; and the difference."""
    rows = [measure_region(pair, chain, level, int(x), int(y), truth) for x, y in corners]
    found = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    found["ratio"] = found["registered_ms"] / (found["openslide_ms"] + found["warp_ms"])
    return found


def measure_region(
    pair: SlidePair, chain: Chain, level: int, x: int, y: int, truth: np.ndarray
) -> dict[str, float]:
    """Read one region with fresh handles; ``warp_ms`` is mesh and interpolation in memory."""
    path, fixed = pair.moving_slide.path, pair.fixed_slide
    where, size = (x * 2**level, y * 2**level), (REGION_PX, REGION_PX)
    box = Box(x, y, *size)
    with openslide.OpenSlide(path) as raw:
        own = raw.get_best_level_for_downsample(2**level)
        times = {"openslide_ms": milliseconds(lambda: raw.read_region(where, own, size))}
    with RegisteredSlide(open_slide(path), chain, fixed.size, fixed.mpp) as slide:
        times["registered_ms"] = milliseconds(lambda: slide.read_region(where, level, size))
        region = np.asarray(slide.read_region(where, level, size))[..., :3]
    times["warp_ms"] = milliseconds(lambda: warp_box(Blank(pair.he), chain, box, 2**level))
    difference = np.abs(region.astype(int) - truth[box.slices()].astype(int))
    return {**times, "grey_levels": float(difference.mean())}


class Blank:
    """A slide whose pixels cost nothing: what a warp of it takes is the warp's own time."""

    def __init__(self, slide: Slide) -> None:
        self.size, self.mpp, self.levels = slide.size, slide.mpp, slide.levels
        self.level_for = slide.level_for

    def read_scaled(self, box: Box, downsample: float) -> np.ndarray:
        """Return white."""
        return np.full((box.height, box.width, 3), 255, np.uint8)


def main() -> None:
    """Print one line per level, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--reads", type=int, default=30)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = write_case(folder / "case", SynthSettings(size=given.size, seed=3))
        pair = SlidePair(open_slide(case.he), open_slide(case.ihc))
        chain = smooth(pair.fixed_slide.size)
        written = folder / "registered.ome.zarr"
        write_image(pair, chain, written, "ome-zarr", InProcess(), no_progress)
        for level in range(8):
            size = pair.fixed_slide.size.downsampled(2**level)
            if min(size.shape) < LEAST_SIDE_PX:
                break
            truth = np.moveaxis(zarr.open_array(str(written / str(level)), mode="r")[:], 0, -1)
            high = [size.width - REGION_PX + 1, size.height - REGION_PX + 1]
            corners = rng.integers(0, high, size=(given.reads, 2))
            found = measure_level(pair, chain, level, corners, truth)
            results.append({"level": level, **found})
            sys.stderr.write(f"{results[-1]}\n")
    sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
