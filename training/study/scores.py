"""Agreement of readers with the truth and with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from registration.files.her2 import HER2_LEVELS
from training.metrics.agreement import cohen_kappa, confusion, fleiss_kappa, kappa_bounds
from training.metrics.intervals import CONFIDENCE, image_draws
from training.study.create import GENERATED, REAL, StudyImage
from training.study.sheets import Sheet, Study

_LEVELS = len(HER2_LEVELS)


@dataclass(frozen=True, slots=True)
class Share:
    """``right`` of ``count``, with the exact (Clopper-Pearson) 95 % interval of the share."""

    right: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, NaN of nothing."""
        return self.right / self.count if self.count else float("nan")


@dataclass(frozen=True)
class ReaderScores:
    """How one reader did.

    ``generated`` is the paper's Table 5: generated images that got the HER2 level of their real
    image, as the dataset states it. ``real`` is the same of the real images: what the reader and
    the patches allow. ``same_as_real`` counts pairs whose two images got the same score from this
    reader, whatever the dataset says. ``confusion[kind]`` counts scores, ``(4, 4)``, rows being the
    dataset's levels.
    """

    reader: str
    generated: Share
    real: Share
    same_as_real: Share
    confusion: dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Kappa:
    """Chance-corrected agreement of readers on ``kind`` images, with a bootstrap interval."""

    readers: tuple[str, ...]
    kind: str
    method: Literal["Cohen", "Cohen, quadratic weights", "Fleiss"]
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """Everything that the sheets of a study say."""

    readers: tuple[ReaderScores, ...]
    kappas: tuple[Kappa, ...]


def score_study(study: Study, sheets: Sequence[Sheet]) -> Agreement:
    """Compare complete sheets with the key, and with each other."""
    readers = tuple(_reader_scores(study, sheet) for sheet in sheets)
    kappas: list[Kappa] = []
    for kind in (GENERATED, REAL):
        entries = [entry for entry in study.key if entry.kind == kind]
        patients = [entry.patient for entry in entries]
        table = np.array([[sheet.scores[e.image] for e in entries] for sheet in sheets])
        drawn, units = image_draws(patients)
        names = [sheet.reader for sheet in sheets]
        for a, b in combinations(range(len(sheets)), 2):
            pair = (names[a], names[b])
            weighted = confusion(table[a], table[b], drawn)
            whole = confusion(table[a], table[b])
            for method, quadratic in (("Cohen", False), ("Cohen, quadratic weights", True)):
                value = float(cohen_kappa(whole, quadratic=quadratic))
                bounds = kappa_bounds(cohen_kappa(weighted, quadratic=quadratic), units)
                kappas.append(Kappa(pair, kind, method, value, *bounds))  # type: ignore[arg-type]
        if len(sheets) > 2:
            counts = np.stack([(table == level).sum(axis=0) for level in range(_LEVELS)], axis=1)
            value = float(fleiss_kappa(counts))
            bounds = kappa_bounds(fleiss_kappa(counts, drawn), units)
            kappas.append(Kappa(tuple(names), kind, "Fleiss", value, *bounds))
    return Agreement(readers, tuple(kappas))


def share(right: int, count: int) -> Share:
    """Return a share with its exact interval (Clopper and Pearson, Biometrika 1934)."""
    if not count:
        return Share(0, 0, float("nan"), float("nan"))
    interval = binomtest(right, count).proportion_ci(CONFIDENCE, method="exact")
    return Share(right, count, float(interval.low), float(interval.high))


def _reader_scores(study: Study, sheet: Sheet) -> ReaderScores:
    """Compare one sheet with the key."""
    by_pair: dict[str, dict[str, StudyImage]] = {}
    for entry in study.key:
        by_pair.setdefault(entry.pair, {})[entry.kind] = entry
    same = sum(
        sheet.scores[both[REAL].image] == sheet.scores[both[GENERATED].image]
        for both in by_pair.values()
    )
    tables = {kind: _against_labels(study, sheet, kind) for kind in (GENERATED, REAL)}
    right = {kind: share(int(np.trace(t)), int(t.sum())) for kind, t in tables.items()}
    return ReaderScores(
        sheet.reader, right[GENERATED], right[REAL], share(same, len(by_pair)), tables
    )


def _against_labels(study: Study, sheet: Sheet, kind: str) -> NDArray[np.int64]:
    """Count a reader's scores by the dataset's level; images without one are left out."""
    known = [e for e in study.key if e.kind == kind and e.her2 in HER2_LEVELS]
    labels = np.array([HER2_LEVELS.index(str(e.her2)) for e in known], np.int64)
    scores = np.array([sheet.scores[e.image] for e in known], np.int64)
    return confusion(labels, scores).astype(np.int64)
