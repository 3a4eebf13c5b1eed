"""What a dataset holds and what was lost on the way to it: pure counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.dataset.table import UNNAMED_STAIN, PatchRow
from pipeline.naming import without_files
from pipeline.patches.record import CasePatches
from pipeline.scales import others_have, usual_scale
from pipeline.split import SPLITS, Split
from registration.files.her2 import HER2_LEVELS, Her2
from registration.patch_reasons import REASONS

REMAINING = (
    "candidates with tissue",
    "on one registered piece of tissue",
    "within both slides",
    "where the registration does not fold tissue",
    "enough tissue on H&E",
    "enough tissue on both",
    "more alike on both slides than by chance",
)
"""What is left before each of the tests in :data:`REASONS`."""

OUTLIER_SCORE = 3.5
FEWEST_FOR_OUTLIERS = 4
SMALLEST_ODD_DENSITY = 0.08
ODD_MPP = 1.05


@dataclass(frozen=True)
class DatasetCase:
    """One case as it enters a dataset."""

    name: str
    patient: str
    her2: Her2 | None = None
    split: Split | None = None
    """Given by a person; ``None`` leaves it to the draw."""
    key: str | None = None
    """Key of the case's patches, known before they are cut."""
    patches: CasePatches | None = None
    """``None`` for a case that was excluded."""
    excluded: str | None = None
    """Why."""
    stain: str = UNNAMED_STAIN
    """Of the IHC slide."""

    def without_names(self, patient: str) -> DatasetCase:
        """Return the case with another name for its patient and none for its files."""
        excluded = self.excluded and without_files(self.excluded)
        patches = self.patches and replace(self.patches, slides=self.patches.slides.without_names())
        return replace(self, patient=patient, excluded=excluded, patches=patches)


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """Positions that were still in the running, and how many of them the next test took out."""

    label: str
    left: int
    lost: int
    reason: str
    """Key of the test that follows; empty for the last step."""


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case in figures."""

    name: str
    patient: str
    her2: Her2 | None
    split: Split | None
    excluded: str | None
    verdict: str
    positions: int
    candidates: int
    kept: int
    lost: dict[str, int]
    shift_median_um: float | None
    shift_p90_um: float | None
    similarity_median: float | None
    he_mpp: float | None
    ihc_mpp: float | None


@dataclass(frozen=True)
class Summary:
    """The whole dataset in figures."""

    cases: tuple[CaseLine, ...]
    funnel: tuple[FunnelStep, ...]
    pairs: dict[tuple[Her2 | None, Split], int]
    """Kept pairs per HER2 level and split."""
    patients: dict[tuple[Her2 | None, Split], int]
    """Patients per level (their highest) and split, those without a kept pair left out."""
    slides: dict[Her2 | None, int]
    """Slide pairs with kept patches per HER2 level, as in the paper's Fig. 8."""

    @property
    def kept(self) -> int:
        """Pairs in the dataset."""
        return self.funnel[-1].left

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that hold pairs."""
        return tuple(s for s in SPLITS if any(split == s for _, split in self.pairs))

    @property
    def levels(self) -> tuple[Her2 | None, ...]:
        """HER2 levels that occur, ``None`` last."""
        known = {level for level, _ in self.pairs}
        return (*(level for level in HER2_LEVELS if level in known), *({None} & known))


def summarise(cases: Sequence[DatasetCase], rows: Sequence[PatchRow]) -> Summary:
    """Count everything."""
    kept = [row for row in rows if row.kept]
    by_case = {case.name: [row for row in rows if row.case == case.name] for case in cases}
    members = {(highest_level(row.patient, kept), row.split, row.patient) for row in kept}
    return Summary(
        cases=tuple(_line(case, by_case[case.name]) for case in cases),
        funnel=_funnel(cases, rows),
        pairs=dict(Counter((row.her2, row.split) for row in kept)),
        patients=dict(Counter((level, split) for level, split, _ in members)),
        slides=dict(Counter(level for level, _ in {(row.her2, row.case) for row in kept})),
    )


def highest_level(patient: str, rows: Sequence[PatchRow]) -> Her2 | None:
    """Return the highest HER2 level among a patient's rows, ``None`` where none is known."""
    levels = {row.her2 for row in rows if row.patient == patient}
    return max((level for level in levels if level), default=None)


def _funnel(cases: Sequence[DatasetCase], rows: Sequence[PatchRow]) -> tuple[FunnelStep, ...]:
    """Return the steps from all positions of the grids to the kept pairs."""
    positions = sum(case.patches.positions for case in cases if case.patches)
    left = len(rows)
    steps = [FunnelStep("positions on the slides", positions, positions - left, "bare glass")]
    lost = Counter(row.reason for row in rows)
    for label, reason in zip(REMAINING, REASONS, strict=True):
        steps.append(FunnelStep(label, left, lost[reason], reason))
        left -= lost[reason]
    return (*steps, FunnelStep("pairs kept", left, 0, ""))


def _line(case: DatasetCase, rows: Sequence[PatchRow]) -> CaseLine:
    kept = [row for row in rows if row.kept]
    shifts = [row.shift_um for row in kept if row.shift_um is not None]
    similarities = [row.similarity for row in kept if row.similarity is not None]
    slides = case.patches.slides if case.patches else None
    return CaseLine(
        name=case.name,
        patient=case.patient,
        her2=case.her2,
        split=rows[0].split if rows else None,
        excluded=case.excluded,
        verdict=(slides.review or slides.verdict) if slides else "",
        positions=case.patches.positions if case.patches else 0,
        candidates=len(rows),
        kept=len(kept),
        lost={reason: sum(row.reason == reason for row in rows) for reason in REASONS},
        shift_median_um=float(np.median(shifts)) if shifts else None,
        shift_p90_um=float(np.percentile(shifts, 90)) if shifts else None,
        similarity_median=float(np.median(similarities)) if similarities else None,
        he_mpp=slides.he_mpp if slides else None,
        ihc_mpp=slides.ihc_mpp if slides else None,
    )


def odd_ones(values: dict[str, tuple[float, ...]], smallest: float) -> dict[str, float]:
    """Return the names whose values stand out, with their largest robust score.

    The score is the distance from the median in units of 1.4826 times the median absolute
    deviation (Iglewicz and Hoaglin, 1993); differences below ``smallest`` never stand out.
    """
    if len(values) < FEWEST_FOR_OUTLIERS:
        return {}
    table = np.array(list(values.values()), np.float64)
    away = np.abs(table - np.median(table, axis=0))
    spread = np.maximum(1.4826 * np.median(away, axis=0), smallest / OUTLIER_SCORE)
    scores = (away / spread).max(axis=1)
    return {
        name: round(float(score), 1)
        for name, score in zip(values, scores, strict=True)
        if score > OUTLIER_SCORE
    }


def odd_mpp(cases: Sequence[CaseLine]) -> dict[str, str]:
    """Return the cases whose slides have another µm per pixel than most."""
    known = [mpp for case in cases for mpp in (case.he_mpp, case.ihc_mpp) if mpp]
    usual = usual_scale(known, ODD_MPP)
    odd: dict[str, str] = {}
    for case in cases:
        for stain, mpp in (("H&E", case.he_mpp), ("IHC", case.ihc_mpp)):
            if mpp and (usual is None or max(mpp / usual, usual / mpp) > ODD_MPP):
                odd[case.name] = f"{stain} {mpp:.4g} µm/px; {others_have(known, ODD_MPP)}"
    return odd
