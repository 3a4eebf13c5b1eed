"""Slides with several pieces: yield, accuracy, wrong matches, and what must not pass.

    python -m benchmarks.pieces --work FOLDER [--count 60] [--wrong 60] [--siblings 0] [--seed 1000]

Glasses are drawn with 1 to 6 sections or cores in any arrangement, a third with control tissue, a
third with a lost piece, a quarter turned over, HER2 0 to 3+. Pairs that must not pass are made of
them: another specimen, a piece in another's place, half a section moved by 50 to 500 µm, and
landmarks of one piece of three given wrongly; ``--siblings`` adds other ways to spoil a pair, some of
which may pass where what was moved is found, or what was lost is left out.

*Yield* is the share of the tissue on both slides that ends in a piece that passes and lies within
:data:`GOOD_UM` of the truth. A match is *wrong* where most of a registered piece lies farther off
than :data:`WRONG_UM`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pieces_wrong import (
    KINDS,
    SIBLINGS,
    Spoiled,
    nearest_label,
    piece_labels,
    spoiled,
)
from registration.errors import RegistrationError
from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_json
from registration.geometry import axis_positions, mesh
from registration.landmarks.landmarks import read_landmarks
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.piece_map import piece_numbers
from registration.recipes import RegistrationSettings
from registration.register import register_pair
from registration.result import Registration
from registration.slides.slide import open_slide
from registration.synth import (
    GlassSettings,
    SynthCase,
    SynthSettings,
    load_piece_truths,
    write_case,
)
from registration.synth.case import MASK_DOWNSAMPLE

GOOD_UM = 5.0
WRONG_UM = 100.0
OFF_UM = 25.0
MENDED_SHARE = 0.1
"""Along a cut, tissue of so small a section lies anywhere: this share of a piece may be off."""


@dataclass(frozen=True)
class Score:
    """What became of one pair of slides."""

    name: str
    verdict: str
    matchable_px: int
    """Pixels of the truth's mask with tissue on both slides."""
    good_px: int
    """Of these, those in a piece that passes and lies well."""
    mapped_px: int
    wrong_matches: int
    tre_px: tuple[float, ...]
    seconds: float
    reasons: tuple[str, ...]
    off_share: float = 0.0
    """Share of the tissue that lies in a piece that passes, and wrong there."""
    named: bool | None = None
    """Whether the wrong piece is doubted, left out or mended, where there is one."""


def drawn(number: int, seed: int, size: int, mpp: float) -> SynthSettings:
    """Return the settings of one glass of the benchmark."""
    rng = np.random.default_rng([seed, number])
    return SynthSettings(
        size=size,
        seed=int(rng.integers(2**31)),
        her2=HER2_LEVELS[number % len(HER2_LEVELS)],
        mirrored=number % 4 == 3,
        mpp_he=mpp,
        mpp_ihc=mpp,
        outline="core" if number % 2 else "section",
        truth_points=200,
        glass=GlassSettings(
            pieces=1 + number % 6,
            arrangement="permuted" if rng.random() < 0.5 else "same",
            control=bool(rng.random() < 1 / 3),
            lost=bool(rng.random() < 1 / 3),
        ),
    )


def scored(case: SynthCase, truth: Spoiled, out: Path) -> Score:
    """Register one pair and compare it with what is true of it."""
    begun = time.perf_counter()
    settings = RegistrationSettings(rows=2, columns=2)
    options = RunOptions(truth.landmarks, image=None)
    try:
        with open_slide(truth.he) as moving, open_slide(truth.ihc) as fixed:
            found = register_pair(SlidePair(moving, fixed), out, settings, options)
    except RegistrationError as error:
        reasons = (str(error).splitlines()[0],)
        area = int(matchable(truth).sum())
        seconds = time.perf_counter() - begun
        return Score(case.name, "refused", area, 0, 0, 0, (), seconds, reasons)
    return compared(case, truth, found, time.perf_counter() - begun)


def matchable(truth: Spoiled) -> NDArray[np.bool_]:
    """Return where the IHC slide shows tissue that the H&E slide shows too."""
    return np.isin(truth.labels, list(truth.truths))


def compared(case: SynthCase, truth: Spoiled, found: Registration, seconds: float) -> Score:
    """Score a finished registration."""
    height, width = truth.labels.shape
    points = mesh(*(axis_positions(0, side, MASK_DOWNSAMPLE) for side in (width, height)))
    drawn_piece = truth.labels.ravel()
    error_um = truth.errors(found.chain(points), points, drawn_piece) * case.settings.mpp_he
    own = piece_numbers(found.chain, points)
    verdicts = {record.number: record.verdict for record in found.pieces} or {1: found.verdict}
    passes = np.isin(own, [number for number, verdict in verdicts.items() if verdict == "pass"])
    both = matchable(truth).ravel()
    tissue = drawn_piece > 0
    exact = read_landmarks(case.truth, minimum=1)
    tre = truth.errors(found.chain(exact.ihc), exact.ihc, nearest_label(truth.labels, exact.ihc))
    wrong = sum(
        bool(np.mean(error_um[inside] >= WRONG_UM) > 0.5)
        for number, verdict in verdicts.items()
        if verdict is not None and (inside := (own == number) & tissue).any()
    )
    wrongly = tissue & passes & (error_um > OFF_UM)
    return Score(
        case.name,
        found.verdict,
        int(both.sum()),
        int((both & passes & (error_um < GOOD_UM)).sum()),
        int((both & (own > 0)).sum()),
        wrong,
        tuple(float(value) for value in tre[np.isfinite(tre)]),
        seconds,
        found.reasons,
        float(wrongly.sum() / max(tissue.sum(), 1)),
        named(truth, passes & tissue, wrongly),
    )


def named(truth: Spoiled, passes: NDArray[np.bool_], wrongly: NDArray[np.bool_]) -> bool | None:
    """Return whether the wrong pieces are left out or doubted, or what is wrong of them was mended."""
    if not truth.victims:
        return None
    drawn_piece = truth.labels.ravel()
    verdicts = []
    for number in truth.victims:
        own = drawn_piece == number
        mended = wrongly[own].sum() <= MENDED_SHARE * own.sum()
        verdicts.append(bool(mended or passes[own].sum() < own.sum() / 2))
    return all(verdicts)


def right_pair(number: int, options: argparse.Namespace) -> Score:
    """Draw and register a pair that should pass."""
    name = f"right{number:02d}"
    settings = drawn(number, options.seed, options.size, options.mpp)
    case = made(options.work / "slides" / name, settings)
    truths, labels = load_piece_truths(case.folder), piece_labels(case, "ihc")
    truth = Spoiled("", case.he, case.ihc, truths, labels)
    return scored(case, truth, options.work / "runs" / name)


def wrong_pair(number: int, options: argparse.Namespace, kinds: tuple[str, ...] = KINDS) -> Score:
    """Spoil a drawn pair of three pieces and register it."""
    name = f"wrong{number:02d}"
    settings = drawn(number, options.seed + 1, options.size, options.mpp)
    settings = replace(settings, glass=GlassSettings(3, "same"))
    case = made(options.work / "slides" / name, settings)
    kind = kinds[number % len(kinds)]
    other = case
    if kind == "other specimen":
        folder = options.work / "slides" / f"other{number:02d}"
        other = made(folder, replace(settings, seed=settings.seed + 1))
    truth = spoiled(kind, number, case, other)
    run = options.work / "runs" / f"{name} {kind}"
    return replace(scored(case, truth, run), name=run.name)


def sibling_pair(number: int, options: argparse.Namespace) -> Score:
    """Spoil a drawn pair in a way that the list of 60 does not have."""
    return wrong_pair(number, options, SIBLINGS)


def made(folder: Path, settings: SynthSettings) -> SynthCase:
    """Draw a case, or take up one that is there."""
    case = SynthCase(folder.name, settings, folder)
    return case if case.is_complete() else write_case(folder, settings)


def summary(right: list[Score], wrong: list[Score]) -> dict[str, Any]:
    """Return the figures that count."""
    tre = np.array([value for score in right for value in score.tre_px])
    area = max(sum(score.matchable_px for score in right), 1)
    passed = [score for score in wrong if score.verdict == "pass"]
    return {
        "slides": len(right),
        "yield": sum(score.good_px for score in right) / area,
        "mapped": sum(score.mapped_px for score in right) / area,
        "tre_median_px": float(np.median(tre)) if len(tre) else None,
        "tre_p90_px": float(np.percentile(tre, 90)) if len(tre) else None,
        "wrong_matches": sum(score.wrong_matches for score in right),
        "must_not_pass": len(wrong),
        "passed": [score.name for score in passed],
        "of_them_wrong": [score.name for score in passed if score.named is False],
        "named": sum(score.verdict == "refused" or score.named is True for score in wrong),
        "not_named": [score.name for score in wrong if score.named is False],
    }


def measured(
    work: Callable[[int, argparse.Namespace], Score], count: int, options: argparse.Namespace
) -> list[Score]:
    """Work through one list, a line for each pair."""
    scores = []
    with multiprocessing.get_context("spawn").Pool(options.jobs, cv2.setNumThreads, (1,)) as pool:
        for score in pool.imap(partial(work, options=options), range(count)):
            scores.append(score)
            share = score.good_px / max(score.matchable_px, 1)
            print(
                f"{score.name:28} {score.verdict:8} yield {share:6.1%}  wrong {score.wrong_matches}"
                f"  {score.off_share:5.1%} off  {score.seconds:5.0f} s  {'; '.join(score.reasons)}",
                flush=True,
            )
    return scores


def main() -> None:
    """Run both lists and print a line per pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--wrong", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--size", type=int, default=704)
    parser.add_argument("--mpp", type=float, default=2.0)
    parser.add_argument("--siblings", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    right = measured(right_pair, options.count, options)
    wrong = measured(wrong_pair, options.wrong, options)
    wrong += measured(sibling_pair, options.siblings, options)
    found = summary(right, wrong)
    for name, value in found.items():
        print(f"{name:16} {value}")
    if options.json:
        pairs = [asdict(replace(score, tre_px=())) for score in (*right, *wrong)]
        write_json(options.json, {"summary": found, "pairs": pairs})


if __name__ == "__main__":
    main()
