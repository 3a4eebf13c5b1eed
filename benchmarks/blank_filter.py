"""The blank filter against the truth that drew the slides: damaged sections of all HER2 levels.

    python -m benchmarks.blank_filter --work FOLDER [--size 4096] [--json FILE]

Three sets of slides, each of four pairs: those that the filter was developed on; those that showed,
when it seemed finished, that necrosis in a lumen was taken for blur; and held-out ones, on which
nothing was chosen. Slides with pen marks, bubbles, folds, tears, missing pieces and areas out of
focus are drawn once into FOLDER. A patch is worth having where at least half of it is whole tissue on
both images, by the truth masks (lumens and fat are no tissue); it is kept where the filter says so.
Precision and recall are those of kept patches, over all patches that show any tissue, the borderline
ones included; the same is printed for the tissue of single bins of 15 µm, away from borders by one
bin.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.known_runs import known_run
from benchmarks.slides import drawn_case
from pipeline.patches.blank.filter import ContentMap, content_map
from pipeline.patches.geometry import Surveyor
from pipeline.patches.grid import PatchGrid
from pipeline.patches.measurement import candidate_boxes
from pipeline.patches.settings import PatchSettings
from registration.execution import Workers, no_progress, workers
from registration.result import Registration
from registration.slides.slide import Slide
from registration.synth import DAMAGE_KINDS, Ground, SynthCase, SynthSettings
from registration.synth.case import MASK_DOWNSAMPLE
from registration.tissue import TissueMap

LEVELS = ("0", "1+", "2+", "3+")
SEEDS = {"development": 400, "seen once": 500, "held out": 600}
"""First seed of each set; its four slides have this and the next three."""
SPOILT = Ground.PEN | Ground.BUBBLE | Ground.FOLD | Ground.BLUR | Ground.TEAR | Ground.MISSING
BORDERLINE = 0.05


@dataclass(frozen=True)
class Score:
    """Agreement of a yes-or-no decision with the truth."""

    what: str
    count: int
    worth: float
    """Share that is worth having."""
    precision: float
    recall: float

    @classmethod
    def of(cls, what: str, kept: NDArray[np.bool_], worth: NDArray[np.bool_]) -> Score:
        """Compare decisions with the truth."""
        both = float((kept & worth).sum())
        return cls(
            what, len(kept), float(worth.mean()), both / max(kept.sum(), 1), both / worth.sum()
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """One slide: what the filter finds usable, and what is."""

    found: ContentMap
    true: ContentMap


def seen(case: SynthCase, slide: Slide, section: str, pool: Workers) -> Seen:
    """Return both maps of one slide."""
    found = content_map(slide, TissueMap.of(slide), pool, no_progress)
    mask = cv2.imread(str(case.truth_folder / f"mask_{section}.png"), cv2.IMREAD_UNCHANGED)
    good = (mask & Ground.TISSUE > 0) & (mask & (SPOILT | Ground.EMPTY) == 0)
    return Seen(found, ContentMap(good.astype(np.float32), float(MASK_DOWNSAMPLE)))


def patch_shares(registration: Registration, ihc: Seen, he: Seen, size: int) -> NDArray[np.float64]:
    """Return, per candidate, the smaller tissue share of both images: found and true, ``(N, 2)``."""
    slide = registration.open_pair().fixed_slide
    grid = PatchGrid.on(slide.size, slide.mpp, size, size // 2, None)
    boxes = [grid.level0(box) for box in candidate_boxes(grid, TissueMap.of(slide))]
    columns = []
    for fixed, moving in ((ihc.found, he.found), (ihc.true, he.true)):
        surveyor = Surveyor(registration, fixed, moving)
        measured = [surveyor.measure(box) for box in boxes]
        columns.append([min(item.fixed_tissue, item.moving_tissue) for item in measured])
    return np.array(columns).T


def bins(slide: Seen) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return found and true of all bins whose neighbours are like them."""
    true = slide.true.usable > 0
    height, width = (min(a, b) for a, b in zip(true.shape, slide.found.usable.shape, strict=True))
    true, found = true[:height, :width], slide.found.usable[:height, :width] > 0.5
    near = np.ones((3, 3), np.uint8)
    plain = cv2.dilate(true.astype(np.uint8), near) == cv2.erode(true.astype(np.uint8), near)
    return found[plain], true[plain]


def measured(cases: Sequence[SynthCase], work: Path, pool: Workers) -> list[Score]:
    """Return the scores of patches of two sizes and of bins."""
    limit = PatchSettings().min_tissue
    shares: dict[int, list[NDArray[np.float64]]] = {1024: [], 512: []}
    single: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    for case in cases:
        registration = Registration.load(known_run(case, work / "runs" / case.name))
        pair = registration.open_pair()
        ihc, he = seen(case, pair.ihc, "ihc", pool), seen(case, pair.he, "he", pool)
        single += [bins(ihc), bins(he)]
        for size, found in shares.items():
            found.append(patch_shares(registration, ihc, he, size))
    scores = []
    for size, parts in shares.items():
        found, true = np.concatenate(parts).T
        scores.append(Score.of(f"patches of {size} px", found >= limit, true >= limit))
        clear = np.abs(true - limit) > BORDERLINE
        name = f"  not within {BORDERLINE:g} of the limit"
        scores.append(Score.of(name, found[clear] >= limit, true[clear] >= limit))
    kept, worth = (np.concatenate(column) for column in zip(*single, strict=True))
    return [*scores, Score.of("bins of 15 um", kept, worth)]


def drawn(work: Path, first_seed: int, size: int) -> list[SynthCase]:
    """Return four damaged pairs, one of each HER2 level."""
    return [
        drawn_case(
            work / f"damaged{seed}",
            SynthSettings(size=size, seed=seed, her2=level, damage=DAMAGE_KINDS),
        )
        for seed, level in enumerate(LEVELS, first_seed)
    ]


def print_table(name: str, scores: Sequence[Score]) -> None:
    """Print the scores of one set."""
    print(f"{name:<32}{'count':>7}{'worth':>8}{'precision':>11}{'recall':>8}   (goal: 0.98 both)")
    for score in scores:
        print(
            f"{score.what:<32}{score.count:>7}{score.worth:>8.2f}{score.precision:>11.4f}"
            f"{score.recall:>8.4f}"
        )


def main() -> None:
    """Print the tables of all sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    found: dict[str, list[Score]] = {}
    with workers(2) as pool:
        for name, seed in SEEDS.items():
            found[name] = measured(drawn(work, seed, given.size), work, pool)
            print_table(name, found[name])
    if given.json:
        record = {name: [asdict(score) for score in scores] for name, scores in found.items()}
        given.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
