"""One glass slide scanned by several scanners: does every pair register, and how exactly?

    python -m benchmarks.same_glass FOLDER [--mpp 0.5] [--json FILE]

FOLDER holds one file per scanner. The same glass is the same tissue, so that a similarity transform
explains all but the scanners' own distortion: what a registration leaves beside the similarity
fitted to it, in pixels of the pyramid's third level (level 2), is its error and theirs together.
The files do not say how large their pixels are; ``--mpp`` is a nominal value for all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from skimage.transform import SimilarityTransform

from registration.errors import StartError
from registration.execution import Workers, workers
from registration.geometry import Points
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.register import register_pair
from registration.slides.slide import open_slide
from registration.tissue import TissueMap

LEVEL = 2
PLACES = 4000


def scored(first: Path, second: Path, mpp: float, pool: Workers) -> dict[str, Any]:
    """Register a pair of scans and measure what a similarity does not explain."""
    pair = SlidePair(open_slide(first, mpp), open_slide(second, mpp))
    row: dict[str, Any] = {"pair": f"{first.name.split('_')[0]} to {second.name.split('_')[0]}"}
    with tempfile.TemporaryDirectory() as scratch:
        options = RunOptions(image=None)
        try:
            found = register_pair(pair, Path(scratch) / "run", None, options, pool)
        except StartError:
            return {**row, "verdict": "not started"}
    fixed = TissueMap.of(pair.fixed_slide).points(PLACES)
    downsample = pair.moving_slide.levels[LEVEL].downsample
    left = beside_similarity(fixed, found.chain(fixed)) / downsample
    median, p90, p99 = (float(value) for value in np.percentile(left, [50, 90, 99]))
    residual = found.quality.residual
    matched = float("nan") if residual is None else residual.median_um
    rms = float(np.sqrt(np.mean(left**2)))
    return {
        **row,
        "verdict": found.verdict,
        "rms": rms,
        "median": median,
        "p90": p90,
        "p99": p99,
        "matched": matched,
    }


def beside_similarity(fixed: Points, moving: Points) -> np.ndarray:
    """Return the distance of each moving point from the best similarity of the fixed ones."""
    similarity = SimilarityTransform.from_estimate(fixed, moving)
    return np.asarray(np.hypot(*(similarity(fixed) - moving).T))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scans = sorted(path for path in given.folder.iterdir() if path.is_file())
    rows = []
    print(
        f"{'pair':<12}{'verdict':<9}   px of level {LEVEL} beside a similarity: rms, median, p90, p99"
    )
    with workers() as pool:
        for first, second in combinations(scans, 2):
            row = scored(first, second, given.mpp, pool)
            rows.append(row)
            figures = "".join(
                f"{row.get(name, np.nan):>8.2f}" for name in ("rms", "median", "p90", "p99")
            )
            print(f"{row['pair']:<12}{row['verdict']:<9}{figures}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
