"""Agreement of readers with the truth and with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from registration.files.her2 import HER2_LEVELS
from training.metrics.intervals import CONFIDENCE, image_draws, percentiles
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
                bounds = _bounds(cohen_kappa(weighted, quadratic=quadratic), units)
                kappas.append(Kappa(pair, kind, method, value, *bounds))  # type: ignore[arg-type]
        if len(sheets) > 2:
            counts = np.stack([(table == level).sum(axis=0) for level in range(_LEVELS)], axis=1)
            value = float(fleiss_kappa(counts))
            bounds = _bounds(fleiss_kappa(counts, drawn), units)
            kappas.append(Kappa(tuple(names), kind, "Fleiss", value, *bounds))
    return Agreement(readers, tuple(kappas))


def share(right: int, count: int) -> Share:
    """Return a share with its exact interval (Clopper and Pearson, Biometrika 1934)."""
    if not count:
        return Share(0, 0, float("nan"), float("nan"))
    interval = binomtest(right, count).proportion_ci(CONFIDENCE, method="exact")
    return Share(right, count, float(interval.low), float(interval.high))


def confusion(
    a: NDArray[np.int64], b: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Count pairs of scores 0 to 3, ``(4, 4)``; of weighted images ``(R, N)``: ``(R, 4, 4)``."""
    cells = np.eye(_LEVELS**2)[a * _LEVELS + b]
    counts = cells.sum(axis=0) if weights is None else weights @ cells
    return np.asarray(counts.reshape(*counts.shape[:-1], _LEVELS, _LEVELS), np.float64)


def cohen_kappa(table: NDArray[np.float64], *, quadratic: bool) -> NDArray[np.float64]:
    """Return Cohen's kappa of ``(..., k, k)`` tables; NaN where chance alone explains all.

    Cohen, 1960; with quadratic weights (Cohen, 1968) a disagreement counts with the square of the
    distance between the two levels.
    """
    levels = np.arange(table.shape[-1])
    apart = np.abs(levels[:, None] - levels).astype(np.float64)
    cost = apart**2 if quadratic else (apart > 0).astype(np.float64)
    share_ = table / table.sum(axis=(-2, -1), keepdims=True)
    expected = share_.sum(axis=-1)[..., :, None] * share_.sum(axis=-2)[..., None, :]
    return _kappa((cost * share_).sum(axis=(-2, -1)), (cost * expected).sum(axis=(-2, -1)))


def fleiss_kappa(
    counts: ArrayLike, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return Fleiss' kappa of ``(images, levels)`` counts of readers (Fleiss, 1971).

    With ``weights`` ``(R, images)`` it is that of each resample, ``(R,)``.
    """
    table = np.asarray(counts, np.float64)
    weights = np.ones((1, len(table))) if weights is None else weights
    readers = table[0].sum()
    agreement = ((table**2).sum(axis=1) - readers) / (readers * (readers - 1))
    observed = weights @ agreement / weights.sum(axis=1)
    shares = (weights @ table) / (weights.sum(axis=1, keepdims=True) * readers)
    return np.squeeze(_kappa(1 - observed, 1 - (shares**2).sum(axis=1)))


def _kappa(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one minus the ratio of observed to expected disagreement, NaN where none is expected."""
    possible = expected > 1e-12
    ratio = np.divide(observed, expected, where=possible, out=np.full_like(expected, np.nan))
    return np.asarray(1 - ratio)


def _bounds(resampled: NDArray[np.float64], units: int) -> tuple[float, float]:
    """Return the 95 % bounds of resampled kappas, NaN where none is defined or one patient is all."""
    defined = resampled[np.isfinite(resampled)]
    return percentiles(defined) if len(defined) and units > 1 else (float("nan"), float("nan"))


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
