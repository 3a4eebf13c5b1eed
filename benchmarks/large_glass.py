"""Four sections on a large glass against one section of the same area: time by stage, peak memory.

    python -m benchmarks.large_glass --work FOLDER [--side 10240] [--enlarged] [--json FILE]

Draws a glass with four sections of ``--side`` px and a single section of twice that side, and runs
``bci-pipeline register`` on each as a command of its own, with two workers and the image written.
``--enlarged`` adds the glass with every pixel as two by two, smoothly, and grain added: sections as
large as those of a scan at 40x, in a fraction of the time that drawing them takes.

Takes an hour on two cores, most of it drawing. The slides are kept: later runs take five minutes,
and a quarter of an hour more with ``--enlarged``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.registration import Row, measured, table
from benchmarks.slides import drawn_case
from registration.geometry import Box, Image, Size
from registration.landmarks.landmarks import read_landmarks, write_landmarks
from registration.slides.slide import Slide, open_slide
from registration.synth import GlassSettings, SynthCase, SynthSettings
from registration.synth.ndpi import NdpiSpec, write_ndpi

SEED = 3
BAND_ROWS = 256
MARGIN_ROWS = 4
"""Rows read beside a band, so that it is enlarged as its neighbours are."""
GRAIN = 2.0
"""Standard deviation of the noise added to an enlarged slide, grey levels."""


def enlarged(case: SynthCase, folder: Path) -> SynthCase:
    """Write the slides with twice as many pixels a side, and the pairs that are true of them."""
    folder.mkdir(parents=True, exist_ok=True)
    made = replace(case, name="enlarged", folder=folder)
    for source, target in ((case.he, made.he), (case.ihc, made.ihc)):
        if not target.exists():
            with open_slide(source) as slide:
                size = Size(2 * slide.size.width, 2 * slide.size.height)
                write_ndpi(target, NdpiSpec(size, slide.mpp / 2), _bands(slide))
    exact = read_landmarks(case.truth)
    twice = replace(exact, he=2 * exact.he + 0.5, ihc=2 * exact.ihc + 0.5)
    write_landmarks(made.truth, twice)
    return made


def _bands(slide: Slide) -> Iterator[Image]:
    rng = np.random.default_rng(SEED)
    width, height = slide.size.width, slide.size.height
    for top in range(0, height, BAND_ROWS):
        rows = min(BAND_ROWS, height - top)
        first = max(0, top - MARGIN_ROWS)
        last = min(height, top + rows + MARGIN_ROWS)
        read = slide.read(Box(0, first, width, last - first))
        large = cv2.resize(read, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        band = large[2 * (top - first) :][: 2 * rows]
        grain = rng.normal(0, GRAIN, band.shape).astype(np.float32)
        yield np.clip(band + grain, 0, 255).astype(np.uint8)


def registered(name: str, case: SynthCase, work: Path) -> Row:
    """Register a case anew and print its row."""
    out = work / "runs" / case.folder.name
    shutil.rmtree(out, ignore_errors=True)
    row = measured(name, case, out)
    print(table([row]), flush=True)
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--side", type=int, default=10_240, help="of each of four sections, px")
    parser.add_argument("--enlarged", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    single = SynthSettings(size=2 * given.side, seed=1)
    sections = Size(given.side, given.side)
    four = SynthSettings(size=sections, seed=SEED, her2="0", glass=GlassSettings(4, "same"))
    section = drawn_case(work / "section", single)
    glass = drawn_case(work / "glass", four)
    rows = [registered("one section", section, work), registered("four sections", glass, work)]
    print(f"{rows[1].wall_s / rows[0].wall_s:.2f} times the time of one section")
    if given.enlarged:
        large = enlarged(glass, work / "enlarged")
        rows.append(registered("four sections, enlarged", large, work))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
