"""How often is the verdict right? ``python -m benchmarks.verdict --work FOLDER [--pairs N] [--json FILE]``.

Drawn pairs of every HER2 level, with and without damage, with ordinary and faint stain, are aligned by
the truth that drew them, spoiled by a known error: everything shifted or turned, smooth local errors,
one half or one corner moved, or the section of another specimen put in its place. A result is *good*
where 90 % of the tissue is within 5 µm of the truth, *bad* where it is not within 15 µm. The first 16
pairs chose the limits, all others are held out; those also show thin cores, small pieces, and sections
of which most nuclei changed. Measured maps are kept in FOLDER, so that another choice of limits measures
nothing again. With ``--sweep`` each limit is halved and doubled, and what that does to the verdicts of
all pairs is printed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.execution import InProcess
from registration.figures import Folding, Quality
from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_npz
from registration.geometry import Box, Image, Size
from registration.pair import SlidePair
from registration.quality import verdict
from registration.quality.quality import residual_summary
from registration.quality.residual import ResidualTask, measure_residual
from registration.quality.together import looked_again
from registration.quality.torn import torn
from registration.residual_map import ResidualMap
from registration.slides.slide import Slide, open_slide
from registration.synth import DAMAGE_KINDS, SynthSettings, render_pair
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, Projective, Transform

FIRST_SEED = 7000
SIZE = 2048
MPP = 0.92
GOOD_UM, BAD_UM = 5.0, 15.0
FAINT = 0.3
"""Share of its contrast with the glass that a faint slide keeps."""

NODE_UM = 60.0
CHOOSING = 16
"""So many pairs chose the limits."""

SMALL_PIECE = 1024


@dataclass(frozen=True)
class Drawn:
    """One drawn pair."""

    seed: int
    he: Slide
    ihc: Slide
    truth: Chain
    tissue: TissueMap
    faint: bool


@dataclass(frozen=True)
class Case:
    """One spoiled alignment."""

    name: str
    moving: Slide
    chain: Chain


@dataclass(frozen=True)
class Row:
    """What the verdict said of one spoiled alignment."""

    seed: int
    name: str
    p90_um: float
    verdict: str
    reasons: list[str]
    quality: Quality

    @property
    def good(self) -> bool:
        """Whether the alignment is one to keep."""
        return self.p90_um < GOOD_UM

    @property
    def bad(self) -> bool:
        """Whether it is one that must not pass."""
        return self.p90_um > BAD_UM


def settings_of(number: int) -> SynthSettings:
    """Return what pair ``number`` looks like: half of the pairs are damaged."""
    seed = FIRST_SEED + number
    rng = np.random.default_rng(seed)
    kinds = rng.choice(DAMAGE_KINDS, size=int(rng.integers(1, 3)), replace=False)
    later = number >= CHOOSING
    return SynthSettings(
        size=SMALL_PIECE if later and number % 8 == 7 else SIZE,
        outline="core" if later and number % 8 == 3 else "section",
        seed=seed,
        her2=HER2_LEVELS[number % 4],
        rotation_deg=float(rng.uniform(-6, 6)),
        damage=tuple(kinds.tolist()) if (number // 2) % 2 else (),
        mpp_he=MPP,
        mpp_ihc=MPP,
        changed_nuclei=(0.15, 0.3, 0.8 if later else 0.5)[number % 3],
    )


def drawn(folder: Path, number: int) -> Drawn:
    """Draw a pair, or open it again."""
    settings = settings_of(number)
    faint = number % 5 == 4
    paths = [folder / f"{settings.seed}_{side}.png" for side in ("he", "ihc")]
    if not all(path.exists() for path in paths):
        *images, _ = render_pair(settings)
        for path, image in zip(paths, images, strict=True):
            cv2.imwrite(str(path), (_faded(image) if faint else image)[..., ::-1])
    from registration.synth.deform import make_truth

    he, ihc = (open_slide(path, MPP) for path in paths)
    return Drawn(settings.seed, he, ihc, make_truth(settings), TissueMap.of(ihc), faint)


def _faded(image: Image) -> Image:
    """Return a slide of which the stain has nearly gone."""
    return np.asarray(245 - FAINT * (245 - image.astype(np.float32)), np.uint8)


def cases(pair: Drawn, other: Slide) -> Iterator[Case]:
    """Yield the truth of a pair, spoiled in many ways."""
    rng = np.random.default_rng(pair.seed)
    size = pair.ihc.size
    turn = float(rng.uniform(0, 2 * math.pi))
    way = np.array([math.cos(turn), math.sin(turn)]) / MPP
    for um in (0, 2, 4, 16, 25, 40, 100, 500):
        yield _spoiled(f"all {um} µm", pair, Projective.translation(*(um * way)))
    for degrees in (3, 10, 180):
        yield _spoiled(f"turned {degrees}°", pair, _turned(size, degrees))
    for um in (25, 60, 225):
        yield _spoiled(f"half {um} µm", pair, _step(size, um * way, 0.5))
    for um in (25, 60, 225):
        yield _spoiled(f"quarter {um} µm", pair, _step(size, um * way, 0.5, 0.5))
    for um in (4, 30, 80):
        yield _spoiled(f"local {um} µm", pair, _bumps(size, um, rng))
    yield Case("other specimen", other, pair.truth)
    turned = Chain((_turned(size, 90), *pair.truth.steps))
    yield Case("other specimen", other, turned)


def _spoiled(name: str, pair: Drawn, error: Transform) -> Case:
    return Case(name, pair.he, Chain((error, *pair.truth.steps)))


def _turned(size: Size, degrees: float) -> Projective:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    linear = np.array([[cos, -sin], [sin, cos]])
    center = np.array([size.width - 1, size.height - 1]) / 2
    return Projective.affine(np.column_stack([linear, center - linear @ center]))


def _grid(size: Size) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return spacing and level-0 columns and rows of the nodes of an error field."""
    spacing = NODE_UM / MPP
    xs, ys = (spacing * np.arange(-2, side / spacing + 3) for side in (size.width, size.height))
    return spacing, xs, ys


def _step(
    size: Size, shift: NDArray[np.float64], right: float, below: float = 0.0
) -> DisplacementField:
    """Move the part right of, and below, these shares of the slide."""
    spacing, xs, ys = _grid(size)
    inside = (ys[:, None] >= below * size.height) & (xs >= right * size.width)
    return DisplacementField.from_nodes((xs[0], ys[0]), spacing, inside[..., None] * shift)


def _bumps(size: Size, most_um: float, rng: np.random.Generator) -> DisplacementField:
    """Return smooth errors of up to ``most_um`` over hundreds of µm."""
    spacing, xs, ys = _grid(size)
    shape = (len(ys), len(xs))
    nodes = [cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 4.0) for _ in range(2)]
    field = np.stack(nodes, axis=-1)
    field *= most_um / MPP / np.hypot(field[..., 0], field[..., 1]).max()
    return DisplacementField.from_nodes((xs[0], ys[0]), spacing, field)


def measured(folder: Path, pair: Drawn, number: int, case: Case) -> tuple[ResidualMap, float]:
    """Return the residual shifts of a case, measured or kept, and the true p90 of its error."""
    path = folder / f"{pair.seed}_{number:02d}.npz"
    if not path.exists():
        box = Box.of(pair.ihc.size)
        task = ResidualTask(pair.ihc, case.moving, case.chain, box, pair.tissue)
        places = measure_residual(task)
        sides = SlidePair(case.moving, pair.ihc)
        write_npz(path, **looked_again(places, sides, case.chain, InProcess()).arrays())
    points = pair.tissue.points(2000)
    error = np.hypot(*(case.chain(points) - pair.truth(points)).T) * MPP
    other = case.moving is not pair.he
    return ResidualMap.read(path), math.inf if other else float(np.percentile(error, 90))


def run(folder: Path, count: int) -> list[Row]:
    """Judge every case of every pair."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    first = drawn(folder, 0)
    pair = first
    for number in range(count):
        following = drawn(folder, number + 1) if number + 1 < count else first
        for k, case in enumerate(cases(pair, following.he)):
            residual, p90 = measured(folder, pair, k, case)
            rows.append(row_of(pair, case, residual, p90))
        print(f"pair {pair.seed} done", flush=True)
        pair = following
    return rows


def row_of(pair: Drawn, case: Case, residual: ResidualMap, p90_um: float) -> Row:
    """Return the verdict on one case; an alignment by truth has no blocks and no seams."""
    points = pair.tissue.points()
    inside = Box.of(case.moving.size).contains(case.chain(points))
    quality = Quality(
        Folding(1.0, 1.0, 1.0, 1.0, 0.0),
        None,
        residual_summary(residual, pair.ihc.mpp),
        float(1 - inside.mean()),
        {},
        torn(Chain(case.chain.steps[:-1]), pair.ihc.size, pair.tissue, MPP),
    )
    word, reasons = verdict.verdict_of(quality, [], start_verified=True)
    name = case.name + (" faint" if pair.faint else "")
    return Row(pair.seed, name, p90_um, word, reasons, quality)


LIMITS = (
    "MOST_LOST",
    "MOST_LOST_TOGETHER",
    "MOST_LOST_UNVERIFIED",
    "MUCH_UNCONFIRMED",
    "MANY_UNCONFIRMED",
    "LARGE_RESIDUAL_UM",
    "MUCH_FILLED",
)


def sweep(rows: list[Row]) -> list[dict[str, Any]]:
    """Return what half, all and twice each limit of ``registration.quality.verdict`` makes of the cases."""
    found = []
    for name in LIMITS:
        chosen = getattr(verdict, name)
        for times in (0.5, 1.0, 2.0):
            setattr(verdict, name, times * chosen)
            words = [
                verdict.verdict_of(row.quality, [], name != "MOST_LOST_UNVERIFIED")[0]
                for row in rows
            ]
            judged = list(zip(rows, words, strict=True))
            found.append(
                {
                    "limit": name,
                    "value": times * chosen,
                    "false pass": sum(row.bad and word == "pass" for row, word in judged),
                    "false review": sum(row.good and word == "review" for row, word in judged),
                    "false fail": sum(row.good and word == "fail" for row, word in judged),
                    "bad that fail": sum(row.bad and word == "fail" for row, word in judged),
                }
            )
        setattr(verdict, name, chosen)
    return found


def tables(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return counts and rates for the pairs that chose the limits and for those held out."""
    found = {}
    for half, later in (("choosing", False), ("held out", True)):
        part = [row for row in rows if (row.seed >= FIRST_SEED + CHOOSING) == later]
        good = [row for row in part if row.good]
        bad = [row for row in part if row.bad]
        found[half] = {
            "runs": len(part),
            "good": len(good),
            "good, pass": sum(row.verdict == "pass" for row in good),
            "false review": sum(row.verdict == "review" for row in good),
            "false fail": sum(row.verdict == "fail" for row in good),
            "bad": len(bad),
            "false pass": sum(row.verdict == "pass" for row in bad),
            "bad, review": sum(row.verdict == "review" for row in bad),
            "bad, fail": sum(row.verdict == "fail" for row in bad),
        }
    return found


def main() -> None:
    """Print the tables, and every result that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = run(given.work, given.pairs)
    found = tables(rows)
    for row in rows:
        if (row.good and row.verdict != "pass") or (row.bad and row.verdict == "pass"):
            print(
                f"{row.seed} {row.name:24s} {row.p90_um:7.1f} µm {row.verdict}: {'; '.join(row.reasons)}"
            )
    for name in found["choosing"]:
        print(f"{name:14s} " + "  ".join(f"{half} {found[half][name]:5g}" for half in found))
    swept = sweep(rows) if given.sweep else []
    for line in swept:
        print("  ".join(f"{key} {value}" for key, value in line.items()))
    if given.json:
        given.json.write_text(json.dumps({**found, "sweep": swept}, indent=2) + "\n")


if __name__ == "__main__":
    main()
