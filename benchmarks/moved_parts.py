"""Does one large section pass of which a part lies elsewhere on the other slide?

    python -m benchmarks.moved_parts --work FOLDER [--size 6144] [--mpp 2.0] [--seed 31] [--json FILE]

Draws a section, then moves a part of its H&E slide: a half, along the cut and away from it, or a disc.
The non-rigid passes bring such parts back, but for a band along the cut, so that most of the
section is right: what is asked is whether the verdict tells, and how far known points are off. The
section as it was drawn comes first and should pass.

Takes a minute of one core for each part, and four to draw the section.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.pieces_wrong import Cut
from benchmarks.slides import drawn_case
from registration.geometry import Box, Points
from registration.landmarks.landmarks import read_landmarks
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.register import register_pair
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings
from registration.synth.ndpi import NdpiSpec, write_ndpi

TURN = 0.7
"""Direction of the cut's normal, radians."""
OFF_UM = 15.0
Pairs = tuple[Points, Points]
"""Points on the H&E and on the IHC slide."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is moved: a half, or a disc of ``radius_mm`` off the middle."""

    name: str
    shift_um: float
    along: bool = False
    """Along the cut in place of away from it."""
    radius_mm: float = 0.0

    def cut(self, case: SynthCase, mpp: float) -> Cut:
        """Return the cut through the case's H&E slide."""
        with open_slide(case.he) as slide:
            sides = np.array([slide.size.width, slide.size.height], np.float64)
        normal = np.array([np.cos(TURN), np.sin(TURN)])
        way = np.array([-normal[1], normal[0]]) if self.along else normal
        middle = sides * ([0.6, 0.45] if self.radius_mm else [0.5, 0.5])
        return Cut(middle, 1000 * self.radius_mm / mpp, normal, way * self.shift_um / mpp)


PARTS = (
    Part("a half, along the cut", 50.0, along=True),
    Part("a half, away from the cut", 50.0),
    Part("a half, along the cut", 80.0, along=True),
    Part("a disc of 1.6 mm", 60.0, radius_mm=0.8),
    Part("a disc of 1.0 mm", 60.0, radius_mm=0.5),
    Part("a disc of 0.8 mm", 100.0, radius_mm=0.4),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One registration; distances in µm at the truth points."""

    name: str
    shift_um: float
    verdict: str
    p90_um: float
    largest_um: float
    off_share: float
    """Share of the points farther off than :data:`OFF_UM`."""
    torn_mm: float


def with_moved_part(case: SynthCase, part: Part, path: Path) -> Points:
    """Write the H&E slide with a part moved; return where the truth points lie on it, ``(N, 2)``."""
    with open_slide(case.he) as slide:
        image, size, mpp = slide.read(Box.of(slide.size)), slide.size, slide.mpp
    cut = part.cut(case, mpp)
    write_ndpi(path, NdpiSpec(size, mpp), iter([cut.applied(image, Box.of(size))]))
    points = read_landmarks(case.truth, minimum=1).he
    return np.where(cut.beyond(points)[:, None], points + cut.shift, points)


def registered(
    name: str, shift_um: float, slides: tuple[Path, Path], truth: Pairs, out: Path
) -> Row:
    """Register two slides and compare the result with the truth."""
    shutil.rmtree(out, ignore_errors=True)
    with open_slide(slides[0]) as moving, open_slide(slides[1]) as fixed:
        found = register_pair(SlidePair(moving, fixed), out, None, RunOptions(image=None))
        mpp = moving.mpp
    off = np.hypot(*(found.chain(truth[1]) - truth[0]).T) * mpp
    off = off[np.isfinite(off)]
    torn = found.quality.torn
    row = Row(
        name,
        shift_um,
        found.verdict,
        float(np.percentile(off, 90)),
        float(off.max()),
        float(np.mean(off > OFF_UM)),
        float("nan") if torn is None else torn.length_mm,
    )
    print(
        f"{name:<28}{shift_um:>5.0f} µm  {row.verdict:<8} p90 {row.p90_um:.1f} µm, farthest "
        f"{row.largest_um:.0f} µm, {row.off_share:.1%} over {OFF_UM:.0f} µm; tear {row.torn_mm:.1f} mm",
        flush=True,
    )
    return row


def rows_of(case: SynthCase, work: Path) -> list[Row]:
    """Register the section as it was drawn, and with each part moved."""
    exact = read_landmarks(case.truth, minimum=1)
    out = work / "run"
    rows = [registered("nothing", 0.0, (case.he, case.ihc), (exact.he, exact.ihc), out)]
    for part in PARTS:
        he = work / "moved_he.ndpi"
        truth = with_moved_part(case, part, he), exact.ihc
        rows.append(registered(part.name, part.shift_um, (he, case.ihc), truth, out))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=6144)
    parser.add_argument("--mpp", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    work = given.work.resolve()
    settings = SynthSettings(
        size=given.size, seed=given.seed, her2="2+", mpp_he=given.mpp, mpp_ihc=given.mpp
    )
    case = drawn_case(work / f"section_{given.size}_{given.seed}", settings)
    rows = rows_of(case, work)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
