"""The alignment filter on real pairs, for ``alignment_filter``: nobody knows their true shift.

What can be said is how often the filter keeps a pair, and how often the same images with partners
from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_pairs import SIX, pairs, spread
from pipeline.dataset.external import score
from pipeline.patches.alignment import null_percentiles
from pipeline.patches.case import select
from pipeline.patches.grades import GRADES, Grade
from pipeline.patches.grid import PatchGrid
from pipeline.patches.measurement import measure_case
from pipeline.patches.selection import Measured
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import RunSource
from registration.execution import Workers, no_progress
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.register import register_pair
from registration.result import RECORD_NAME, Registration
from registration.slides.slide import open_slide

PATCH_UM = 471.0
"""1,024 px at 0.46 µm."""

SCANNED_MPP = {"lung": 1.74, "rat": 3.24}
"""CIMA's microscopes (0.174 and 0.227 µm/px), at the 10 and 7 % to which these images are reduced."""


def landmark_rows(folder: Path | None, work: Path, pool: Workers) -> list[dict[str, Any]]:
    """Register each pair of CIMA's layout and pass its patches through the filter."""
    rows = []
    for name, he, ihc in pairs(folder) if folder else ():
        mpp = SCANNED_MPP[name.split("-")[0]]
        every = read_landmarks(he.with_suffix(".csv"), ihc.with_suffix(".csv"))
        run = work / "real" / name.replace(" ", "_")
        if not (run / RECORD_NAME).is_file():
            pair = SlidePair(open_slide(he, mpp), open_slide(ihc, mpp))
            options = RunOptions(every.take(spread(every, SIX)), image=None)
            register_pair(pair, run, None, options)
        registration = Registration.load(run)
        rows.append({"pair": name, **_filtered(registration, pool), **_missed(registration, every)})
        print(_text(rows[-1]), flush=True)
    return rows


def _filtered(registration: Registration, pool: Workers) -> dict[str, Any]:
    slide = registration.open_pair().fixed_slide
    settings = PatchSettings(
        size=round(PATCH_UM / slide.mpp), stride=round(PATCH_UM / slide.mpp / 2)
    )
    grid = PatchGrid.on(slide.size, slide.mpp, settings.size, settings.step, None)
    source = RunSource(registration.folder.resolve(), registration.key)
    figures = measure_case(source, grid, registration.folder, pool, no_progress)
    candidates = select(figures, grid, "he", settings)
    chosen = [item for item in candidates if item.null_percentile is not None]
    compared = [
        item
        for item, candidate in zip(figures.compared, candidates, strict=True)
        if item and candidate.null_percentile is not None
    ]
    shifts = [float(item.shift_um or 0) for item in chosen]
    ranks = [float(item.null_percentile or 0) for item in chosen]
    return {
        **kept_shares(shifts, ranks, settings),
        **{f"shuffled {k}": v for k, v in _shuffled(compared, settings).items()},
        **_counted([candidate.grade for candidate in chosen]),
    }


def _missed(registration: Registration, every: Landmarks) -> dict[str, float]:
    """Return how far off landmarks that a person clicked are."""
    fixed, moving = every.oriented("he")
    mpp = registration.open_pair().fixed_slide.mpp
    errors = np.hypot(*(registration.chain.inverse(moving) - fixed).T) * mpp
    return {"landmark error median um": round(float(np.median(errors)), 1)}


def _counted(grades: Sequence[Grade | None]) -> dict[str, int]:
    """Return how many patches have each grade."""
    return {grade: grades.count(grade) for grade in GRADES}


def _shuffled(compared: Sequence[Measured], settings: PatchSettings) -> dict[str, float]:
    """Return the same for pairs with a wrong partner: each patch's first stranger, judged by the rest."""
    usable = [item for item in compared if len(item.null) > 2]
    ranks = null_percentiles([item.null[0] for item in usable], [item.null[1:] for item in usable])
    beats = [rank is not None and rank >= settings.min_percentile for rank in ranks]
    return {"beat chance": round(float(np.mean(beats)), 3)} if beats else {}


def kept_shares(
    shifts: Sequence[float], ranks: Sequence[float], settings: PatchSettings
) -> dict[str, float]:
    """Return how many pairs match beyond chance, and how many are kept."""
    shift, rank = np.array(shifts), np.array(ranks)
    matched = rank >= settings.min_percentile
    return {
        "patches": len(shift),
        "beat chance": round(float(matched.mean()), 3),
        "kept": round(float((matched & (shift <= settings.max_shift_um)).mean()), 3),
        "shift median um": round(float(np.median(shift[matched])), 1) if matched.any() else -1.0,
    }


def patch_rows(folder: Path, pool: Workers) -> dict[str, Any]:
    """Measure a downloaded dataset's pairs, and the same images with the next pair's partner."""
    from training.data.pairs import open_dataset

    dataset = open_dataset(folder)
    found = list(dataset.pairs)
    wrong = [
        replace(pair, ihc=other.ihc)
        for pair, other in zip(found, [*found[1:], found[0]], strict=True)
    ]
    row: dict[str, Any] = {"pair": folder.name}
    for prefix, chosen in (("", found), ("shuffled ", wrong)):
        scores = score(chosen, dataset.mpp() or 0.46, pool, no_progress)
        shares = kept_shares(
            [item.shift_um for item in scores],
            [item.null_percentile or 0.0 for item in scores],
            PatchSettings(),
        )
        shares |= _counted([item.grade for item in scores])
        row |= {prefix + key: value for key, value in shares.items()}
    print(_text(row), flush=True)
    return row


def _text(row: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items())
