"""Is the automatic start right, and does it know? ``python -m benchmarks.auto_start [--json FILE]``.

Synthetic pairs over all rotations, a quarter mirrored, a third damaged, a fifth at another µm/px. A
start is *right* when the median landmark error is under 1.5 % of the slide's side, which the coarse
pass mends. Beside each pair, alignments known to be wrong are put to the same check, and so is the
proposal for two sections of different specimens: none of them may be confirmed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from registration.geometry import Image, Points
from registration.slides.slide import Slide, open_slide
from registration.start.propose import propose_alignment, verify
from registration.synth import DAMAGE_KINDS, HER2_LEVELS, SynthSettings, render_pair, truth_pairs
from registration.transforms import Projective

RIGHT_SHARE = 0.015
FIRST_SEED = 5000


@dataclass(frozen=True)
class Row:
    """One pair."""

    seed: int
    rotation_deg: float
    mirrored: bool
    damage: str
    median_px: float
    p90_px: float
    right: bool
    verified: bool
    share: float
    seconds: float
    wrong_tried: int
    wrong_verified: int
    unrelated_verified: bool | None


def settings_of(number: int, count: int, size: int) -> SynthSettings:
    """Return what pair ``number`` of ``count`` looks like."""
    seed = FIRST_SEED + number
    random = np.random.default_rng(seed)
    damaged = number % 3 == 0
    kinds = random.choice(DAMAGE_KINDS, size=int(random.integers(1, 4)), replace=False)
    return SynthSettings(
        size=size,
        seed=seed,
        her2=HER2_LEVELS[number % 4],
        rotation_deg=(number + float(random.uniform(-0.4, 0.4))) * 360 / count,
        mirrored=number % 4 == 3,
        damage=tuple(kinds.tolist()) if damaged else (),
        mpp_ihc=0.5 if number % 5 == 4 else 0.46,
    )


def save(path: Path, image: Image, mpp: float) -> Slide:
    """Write an image and open it as a slide."""
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return open_slide(path, mpp=mpp)


def errors(transform: Projective, fixed: Points, moving: Points) -> np.ndarray:
    return np.hypot(*(transform(fixed) - moving).T)


def wrong_alignments(right: Projective, moving: Slide) -> list[Projective]:
    """Return turned, mirrored and shifted versions of the right alignment."""
    center = np.array([moving.size.width - 1, moving.size.height - 1]) / 2
    side = max(moving.size.width, moving.size.height)
    mirror = np.diag([-1.0, 1.0])
    changes = [_about(center, _turn(angle)) for angle in (15, 45, 90, 180, 270)]
    changes += [_about(center, mirror @ _turn(angle)) for angle in (0, 90, 180)]
    changes += [
        Projective.translation(side * dx, side * dy) for dx, dy in ((0.06, 0), (0.05, -0.1))
    ]
    return [change.after(right) for change in changes]


def _turn(degrees: float) -> np.ndarray:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def _about(center: np.ndarray, linear: np.ndarray) -> Projective:
    return Projective.affine(np.column_stack([linear, center - linear @ center]))


def measure(settings: SynthSettings, folder: Path, mismatched: Slide | None) -> tuple[Row, Slide]:
    """Propose and check a start for one pair; ``stranger`` is a section of another specimen."""
    he, ihc, _ = render_pair(settings)
    on_he, on_ihc = truth_pairs(settings)
    moving = save(folder / f"{settings.seed}_he.png", he, settings.mpp_he)
    fixed = save(folder / f"{settings.seed}_ihc.png", ihc, settings.mpp_ihc)
    begun = time.perf_counter()
    start = propose_alignment(fixed, moving)
    seconds = time.perf_counter() - begun
    error = errors(start.transform, on_ihc, on_he)
    side = max(moving.size.width, moving.size.height)
    truth = Projective.affine(
        np.linalg.lstsq(np.column_stack([on_ihc, np.ones(len(on_ihc))]), on_he, rcond=None)[0].T
    )
    wrong = [verify(fixed, moving, one).verified for one in wrong_alignments(truth, moving)]
    row = Row(
        seed=settings.seed,
        rotation_deg=round(settings.rotation_deg or 0.0, 1),
        mirrored=settings.mirrored,
        damage="+".join(settings.damage) or "-",
        median_px=float(np.median(error)),
        p90_px=float(np.percentile(error, 90)),
        right=bool(np.median(error) < RIGHT_SHARE * side),
        verified=start.verified,
        share=start.evidence["share"],
        seconds=seconds,
        wrong_tried=len(wrong),
        wrong_verified=sum(wrong),
        unrelated_verified=None
        if mismatched is None
        else propose_alignment(fixed, mismatched).verified,
    )
    return row, moving


def summary(rows: list[Row]) -> dict[str, float]:
    return {
        "pairs": len(rows),
        "right": sum(row.right for row in rows),
        "right_and_verified": sum(row.right and row.verified for row in rows),
        "wrong_but_verified": sum(row.verified and not row.right for row in rows),
        "known_wrong_tried": sum(row.wrong_tried for row in rows),
        "known_wrong_verified": sum(row.wrong_verified for row in rows),
        "unrelated_tried": sum(row.unrelated_verified is not None for row in rows),
        "unrelated_verified": sum(bool(row.unrelated_verified) for row in rows),
        "median_px": float(np.median([row.median_px for row in rows])),
        "median_seconds": float(np.median([row.seconds for row in rows])),
    }


def show(row: Row) -> str:
    verdict = ("right" if row.right else "WRONG") + (" verified" if row.verified else " unverified")
    return (
        f"{row.seed:6d} {row.rotation_deg:6.1f} {'mirrored' if row.mirrored else '':8s} "
        f"{row.damage:22s} {row.median_px:8.1f} {row.p90_px:8.1f} {row.share:6.2f} "
        f"{row.seconds:5.1f}  {verdict:16s} {row.wrong_verified}/{row.wrong_tried} "
        f"{'' if row.unrelated_verified is None else row.unrelated_verified}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    mismatched: Slide | None = None
    print(
        "  seed  angle mirrored damage                   median      p90  share     s  "
        "start            wrong alignments confirmed, unrelated confirmed"
    )
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.pairs):
            settings = settings_of(number, options.pairs, options.size)
            row, mismatched = measure(settings, Path(folder), mismatched)
            rows.append(row)
            print(show(row), flush=True)
    result = summary(rows)
    print("\n".join(f"{name:22s} {value:g}" for name, value in result.items()))
    if options.json:
        options.json.write_text(
            json.dumps({"summary": result, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
        )
    if (
        result["wrong_but_verified"]
        or result["known_wrong_verified"]
        or result["unrelated_verified"]
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
