"""Agreement of HER2 levels beyond chance: Cohen's and Fleiss' kappa, with resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from registration.files.her2 import HER2_LEVELS
from training.metrics.intervals import Interval, image_draws, percentiles

_LEVELS = len(HER2_LEVELS)


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


def kappa_bounds(resampled: NDArray[np.float64], units: int) -> tuple[float, float]:
    """Return the 95 % bounds of resampled kappas, NaN where none is defined or one patient is all."""
    defined = resampled[np.isfinite(resampled)]
    return percentiles(defined) if len(defined) and units > 1 else (float("nan"), float("nan"))


def kappa_interval(
    labels: Sequence[int], scores: Sequence[int], patients: Sequence[str | None]
) -> Interval:
    """Return the quadratically weighted kappa of levels 0 to 3, whole patients resampled.

    The mean is NaN where there are none, or chance alone explains all.
    """
    if not labels:
        return Interval(np.nan, np.nan, np.nan, images=0, units=0)
    labels_, scores_ = (np.array(levels, np.int64) for levels in (labels, scores))
    drawn, units = image_draws(patients)
    value = float(cohen_kappa(confusion(labels_, scores_), quadratic=True))
    low, high = kappa_bounds(cohen_kappa(confusion(labels_, scores_, drawn), quadratic=True), units)
    return Interval(value, low, high, images=len(labels), units=units)
