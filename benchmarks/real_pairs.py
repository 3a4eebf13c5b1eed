"""Landmark error on real consecutive sections, both directions, without and with six landmarks.

    python -m benchmarks.real_pairs FOLDER [--json FILE]

FOLDER holds one folder per specimen with images of its sections and one CSV of landmarks beside each
image (CIMA's layout, as ANHIR publishes it); the section called HE is paired with every other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from registration.errors import StartError
from registration.geometry import farthest_first, outermost
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.quality.quality import target_errors, unregistered
from registration.register import register_pair
from registration.slides.slide import open_slide

NOMINAL_MPP = 5.0
"""These images do not say how large their pixels are."""

SIX = 6


def pairs(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield a name, the HE image and the other section's image."""
    for he in sorted(folder.glob("*/HE.jpg")):
        for other in sorted(he.parent.glob("*.jpg")):
            if other != he:
                yield f"{he.parent.name} {other.stem}", he, other


def spread(landmarks: Landmarks, count: int) -> np.ndarray:
    """Return which landmarks are far from each other: ``count`` of them, farthest first."""
    chosen = farthest_first(landmarks.he, count, outermost(landmarks.he))
    return np.isin(np.arange(len(landmarks)), chosen)


def scored(he: Path, ihc: Path, moving: Any, picked: bool) -> dict[str, float | str]:
    """Register one pair and score it on the landmarks that it was not given."""
    every = read_landmarks(he.with_suffix(".csv"), ihc.with_suffix(".csv"))
    given = spread(every, SIX)
    options = RunOptions(every.take(given) if picked else None, image=None)
    pair = SlidePair(open_slide(he, NOMINAL_MPP), open_slide(ihc, NOMINAL_MPP), moving)
    fixed, target = (every.take(~given) if picked else every).oriented(moving)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            found = register_pair(pair, Path(scratch) / "run", None, options)
        except StartError:
            return {"verdict": "not started"}
    stages = {
        "before": unregistered(pair.fixed_slide, pair.moving_slide),
        "projective": found.chain.steps[1],
        "all": found.chain,
    }
    row: dict[str, float | str] = {"verdict": found.verdict}
    for stage, transform in stages.items():
        median, p90 = np.percentile(target_errors(transform, fixed, target), [50, 90])
        row[f"{stage} median"], row[f"{stage} p90"] = float(median), float(p90)
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name, he, ihc in pairs(given.folder):
        for moving in ("he", "ihc"):
            for picked in (False, True):
                start = "six landmarks" if picked else "none given"
                row = scored(he, ihc, moving, picked)
                rows.append({"pair": name, "moving": moving, "start": start, **row})
                figures = " ".join(
                    f"{key} {value:.2f}" for key, value in row.items() if isinstance(value, float)
                )
                print(f"{name:<28}{moving:<5}{start:<15}{row['verdict']:<12}{figures}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
