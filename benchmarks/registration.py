"""Accuracy, time and memory of ``bci-pipeline register`` on synthetic slides of known deformation.

    python -m benchmarks.registration --picked --paper --naive
    python -m benchmarks.registration --size 20480 --naive --json register_20k.json
    python -m benchmarks.registration --size 4096 10240 20480 40960 --slides FOLDER

Each row is a fresh process: wall time and the peak of the proportional set size (PSS) of its whole
process tree are measured from outside. ``--picked`` adds a row that starts from four noisy picked
pairs, ``--paper`` the paper's recipe from the same picks, and ``--naive`` the method done without
thought: blocks at full resolution, transformix on each of the three channels, nothing written.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process_memory import watched
from benchmarks.slides import drawn_case
from registration.execution import workers
from registration.geometry import Box
from registration.landmarks.landmarks import read_landmarks
from registration.landmarks.projective import fit_projective
from registration.nonrigid.elastix import ElastixSettings, register_bspline, transformix
from registration.nonrigid.grid import BlockGrid
from registration.pair import SlidePair
from registration.quality.quality import target_errors
from registration.result import Registration, read_record
from registration.slides.slide import open_slide
from registration.stain import extract_channel
from registration.synth import SynthCase, SynthSettings
from registration.transforms import Chain, SplicedField
from registration.warp import warp_box

FAILED_CHECK = 1
"""Exit code of a registration whose verdict is "fail"; it is scored like any other."""

NAIVE = ElastixSettings(grid_px=100, iterations=500, samples=4096, resolutions=4)


@dataclass(frozen=True)
class Row:
    """One line of the table; errors in level-0 px of the moving slide."""

    name: str
    median: float
    p90: float
    p99: float
    largest: float
    jacobian_min: float
    seam_p95: float
    wall_s: float
    peak_pss_mib: float
    stages: dict[str, float]


def rows_of(case: SynthCase, runs: Path, given: argparse.Namespace) -> list[Row]:
    """Run every variant asked for on one case."""
    size = case.settings.size
    picks = ("--landmarks", str(case.landmarks))
    rows = [measured(f"{size} no landmarks", case, runs / "auto")]
    if given.picked:
        rows.append(measured(f"{size} four noisy picks", case, runs / "picked", *picks))
    if given.paper:
        options = (*picks, "--recipe", "paper")
        rows.append(measured(f"{size} paper recipe", case, runs / "paper", *options))
    if given.naive:
        rows.append(naive(case))
    return rows


def measured(name: str, case: SynthCase, out: Path, *options: str) -> Row:
    """Run ``register`` in a process of its own and score what it wrote."""
    words = ["register", str(case.he), str(case.ihc), "--out", str(out), *options]
    wall, peak = watched(words, out.with_suffix(".log"), accepted=(0, FAILED_CHECK))
    registration = Registration.load(out)
    fixed, moving = read_landmarks(case.truth, minimum=1).oriented(registration.moving)
    errors = target_errors(registration.chain, fixed, moving)
    quality = read_record(out)["quality"]
    stages = json.loads((out / "timings.json").read_text())
    return Row(
        name,
        *_summary(errors),
        quality["folding"]["jacobian_min"],
        (quality["seams"] or {}).get("jump_p95_px", float("nan")),
        wall,
        peak,
        stages,
    )


def naive(case: SynthCase) -> Row:
    """Register 16 full-resolution blocks and resample each channel with transformix."""
    pair = SlidePair(open_slide(case.he), open_slide(case.ihc))
    picked = read_landmarks(case.landmarks)
    start = fit_projective(*picked.oriented("he"))
    grid = BlockGrid(pair.ihc.size)
    begun = time.perf_counter()
    with workers(2) as pool:
        splines = list(pool.map(_naive_block, [(pair, start, block.core) for block in grid]))
    wall = time.perf_counter() - begun
    field = SplicedField(tuple(block.core for block in grid), tuple(splines))
    errors = target_errors(
        Chain((field, start)), *read_landmarks(case.truth, minimum=1).oriented("he")
    )
    nan = float("nan")
    return Row(
        f"{case.settings.size} naive", *_summary(errors), nan, nan, wall, nan, {"blocks": wall}
    )


def _naive_block(task: tuple[SlidePair, Any, Box]) -> Any:
    pair, start, box = task
    fixed = extract_channel(pair.ihc.read(box), "hematoxylin")
    rough = warp_box(pair.he, start, box).image
    moving = extract_channel(rough, "hematoxylin")
    try:
        found = register_bspline(fixed, moving, NAIVE)
    except RuntimeError:
        return None
    for channel in range(3):
        transformix(rough[..., channel].astype(np.float32), found.parameters)
    spline = found.spline
    origin = (spline.origin[0] + box.x, spline.origin[1] + box.y)
    return type(spline)(origin, spline.spacing, spline.coefficients)


def _summary(errors: np.ndarray) -> tuple[float, float, float, float]:
    median, p90, p99 = np.percentile(errors, [50, 90, 99])
    return float(median), float(p90), float(p99), float(errors.max())


def table(rows: list[Row]) -> str:
    """Return the rows as text."""
    columns = ("median", "p90", "p99", "max", "J min", "seam", "wall s", "MiB")
    lines = [f"{'run':<24}" + "".join(f"{column:>9}" for column in columns) + "  stages"]
    for row in rows:
        stages = " ".join(f"{name} {seconds:.1f}" for name, seconds in row.stages.items())
        errors = (row.median, row.p90, row.p99, row.largest, row.jacobian_min)
        figures = "".join(f"{value:>9.2f}" for value in errors) + f"{row.seam_p95:>9.3f}"
        figures += f"{row.wall_s:>9.1f}{row.peak_pss_mib:>9.0f}"
        lines.append(f"{row.name:<24}{figures}  {stages}")
    return "\n".join(lines)


def main() -> None:
    """Make the slides, run every variant, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[4096])
    parser.add_argument("--warp", type=float, help="px; by default 40 at 4,096 px, 90 at 20,480")
    parser.add_argument("--rotation", type=float, default=17.0)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--picked", action="store_true")
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--naive", action="store_true")
    parser.add_argument("--slides", type=Path, help="keep the slides there and use them again")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in given.size:
            warp = given.warp or 20 * math.sqrt(size / 1024)
            settings = SynthSettings(
                size=size, seed=given.seed, warp_px=warp, rotation_deg=given.rotation
            )
            folder = given.slides or Path(scratch)
            case = drawn_case(folder / f"{size}", settings)
            rows += rows_of(case, Path(scratch) / f"runs_{size}", given)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
