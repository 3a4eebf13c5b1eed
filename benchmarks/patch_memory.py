"""Peak memory of `patch` on slides of growing size: does it grow with the slide?

    python -m benchmarks.patch_memory --work FOLDER [--repeats 1 2 4] [--json FILE]

One synthetic pair of 5,120 px is drawn, its H&E section is warped onto the IHC section by the truth,
and both are laid side by side, ``n x n`` times, as NDPI: large slides in a fraction of the time that
drawing takes. ``bci-pipeline patch`` then runs as a command of its own with two workers. Patches
lie farther apart on larger slides, so that their number stays about the same, while all tissue is
looked at.

Takes about 5 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.known_runs import written_run
from benchmarks.process_memory import watched_processes
from benchmarks.slides import drawn_case
from pipeline.dataset.table import read_table
from registration.geometry import Box, Image, Size
from registration.pair import SlidePair
from registration.result import RECORD_NAME
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings, load_truth
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.transforms import Chain, DisplacementField
from registration.warp import warp_box

SIDE = 5120
BAND_ROWS = 256
FIELD_SPACING_PX = 60.0
"""As the default recipe's at 0.46 µm per pixel."""


@dataclass(frozen=True)
class Row:
    """One size of slide."""

    side_px: int
    pairs: int
    seconds: float
    tree_mib: float
    parent_mib: float
    largest_worker_mib: float


def repeated_run(case: SynthCase, times: int, folder: Path) -> Path:
    """Write the pair repeated ``times`` along both sides, and its registration."""
    run = folder / "run"
    if (run / RECORD_NAME).is_file():
        return run
    he, ihc, truth = open_slide(case.he), open_slide(case.ihc), load_truth(case.folder)
    size = Size(times * ihc.size.width, times * ihc.size.height)
    spec = NdpiSpec(size, ihc.mpp)
    folder.mkdir(parents=True, exist_ok=True)
    write_ndpi(folder / "ihc.ndpi", spec, _bands(ihc.read, ihc.size, times))
    moved = _bands(lambda box: warp_box(he, truth, box).image, ihc.size, times)
    write_ndpi(folder / "he.ndpi", spec, moved)
    shape = (int(size.height / FIELD_SPACING_PX) + 5, int(size.width / FIELD_SPACING_PX) + 5, 2)
    field = DisplacementField.from_nodes((-120.0, -120.0), FIELD_SPACING_PX, np.zeros(shape))
    pair = SlidePair(open_slide(folder / "he.ndpi"), open_slide(folder / "ihc.ndpi"))
    return written_run(pair, Chain((field,)), run, f"repeated {times}", mirrored=False)


def _bands(read: Callable[[Box], Image], size: Size, times: int) -> Iterator[Image]:
    """Yield bands of the repeated image, top to bottom."""
    for _ in range(times):
        for top in range(0, size.height, BAND_ROWS):
            yield np.tile(read(Box(0, top, size.width, BAND_ROWS)), (1, times, 1))


def measured(case: SynthCase, times: int, work: Path) -> Row:
    """Run the command on the pair repeated ``times``."""
    folder = work / f"repeated_{times}"
    run = repeated_run(case, times, folder)
    dataset = folder / "dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    words = ["patch", str(run), "--out", str(dataset), "--workers", "2"]
    words += ["--stride", str(1024 * times)]
    seconds, peaks = watched_processes(words, folder / "patch.log")
    kept = sum(row.kept for row in read_table(dataset))
    return Row(times * SIDE, kept, seconds, peaks.tree_mib, peaks.parent_mib, peaks.child_mib)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    case = drawn_case(work / "case", SynthSettings(size=SIDE, seed=5, picks=6), 2)
    rows = []
    print("side of the pair   pairs   seconds   peak PSS, MiB: tree   parent   largest worker")
    for times in given.repeats:
        row = measured(case, times, work)
        rows.append(asdict(row))
        print(
            f"{row.side_px:>13,} px{row.pairs:>8}{row.seconds:>10.0f}{row.tree_mib:>22.0f}"
            f"{row.parent_mib:>9.0f}{row.largest_worker_mib:>17.0f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
