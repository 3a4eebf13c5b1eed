"""Virtual IHC of a whole slide on a CPU: ``python -m benchmarks.translate_slide [--slide FILE]``.

A small generator with random weights and measured statistics. Prints time, the largest memory of the
process tree, and the largest difference between the tiles and the whole image on a crop of 2,048 px
(0: no seam). Without ``--slide`` a synthetic one of ``--size`` pixels is written first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from registration.geometry import Box
from registration.slides.slide import open_slide
from training.data.images import Pixels, from_batch, to_batch
from training.inference.checkpoints import TrainedGenerator, load_generator, save_generator
from training.inference.tiling import generate_tile, prepare_tile, tiling_of
from training.models.generators import GENERATORS, build_generator, initialise
from training.run.averaging import recalibrate

CROP_PX = 2048
WATCH_S = 0.5
PROGRAM = (sys.executable, "-c", "from pipeline.cli.app import main; main()")


def main() -> None:
    """Translate, watch, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="H&E slide; default: a synthetic one")
    parser.add_argument("--size", type=int, default=20480, help="side of the synthetic slide")
    parser.add_argument("--ngf", type=int, default=4, help="width of the generator")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        slide = options.slide or synthetic(home, options.size)
        model = small_generator(home / "small.pt", options.ngf)
        found = watched(model, slide, home / "virtual_ihc.tif")
        found["largest_difference"] = largest_difference(model, slide)
    found = {"slide": slide.name, "ngf": options.ngf, "torch": torch.__version__, **found}
    for name, value in found.items():
        print(f"{name:<22}{value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def synthetic(home: Path, size: int) -> Path:
    """Write a synthetic slide and return its path."""
    command = [*PROGRAM, "synth", str(home / "slides")]
    subprocess.run([*command, "--cases", "1", "--size", str(size)], check=True)
    return next((home / "slides").rglob("*_he.ndpi"))


def small_generator(path: Path, ngf: int) -> Path:
    """Write a generator of ``resnet_9blocks`` with ``ngf`` channels."""
    torch.manual_seed(0)
    spec = replace(GENERATORS["resnet_9blocks"], width=ngf)
    network = build_generator(spec)
    initialise(network)
    recalibrate(network, [torch.rand(2, 3, 256, 256) * 2 - 1 for _ in range(4)])
    save_generator(path, TrainedGenerator(network, spec, path, mpp=0.46))
    return path


def watched(model: Path, slide: Path, out: Path) -> dict[str, Any]:
    """Run ``bci-pipeline translate`` and return its time and the memory of its process tree."""
    command = [*PROGRAM, "translate", str(model), str(slide)]
    began, largest = time.perf_counter(), {"rss": 0, "pss": 0}
    with subprocess.Popen([*command, "--out", str(out), "--json"], stdout=subprocess.PIPE) as child:
        while child.poll() is None:
            for kind, size in memory_of_tree(child.pid).items():
                largest[kind] = max(largest[kind], size)
            time.sleep(WATCH_S)
        assert child.stdout is not None
        result = json.loads(child.stdout.read())
    if child.returncode:
        sys.exit(child.returncode)
    return {
        "pixels": f"{result['width']} x {result['height']}",
        "translated": round(result["translated"], 3),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_rss_gib": round(largest["rss"] / 2**30, 3),
        "peak_pss_gib": round(largest["pss"] / 2**30, 3),
        "output_mib": round(out.stat().st_size / 2**20, 1),
    }


def memory_of_tree(pid: int) -> dict[str, int]:
    """Return the resident and proportional memory of a process and its children, in bytes."""
    found = {"rss": 0, "pss": 0}
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            memory = process.memory_full_info()
            found["rss"] += memory.rss
            found["pss"] += memory.pss
    except psutil.NoSuchProcess:
        pass
    return found


def largest_difference(model: Path, path: Path) -> int:
    """Return how far tiles are from the whole image, on a crop in the middle of the slide."""
    trained = load_generator(model)
    with open_slide(path) as slide:
        side = min(CROP_PX, *slide.size.shape)
        x, y = (slide.size.width - side) // 2, (slide.size.height - side) // 2
        crop = slide.read(Box(x, y, side, side))
    tiling = tiling_of(trained)
    tiled = np.zeros_like(crop)

    def read(rows: slice, columns: slice) -> Pixels:
        return crop[rows, columns]

    for tile in Box(0, 0, side, side).tiles(tiling.tile_px):
        rows, columns = tile.slices()
        prepared = prepare_tile(trained, tiling, read, rows, columns, (side, side))
        tiled[rows, columns] = from_batch(generate_tile(trained, prepared))
    whole = from_batch(trained(to_batch(crop)))
    return int(np.abs(tiled.astype(int) - whole).max())


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
