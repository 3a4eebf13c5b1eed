"""What nuclei say of alignments whose error is known.

    python -m benchmarks.cells [--pairs N] [--json FILE]

Drawn pairs of every HER2 level, in which none to half of the nuclei changed, are aligned by the truth
that drew them and shifted by a known error. Measured: how many nuclei are found and how many of those
that are found are some, how near the common shift of the nuclei comes to the error, what they say of
the sections, and the seconds of CPU that a slide costs. Pairs with an odd number are held out.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree

from registration.cell_evidence import CellEvidence
from registration.files.her2 import HER2_LEVELS
from registration.geometry import Image, Points
from registration.nuclei import find_nuclei
from registration.quality.cells import CellTask, cell_fields, evidence_of, look_at
from registration.slides.slide import open_slide
from registration.synth import SynthSettings
from registration.synth.paint import Painter
from registration.synth.section import Cut, cut_sections
from registration.tissue import TissueMap
from registration.transforms import Chain, Projective

FIRST_SEED = 9100
SIDE_PX = 1536
CHANGED = (0.0, 0.15, 0.3, 0.5)
ERRORS_UM = (0.0, 1.0, 3.0, 6.0, 10.0, 30.0)
FOUND_WITHIN_UM = 2.5
MARGIN_PX = 30


@dataclass(frozen=True)
class Row:
    """One alignment of one pair."""

    number: int
    changed: float
    error_um: float
    beyond: float
    low: float
    high: float
    off_um: float
    """Between the nuclei's common shift and the error; "not a number" without a common shift."""
    sections: str
    cpu_s: float


@dataclass(frozen=True)
class Detection:
    """How well the nuclei of one slide were found."""

    number: int
    section: str
    recall: float
    precision: float


def settings_of(number: int) -> SynthSettings:
    """Return what pair ``number`` looks like."""
    return SynthSettings(
        size=SIDE_PX,
        seed=FIRST_SEED + number,
        her2=HER2_LEVELS[number // 2 % 4],
        changed_nuclei=CHANGED[(number // 2 + number) % 4],
        rotation_deg=float(np.random.default_rng(number).uniform(-6, 6)),
    )


def detection(number: int, cut: Cut, image: Image) -> Detection:
    """Compare the nuclei that are found with those that were drawn."""
    shown = cut.cells.in_he if cut.section == "he" else cut.cells.in_ihc
    truth = cut.placed(cut.cells.take(np.flatnonzero(cut.cells.has_nucleus & shown))).center
    nuclei = find_nuclei(image, cut.mpp)
    found = nuclei.take(nuclei.sure).points

    def near(a: Points, b: Points) -> float:
        size = np.array([cut.size.width, cut.size.height])
        inside = ((a > MARGIN_PX) & (a < size - MARGIN_PX)).all(axis=1)
        return float((cKDTree(b).query(a[inside])[0] * cut.mpp < FOUND_WITHIN_UM).mean())

    return Detection(number, cut.section, near(truth, found), near(found, truth))


def rows_of(number: int, folder: Path) -> Iterator[Row | Detection]:
    """Yield what is measured of one pair."""
    settings = settings_of(number)
    he_cut, ihc_cut, truth = cut_sections(settings)
    slides = []
    for cut in (he_cut, ihc_cut):
        image = Painter(cut).image()
        yield detection(number, cut, image)
        path = folder / f"{number}_{cut.section}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        slides.append(open_slide(path, cut.mpp))
    he, ihc = slides
    boxes = cell_fields(ihc, TissueMap.of(ihc))
    turn = float(np.random.default_rng(number).uniform(0, 2 * math.pi))
    for error in ERRORS_UM:
        way = error * np.array([math.cos(turn), math.sin(turn)])
        chain = Chain((Projective.translation(*(way / ihc.mpp)), *truth.steps))
        begun = time.process_time()
        fields = [look_at(CellTask(ihc, he, chain, box)) for box in boxes]
        cells = evidence_of([field for field in fields if field is not None])
        cpu = (time.process_time() - begun) / len(boxes) * 24
        if cells is not None:
            yield row_of(number, error, way, cells, cpu)


def row_of(number: int, error: float, way: np.ndarray, cells: CellEvidence, cpu_s: float) -> Row:
    """Return the line of one alignment."""
    off = float(np.hypot(cells.shift_x_um + way[0], cells.shift_y_um + way[1]))
    bounds = (cells.beyond, cells.beyond_low, cells.beyond_high)
    return Row(
        number, settings_of(number).changed_nuclei, error, *bounds, off, cells.sections, cpu_s
    )


def answered(rows: list[Row]) -> str:
    """Return how often the answer on the sections is right, wrong, or none."""
    told = [row for row in rows if row.sections not in ("undecided", "not known")]
    wrong = sum((row.changed == 0) != (row.sections == "same section") for row in told)
    return (
        f"sections: {len(told) - wrong} right, {wrong} wrong, "
        f"{sum(row.sections == 'undecided' for row in rows)} undecided, "
        f"{sum(row.sections == 'not known' for row in rows)} not known"
    )


def main() -> None:
    """Print a table per half of the pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        every = [row for n in range(given.pairs) for row in rows_of(n, Path(scratch))]
    for half, parity in (("choosing", 0), ("held out", 1)):
        part = [row for row in every if row.number % 2 == parity]
        print(half)
        found = [row for row in part if isinstance(row, Detection)]
        recall, precision = (
            np.mean([getattr(row, name) for row in found]) for name in ("recall", "precision")
        )
        print(f"  nuclei found {recall:.2f}, of those that were found nuclei {precision:.2f}")
        for changed in CHANGED:
            for error in ERRORS_UM:
                own = [
                    row
                    for row in part
                    if isinstance(row, Row) and (row.changed, row.error_um) == (changed, error)
                ]
                if own:
                    off = [row.off_um for row in own if math.isfinite(row.off_um)]
                    print(
                        f"  changed {changed:4.2f} error {error:4.0f} µm: beyond chance "
                        f"{np.mean([row.beyond for row in own]):5.2f}; common shift in {len(off)} of "
                        f"{len(own)}, off by {np.max(off, initial=0):.2f} µm at most; "
                        f"{', '.join(sorted({row.sections for row in own}))}"
                    )
        print(f"  {answered([row for row in part if isinstance(row, Row)])}")
    cpu = [row.cpu_s for row in every if isinstance(row, Row)]
    print(f"CPU seconds for 24 fields: {np.median(cpu):.1f} (median), {max(cpu):.1f} at most")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in every], indent=1) + "\n")


if __name__ == "__main__":
    main()
