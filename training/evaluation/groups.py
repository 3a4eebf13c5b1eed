"""Slides and patients, each scored from what was counted of all its images together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from registration.files.her2 import HER2_LEVELS
from training.data.pairs import PatchPair
from training.evaluation.scoring import Evaluation
from training.metrics.pathology import PathologyCounts

Kind = Literal["slide", "patient"]
KINDS: tuple[Kind, ...] = ("slide", "patient")
MEDIANS = ("dab_hausdorff", "dab_hausdorff95", "nuclei_offset")
"""Distances do not add up: of these a group has the median of its images."""


@dataclass(frozen=True)
class GroupRow:
    """One slide or patient, as one candidate shows it."""

    kind: Kind
    name: str
    her2: str | None
    candidate: str
    images: int
    counts: PathologyCounts
    medians: dict[str, float]

    @property
    def level(self) -> str:
        """The HER2 level that the stain of all images together gives."""
        return HER2_LEVELS[self.counts.level]

    def values(self) -> dict[str, float]:
        """Return its metrics by name."""
        counts = self.counts
        return {
            "h_score": counts.h_score,
            "positive": counts.positive,
            "dab_iou": counts.iou,
            "nuclei_kept": counts.kept,
            "nuclei_invented": counts.invented,
            **self.medians,
        }


def group_rows(evaluation: Evaluation) -> Iterator[GroupRow]:
    """Yield the slides, then the patients, of every candidate; nothing where they are unknown."""
    for kind in KINDS:
        for name, members in _groups(evaluation.pairs, kind).items():
            levels = {evaluation.pairs[n].her2 for n in members}
            her2 = levels.pop() if len(levels) == 1 else None
            for key, counted in evaluation.counts.items():
                counts = sum((counted[n] for n in members), PathologyCounts())
                medians = {
                    metric: _median(evaluation.values[key][metric][members])
                    for metric in MEDIANS
                    if metric in evaluation.values[key]
                }
                yield GroupRow(kind, name, her2, key, len(members), counts, medians)


def _groups(pairs: tuple[PatchPair, ...], kind: Kind) -> dict[str, list[int]]:
    """Return the numbers of the images of each slide or patient that is known."""
    groups: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        name = pair.slide if kind == "slide" else pair.patient
        if name is not None:
            groups.setdefault(name, []).append(number)
    return groups


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
