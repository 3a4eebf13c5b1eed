"""Slides with several pieces: yield, accuracy, wrong matches, and what must not pass.

    python -m benchmarks.pieces --work FOLDER [--count 60] [--wrong 60] [--seed 1000] [--size 704]

Glasses are drawn with 1 to 6 sections or cores in any arrangement, a third with control tissue, a
third with a lost piece, a quarter turned over, HER2 0 to 3+. Pairs that must not pass are made of
them: another specimen, a piece in another's place, half a section moved by 50 to 500 µm, and
landmarks of one piece of three given wrongly.

*Yield* is the share of the tissue on both slides that ends in a piece that passes and lies within
:data:`GOOD_UM` of the truth. A match is *wrong* where most of a registered piece lies farther off
than :data:`WRONG_UM`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.errors import RegistrationError
from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_json
from registration.geometry import Box, Image, Points, axis_positions, mesh
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.pair import Pair
from registration.piece_map import piece_numbers
from registration.recipes import RegistrationSettings
from registration.register import RunOptions, register_pair
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
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.synth.rendering import macro_of
from registration.transforms import Chain

GOOD_UM = 5.0
WRONG_UM = 100.0
KINDS = ("other specimen", "swapped piece", "moved half", "wrong landmarks")
MOVED_UM = (50.0, 500.0)
GLASS_RGB = (243, 242, 245)


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
    named: bool | None = None
    """Whether the wrong piece is named, where there is one."""


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


def scored(case: SynthCase, he: Path, out: Path, options: RunOptions) -> tuple[Score, Any]:
    """Register one pair and compare it with the truth of the drawn case."""
    begun = time.perf_counter()
    settings = RegistrationSettings(rows=2, columns=2)
    try:
        with open_slide(he) as moving, open_slide(case.ihc) as fixed:
            found = register_pair(Pair(moving, fixed), out, settings, options)
    except RegistrationError as error:
        reasons = (str(error).splitlines()[0],)
        area = int(matchable(case).sum())
        seconds = time.perf_counter() - begun
        return Score(case.name, "refused", area, 0, 0, 0, (), seconds, reasons), None
    return compared(case, found, time.perf_counter() - begun), found


def matchable(case: SynthCase) -> NDArray[np.bool_]:
    """Return where the IHC slide shows tissue that the H&E slide shows too."""
    numbers = list(load_piece_truths(case.folder))
    return np.isin(piece_labels(case, "ihc"), numbers)


def piece_labels(case: SynthCase, section: str) -> NDArray[np.uint8]:
    """Return the number of the drawn piece at every pixel of the truth's mask."""
    path = case.truth_folder / f"pieces_{section}.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    return np.asarray(labels, np.uint8)


def compared(case: SynthCase, found: Registration, seconds: float) -> Score:
    """Score a finished registration."""
    labels, truths = piece_labels(case, "ihc"), load_piece_truths(case.folder)
    height, width = labels.shape
    points = mesh(*(axis_positions(0, side, MASK_DOWNSAMPLE) for side in (width, height)))
    drawn_piece = labels.ravel()
    error_um = errors(found.chain, truths, points, drawn_piece) * case.settings.mpp_he
    own = piece_numbers(found.chain, points)
    verdicts = {record.number: record.verdict for record in found.pieces} or {1: found.verdict}
    passes = np.isin(own, [number for number, verdict in verdicts.items() if verdict == "pass"])
    both = np.isin(drawn_piece, list(truths))
    exact = read_landmarks(case.truth, minimum=1)
    of_piece = nearest_label(labels, exact.ihc)
    tre = errors(found.chain, truths, exact.ihc, of_piece)
    wrong = 0
    for number in verdicts:
        inside = (own == number) & (drawn_piece > 0)
        if inside.any():
            wrong += bool(np.mean(~(error_um[inside] < WRONG_UM)) > 0.5)
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
    )


def errors(
    chain: Chain, truths: dict[int, Chain], points: Points, piece: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return how far a chain is off, in px; NaN where nothing is mapped or nothing is true."""
    mapped = chain(points)
    off = np.full(len(points), np.nan)
    for number, truth in truths.items():
        own = piece == number
        if own.any():
            off[own] = np.hypot(*(mapped[own] - truth(points[own])).T)
    return off


def nearest_label(labels: NDArray[np.uint8], points: Points) -> NDArray[np.integer]:
    """Return the drawn piece under level-0 points."""
    columns, rows = np.floor((points + 0.5) / MASK_DOWNSAMPLE).astype(int).T
    near = cv2.dilate(labels, np.ones((5, 5), np.uint8))
    return near[np.clip(rows, 0, labels.shape[0] - 1), np.clip(columns, 0, labels.shape[1] - 1)]


def spoiled(
    number: int, case: SynthCase, other: SynthCase, folder: Path
) -> tuple[str, Path, RunOptions, Points | None]:
    """Make a pair that must not pass: its kind, H&E slide, options, and where it is wrong."""
    kind = KINDS[number % len(KINDS)]
    rng = np.random.default_rng([case.settings.seed, 77])
    options = RunOptions(image=None)
    if kind == "other specimen":
        return kind, other.he, options, None
    pieces = [piece for piece in described(case) if piece["kind"] == "both"]
    victim = pieces[int(rng.integers(len(pieces)))]
    place = np.array(
        [[victim["ihc"][0] + victim["ihc"][2] / 2, victim["ihc"][1] + victim["ihc"][3] / 2]]
    )
    if kind == "wrong landmarks":
        return kind, case.he, replace(options, landmarks=misled(case, victim["number"])), place
    with open_slide(case.he) as slide:
        image = slide.read(Box.of(slide.size))
        size, mpp = slide.size, slide.mpp
    cell = Box(*victim["he"])
    if kind == "moved half":
        image = half_moved(image, cell, rng, mpp)
    else:
        donor = next(piece for piece in pieces if piece["number"] != victim["number"])
        image = pasted(image, cell, Box(*donor["he"]))
    path = folder / "spoiled_he.ndpi"
    write_ndpi(path, NdpiSpec(size, mpp), iter([image]), lambda small: macro_of(small, "H&E"))
    return kind, path, options, place


def described(case: SynthCase) -> list[dict[str, Any]]:
    """Return what the truth says of the pieces."""
    text = (case.truth_folder / "truth.json").read_text(encoding="utf-8")
    return list(json.loads(text)["pieces"])


def misled(case: SynthCase, number: int) -> Landmarks:
    """Return the picks of a case with those of one piece turned about their middle."""
    picks = read_landmarks(case.landmarks)
    own = nearest_label(piece_labels(case, "he"), picks.he) == number
    he = picks.he.copy()
    he[own] = 2 * he[own].mean(axis=0) - he[own]
    return replace(picks, he=he)


def half_moved(image: Image, cell: Box, rng: np.random.Generator, mpp: float) -> Image:
    """Cut the tissue of a cell in two and move one half away from the other."""
    turn = rng.uniform(0, 2 * np.pi)
    away = turn + rng.uniform(-1.2, 1.2)
    distance = np.exp(rng.uniform(*np.log(MOVED_UM))) / mpp
    part = image[cell.slices()]
    ys, xs = np.mgrid[: cell.height, : cell.width]
    side = (xs - cell.width / 2) * np.cos(turn) + (ys - cell.height / 2) * np.sin(turn) > 0
    glass = np.full_like(part, GLASS_RGB)
    kept = np.where(side[..., None], glass, part)
    half = np.where(side[..., None], part, glass)
    shift = np.array([[1, 0, distance * np.cos(away)], [0, 1, distance * np.sin(away)]])
    size = (cell.width, cell.height)
    moved = cv2.warpAffine(half, shift, size, borderValue=GLASS_RGB)
    result = image.copy()
    result[cell.slices()] = np.minimum(kept, moved)
    return result


def pasted(image: Image, cell: Box, donor: Box) -> Image:
    """Put another piece of the same slide in the place of one."""
    result = image.copy()
    result[cell.slices()] = GLASS_RGB
    width, height = min(cell.width, donor.width), min(cell.height, donor.height)
    x, y = donor.x + (donor.width - width) // 2, donor.y + (donor.height - height) // 2
    left, top = cell.x + (cell.width - width) // 2, cell.y + (cell.height - height) // 2
    result[top : top + height, left : left + width] = image[y : y + height, x : x + width]
    return result


def names_place(found: Registration, place: Points) -> bool:
    """Return whether the piece at a place of the fixed slide is said to be doubtful or left out."""
    if not found.pieces:
        return found.verdict != "pass"
    number = int(piece_numbers(found.chain, place)[0])
    return number == 0 or any(p.number == number and p.verdict != "pass" for p in found.pieces)


def right_pairs(options: argparse.Namespace) -> Iterator[Score]:
    """Draw and register the pairs that should pass."""
    for number in range(options.count):
        name = f"right{number:02d}"
        settings = drawn(number, options.seed, options.size, options.mpp)
        case = made(options.work / "slides" / name, settings)
        score, _ = scored(case, case.he, options.work / "runs" / name, RunOptions(image=None))
        yield score


def wrong_pairs(options: argparse.Namespace) -> Iterator[Score]:
    """Spoil drawn pairs of three pieces and register them."""
    previous = None
    for number in range(options.wrong):
        name = f"wrong{number:02d}"
        settings = drawn(number, options.seed + 1, options.size, options.mpp)
        settings = replace(settings, glass=GlassSettings(3, "same"))
        case = made(options.work / "slides" / name, settings)
        other = previous or made(
            options.work / "slides" / "other", replace(settings, seed=settings.seed + 1)
        )
        kind, he, run_options, place = spoiled(number, case, other, case.folder)
        score, found = scored(case, he, options.work / "runs" / name, run_options)
        named = None if place is None or found is None else names_place(found, place)
        yield replace(score, name=f"{name} {kind}", named=named)
        previous = case


def made(folder: Path, settings: SynthSettings) -> SynthCase:
    """Draw a case, or take up one that is there."""
    case = SynthCase(folder.name, settings, folder)
    return case if case.is_complete() else write_case(folder, settings)


def summary(right: list[Score], wrong: list[Score]) -> dict[str, Any]:
    """Return the figures that count."""
    tre = np.array([value for score in right for value in score.tre_px])
    area = sum(score.matchable_px for score in right)
    return {
        "slides": len(right),
        "yield": sum(score.good_px for score in right) / max(area, 1),
        "mapped": sum(score.mapped_px for score in right) / max(area, 1),
        "tre_median_px": float(np.median(tre)) if len(tre) else None,
        "tre_p90_px": float(np.percentile(tre, 90)) if len(tre) else None,
        "wrong_matches": sum(score.wrong_matches for score in (*right, *wrong)),
        "must_not_pass": len(wrong),
        "passed_wrongly": [score.name for score in wrong if score.verdict == "pass"],
        "named": sum(score.verdict == "refused" or score.named is True for score in wrong),
        "not_named": [score.name for score in wrong if score.named is False],
    }


def main() -> None:
    """Run both lists and print a line per pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--wrong", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--size", type=int, default=704)
    parser.add_argument("--mpp", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    lists: list[list[Score]] = []
    for pairs in (right_pairs(options), wrong_pairs(options)):
        lists.append([])
        for score in pairs:
            lists[-1].append(score)
            share = score.good_px / max(score.matchable_px, 1)
            print(
                f"{score.name:28} {score.verdict:8} yield {share:6.1%}  wrong {score.wrong_matches}"
                f"  {score.seconds:5.0f} s  {'; '.join(score.reasons)}",
                flush=True,
            )
    found = summary(*lists)
    for name, value in found.items():
        print(f"{name:16} {value}")
    if options.json:
        pairs = [asdict(replace(score, tre_px=())) for scores in lists for score in scores]
        write_json(options.json, {"summary": found, "pairs": pairs})


if __name__ == "__main__":
    main()
