"""The alignment filter on registrations that are spoiled locally by a known error, and on real pairs.

    python -m benchmarks.alignment_filter --work FOLDER [--seed 300] [--size 4096] [--json FILE]
    python -m benchmarks.alignment_filter --work FOLDER --landmarks DIR --patches DIR

Synthetic slides of the four HER2 levels are drawn once into FOLDER. Their registration is the truth
that drew them, then the truth spoiled by smooth fields of 0 to 60 µm. Every patch passes the filter
as in ``bci-pipeline patch``; its true shift is the median length of the field over its tissue.
``--seed`` draws other slides than those on which the filter's settings were partly chosen. What each grade
of the kept patches means is printed too: the share that is truly within 2, 5 and 10 µm.

``--landmarks`` (CIMA's layout) registers real consecutive sections from six of their landmarks,
``--patches`` takes a dataset of pairs as it is (BCI's download).
For all of them the grades are counted, and the share that the filter keeps is set against the same for
shuffled partners.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.alignment_real import landmark_rows, patch_rows
from benchmarks.known_runs import Spoiling, error_field, known_run, lengths_um
from benchmarks.slides import drawn_case
from pipeline.patches.blank.filter import content_map
from pipeline.patches.case import select
from pipeline.patches.grades import GRADES, Grade
from pipeline.patches.grid import PatchGrid
from pipeline.patches.measurement import measure_case
from pipeline.patches.record import PatchCandidate
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import RunSource
from registration.execution import InProcess, Workers, no_progress, workers
from registration.geometry import Box, mesh
from registration.result import Registration
from registration.synth import SynthCase, SynthSettings
from registration.tissue import TissueMap
from registration.transforms import DisplacementField

LEVELS = ("0", "1+", "2+", "3+")
SPOILINGS = (None, Spoiling(1, 60.0, 500.0), Spoiling(2, 60.0, 1000.0))
LIMIT_UM = 10.0
WITHIN_UM = (2.0, 5.0, 10.0)
BEYOND_UM = 1000.0
"""Rank of a pair that is no better than chance: after all that match."""

LIMITS = ((5.0, 95.0), (10.0, 90.0), (10.0, 95.0), (10.0, 99.0), (15.0, 95.0), (20.0, 95.0))


@dataclass(frozen=True)
class Measured:
    """One patch."""

    level: str
    spoiled: bool
    true_um: float
    shift_um: float
    percentile: float
    grade: Grade | None
    """Of a kept patch."""


@dataclass
class Result:
    """The figures of one size of patch."""

    size_px: int
    patches: int
    error_median_um: float
    error_p90_um: float
    auc: float
    auc_shift_alone: float
    false_rejections: float
    limits: list[dict[str, float]] = field(default_factory=list)
    grades: list[dict[str, Any]] = field(default_factory=list)


def measured(case: SynthCase, folder: Path, size: int, pool: Workers) -> list[Measured]:
    """Pass all patches of a case through the filter, once per spoiling."""
    found: list[Measured] = []
    for number, spoiling in enumerate(SPOILINGS):
        error = None if spoiling is None else _field(case, spoiling)
        run = known_run(case, folder / f"{case.name}_{number}" / "run", error)
        registration = Registration.load(run)
        slide = registration.open_pair().fixed_slide
        grid = PatchGrid.on(slide.size, slide.mpp, size, size // 2, None)
        source = RunSource(run, registration.key)
        figures = measure_case(source, grid, run.parent, pool, no_progress)
        candidates = select(figures, grid, "he", PatchSettings(size=size))
        usable = content_map(slide, TissueMap.of(slide), InProcess(), no_progress)
        for candidate in candidates:
            if candidate.null_percentile is None or candidate.shift_um is None:
                continue  # blank or off the slide: not the alignment filter's to judge
            box = Box(candidate.x, candidate.y, size, size)
            true = 0.0 if error is None else _true_shift(error, box, usable, slide.mpp)
            found.append(_measured(case, candidate, true, error is not None))
    return found


def _measured(case: SynthCase, candidate: PatchCandidate, true: float, spoiled: bool) -> Measured:
    assert candidate.shift_um is not None
    assert candidate.null_percentile is not None
    level = case.settings.her2
    rank = candidate.null_percentile
    return Measured(level, spoiled, true, candidate.shift_um, rank, candidate.grade)


def _field(case: SynthCase, spoiling: Spoiling) -> DisplacementField:
    own = Spoiling(spoiling.seed + 10 * case.settings.seed, spoiling.most_um, spoiling.width_um)
    return error_field(case.settings.ihc_size, case.settings.mpp_ihc, own)


def _true_shift(error: DisplacementField, box: Box, usable: Any, mpp: float) -> float:
    """Return the median length of the error over the tissue of a patch."""
    xs, ys = (start + np.arange(8, box.width, 16.0) for start in (box.x, box.y))
    points = mesh(xs, ys)
    tissue = usable.at(points) > 0.5
    return float(np.median(lengths_um(error, points[tissue], mpp)))


def summed_up(size: int, rows: Sequence[Measured], limits: PatchSettings) -> Result:
    """Return the figures that the issue asks for."""
    true, shift, rank = (
        np.array([getattr(row, name) for row in rows])
        for name in ("true_um", "shift_um", "percentile")
    )
    spoiled = np.array([row.spoiled for row in rows])
    matched = rank >= limits.min_percentile
    errors = np.abs(shift - true)[spoiled & (true <= 40)]
    off = true > LIMIT_UM
    kept = matched & (shift <= limits.max_shift_um)
    return Result(
        size,
        len(rows),
        float(np.median(errors)),
        float(np.percentile(errors, 90)),
        auc(off, np.where(matched, shift, BEYOND_UM + 100 - rank)),
        auc(off, shift),
        float(1 - kept[~spoiled].mean()),
        [_at_limits(rows, *pair) for pair in LIMITS],
        [_of_grade(rows, grade) for grade in GRADES],
    )


def _of_grade(rows: Sequence[Measured], grade: Grade) -> dict[str, Any]:
    """Return how many patches have a grade, and the share of them that is within each distance."""
    true = np.array([row.true_um for row in rows if row.grade == grade])
    within = {f"within_{um:g}_um": float((true <= um).mean()) for um in WITHIN_UM if len(true)}
    return {"grade": grade, "patches": len(true), **within}


def _at_limits(rows: Sequence[Measured], most_um: float, percentile: float) -> dict[str, float]:
    """Return what other limits would keep, by the true shift of the patches."""

    def kept(low: float, high: float) -> float:
        chosen = [row for row in rows if low <= row.true_um <= high]
        good = [row.shift_um <= most_um and row.percentile >= percentile for row in chosen]
        return float(np.mean(good)) if good else float("nan")

    return {
        "max_shift_um": most_um,
        "min_percentile": percentile,
        "kept_aligned": kept(0, 1),
        "kept_5_to_10": kept(5, 10),
        "kept_10_to_20": kept(10, 20),
        "kept_over_20": kept(20, 1000),
    }


def auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve (the Mann-Whitney statistic)."""
    ranks = rankdata(score)
    count, others = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def synthetic(work: Path, seed: int, side: int, pool: Workers) -> list[Result]:
    """Draw the slides where needed, and measure both sizes of patches."""
    cases = [
        drawn_case(work / f"seed_{number}", SynthSettings(size=side, seed=number, her2=level))
        for number, level in enumerate(LEVELS, start=seed)
    ]
    results = []
    for size in (1024, 512):
        rows = [row for case in cases for row in measured(case, work / f"runs_{size}", size, pool)]
        results.append(summed_up(size, rows, PatchSettings()))
        print(table(results[-1]), flush=True)
    return results


def table(result: Result) -> str:
    """Return the figures as text."""
    lines = [
        f"{result.size_px} px, {result.patches} patches",
        f"  error of the shift up to 40 µm    median {result.error_median_um:.2f}, "
        f"p90 {result.error_p90_um:.2f} µm (goal: median 2)",
        f"  area under the ROC, off by >10 µm {result.auc:.4f} (goal: 0.97); shift alone "
        f"{result.auc_shift_alone:.4f}",
        f"  aligned patches rejected          {100 * result.false_rejections:.1f} % (goal: 3)",
        "  limits            kept of those truly off by 0-1, 5-10, 10-20, >20 µm",
    ]
    for row in result.limits:
        shares = (row[key] for key in row if key.startswith("kept"))
        lines.append(
            f"    {row['max_shift_um']:>4.0f} µm, {row['min_percentile']:.0f} %     "
            + "".join(f"{100 * share:>7.1f} %" for share in shares)
        )
    for found in result.grades:
        shares = [f"{100 * found[key]:.1f} %" for key in found if key.startswith("within")]
        lines.append(
            f"  {found['grade']:<7}{found['patches']:>5} patches, within 2, 5, 10 µm: "
            + ", ".join(shares)
        )
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=300, help="of the first of the four slides")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--landmarks", type=Path)
    parser.add_argument("--patches", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    results: dict[str, Any] = {}
    with workers(2) as pool:
        if given.landmarks or given.patches:
            results["landmarks"] = landmark_rows(given.landmarks, work, pool)
            results["patches"] = [patch_rows(folder, pool) for folder in given.patches]
        else:
            results["synthetic"] = [
                asdict(row) for row in synthetic(work, given.seed, given.size, pool)
            ]
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
