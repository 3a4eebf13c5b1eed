"""Rate of cutting PNG pairs against merely reading and encoding them, and memory of `patch`.

    python -m benchmarks.patch_speed --work FOLDER [--size 20480] [--json FILE]

A synthetic pair is drawn and registered once into FOLDER and used again by later runs. Then

*   ``bci-pipeline patch`` runs as a command of its own: wall time, and the peak memory of its tree;
*   its cutting stage (warp, encode, write) and the bare work that any program has to do (OpenSlide
    reads the two regions at level 0, the two PNGs are encoded with the same setting) take turns on
    the same worker processes, on the same positions. The ratio of the two rates is the figure.

Takes about 7 minutes the first time on two cores, 4 when the registration is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from benchmarks.process_memory import watched
from benchmarks.slides import drawn_case
from pipeline.dataset.table import PatchRow, read_table
from pipeline.patches.writer import CutTask, RunSource, cut, encoded
from registration.execution import Workers, workers
from registration.geometry import Box
from registration.result import RECORD_NAME, Registration
from registration.synth import SynthSettings

ROUNDS = 3
AT_ONCE = 4
WARM_UP = 8


@dataclass(frozen=True)
class ReadTask:
    """Positions on both slides, read and encoded without anything else."""

    fixed: str
    moving: str
    places: tuple[tuple[int, int, int, int], ...]
    """Upper left corners on the fixed and on the moving slide."""
    size: int


@dataclass(frozen=True)
class Result:
    """The figures."""

    side_px: int
    pairs: int
    workers: int
    cut_per_s: float
    bare_per_s: float
    ratio: float
    command_s: float
    command_pairs: int
    peak_pss_mib: float


def read_and_encode(task: ReadTask) -> int:
    """Do the bare work for some pairs; return the bytes encoded."""
    total = 0
    for fixed_x, fixed_y, moving_x, moving_y in task.places:
        corners = ((task.fixed, fixed_x, fixed_y), (task.moving, moving_x, moving_y))
        for path, x, y in corners:
            region = _opened(path).read_region((x, y), 0, (task.size, task.size))
            total += len(encoded(np.asarray(region.convert("RGB")), "png"))
    return total


@cache
def _opened(path: str) -> openslide.OpenSlide:
    return openslide.OpenSlide(path)


def bare_tasks(registration: Registration, boxes: Sequence[Box]) -> list[ReadTask]:
    """Return the positions to read: each box, and as large a one around its middle on the HE slide."""
    middles = registration.chain(np.array([box.center for box in boxes]))
    places = [
        (box.x, box.y, round(x - box.width / 2), round(y - box.height / 2))
        for box, (x, y) in zip(boxes, middles, strict=True)
    ]
    fixed, moving = registration.fixed.path, registration.moved.path
    return [
        ReadTask(fixed, moving, tuple(places[k : k + AT_ONCE]), boxes[0].width)
        for k in range(0, len(places), AT_ONCE)
    ]


def cut_tasks(run: Path, key: str, boxes: Sequence[Box], folder: Path) -> list[CutTask]:
    """Return what the patch stage hands to its workers."""
    source = RunSource(run.resolve(), key)
    return [
        CutTask(source, tuple(boxes[k : k + AT_ONCE]), 1.0, folder, "png", False)
        for k in range(0, len(boxes), AT_ONCE)
    ]


def seconds(pool: Workers, function: Callable[[Any], int], tasks: Sequence[Any]) -> float:
    """Return how long the workers take."""
    begun = time.perf_counter()
    for _ in pool.map(function, tasks):
        pass
    return time.perf_counter() - begun


def rates(run: Path, boxes: Sequence[Box], count: int) -> tuple[float, float]:
    """Return pairs per second of cutting and of the bare work, medians of rounds in turn."""
    registration = Registration.load(run)
    bare = bare_tasks(registration, boxes)
    cutting, reading = [], []
    with workers(count) as pool, tempfile.TemporaryDirectory(dir=run.parent) as scratch:
        for number in range(ROUNDS + 1):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            tasks = cut_tasks(run, registration.key, boxes, folder)
            most = len(tasks) if number else WARM_UP
            cutting.append(seconds(pool, cut, tasks[:most]))
            reading.append(seconds(pool, read_and_encode, bare[:most]))
            shutil.rmtree(folder)
    return tuple(len(boxes) / statistics.median(times[1:]) for times in (cutting, reading))  # type: ignore[return-value]


def measured(work: Path, size: int, count: int, most: int) -> Result:
    """Make what is missing, run the command, compare the rates."""
    case = drawn_case(work / f"case_{size}", SynthSettings(size=size, seed=5, picks=6), count)
    run = work / f"run_{size}"
    if not (run / RECORD_NAME).is_file():
        words = ["register", str(case.he), str(case.ihc), "--landmarks", str(case.landmarks)]
        words += ["--out", str(run), "--no-image", "--workers", str(count)]
        watched(words, work / "register.log")
    dataset = work / f"dataset_{size}"
    shutil.rmtree(dataset, ignore_errors=True)
    words = ["patch", str(run), "--out", str(dataset), "--workers", str(count)]
    wall, peak = watched(words, work / "patch.log")
    kept = [row for row in read_table(dataset) if row.kept]
    boxes = [_box(row) for row in _spread(kept, most)]
    cutting, reading = rates(run, boxes, count)
    return Result(
        size, len(boxes), count, cutting, reading, cutting / reading, wall, len(kept), peak
    )


def _spread(rows: Sequence[PatchRow], most: int) -> list[PatchRow]:
    chosen = sorted({round(k) for k in np.linspace(0, len(rows) - 1, min(most, len(rows)))})
    return [rows[k] for k in chosen]


def _box(row: PatchRow) -> Box:
    assert row.x is not None
    assert row.y is not None
    return Box(row.x, row.y, row.size, row.size)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=20480)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found = measured(given.work.resolve(), given.size, given.workers, given.pairs)
    print(f"{found.side_px} px, {found.workers} workers, {found.pairs} pairs a round")
    print(f"cutting and writing PNG pairs   {found.cut_per_s:6.2f} pairs/s")
    print(f"OpenSlide and encoding alone    {found.bare_per_s:6.2f} pairs/s")
    print(f"ratio                           {found.ratio:6.2f}   (goal: 0.6 or more)")
    print(f"whole command, {found.command_pairs} pairs kept  {found.command_s:7.1f} s")
    print(f"peak PSS of the process tree    {found.peak_pss_mib:6.0f} MiB (goal: under 1,536)")
    if given.json:
        given.json.write_text(json.dumps(asdict(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
