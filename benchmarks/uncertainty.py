"""Do nine of ten places keep their bound? ``python -m benchmarks.uncertainty --work FOLDER [--pairs N]``.

The alignments of ``benchmarks.verdict`` (the same FOLDER, whose measured maps are used again), but for
other specimens, which have no true place. The map of every alignment that is not judged *fail* is asked at
2,000 points of the tissue, and compared with the truth. The first 16 pairs chose the margins, the others
are held out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdict import CHOOSING, MPP, cases, drawn, measured, row_of
from registration.quality.uncertainty import uncertainty_of

STEPS_UM = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, np.inf)

Answer = tuple[NDArray[np.float64], NDArray[np.float64]]
"""True errors and stated bounds of one alignment, in µm; bounds are NaN where none is stated."""


def answers(folder: Path, count: int) -> Iterator[tuple[int, str, Answer]]:
    """Yield the pair, the verdict and the answer of every alignment."""
    for number in range(count):
        pair = drawn(folder, number)
        points = pair.tissue.points(2000)
        for k, case in enumerate(cases(pair, pair.he)):
            if case.name == "other specimen":
                continue
            residual, p90 = measured(folder, pair, k, case)
            found = uncertainty_of(residual, MPP)
            error = np.hypot(*(case.chain(points) - pair.truth(points)).T) * MPP
            bound = np.full(len(points), np.nan) if found is None else found.at(points)
            yield number, row_of(pair, case, residual, p90).verdict, (error, bound)


def table(parts: list[Answer]) -> dict[str, float]:
    """Return how many places have a bound, how many keep it, and how wide bounds are."""
    error, bound = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = np.isfinite(bound)
    within = error[known] <= bound[known]
    found = {
        "alignments": len(parts),
        "places": len(error),
        "with a bound": float(known.mean()),
        "within it": float(within.mean()),
        "median bound": float(np.median(bound[known])),
        "median error": float(np.median(error[known])),
        "p90 error where no bound is stated": float(np.percentile(error[~known], 90))
        if (~known).any()
        else float("nan"),
    }
    for low, high in pairwise(STEPS_UM):
        own = (bound[known] > low) & (bound[known] <= high)
        if own.any():
            found[f"within it, bounds of {low:g} to {high:g}"] = float(within[own].mean())
    return found


def main() -> None:
    """Print a table per half of the pairs and verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=2 * CHOOSING)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    every = list(answers(given.work, given.pairs))
    tables = {}
    for half, later in (("choosing", False), ("held out", True)):
        for verdicts in (("pass",), ("review",), ("pass", "review")):
            parts = [
                answer
                for number, verdict, answer in every
                if (number >= CHOOSING) == later and verdict in verdicts
            ]
            if parts:
                name = f"{half}, {' or '.join(verdicts)}"
                tables[name] = table(parts)
                print(name)
                for key, value in tables[name].items():
                    print(f"  {key:36s} {value:9.3f}")
    if given.json:
        given.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
