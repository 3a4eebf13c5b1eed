"""What the scores of single images amount to: means, differences and agreement, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from registration.files.her2 import HER2_LEVELS
from training.data.pairs import PatchPair
from training.evaluation.measures import Metric
from training.metrics.agreement import kappa_interval
from training.metrics.features import fid, kid
from training.metrics.intervals import (
    Interval,
    image_draws,
    mean_interval,
    percentiles,
    resampled_by_patient,
)
from training.metrics.pathology import PathologyCounts

MODEL = "model"
REAL = "real"
ALL_LEVELS = "all"

Values = dict[str, dict[str, NDArray[np.float64]]]
"""``values[candidate][metric]``, ``(images,)``."""


def her2_levels(pairs: Sequence[PatchPair]) -> tuple[str, ...]:
    """Return the HER2 levels of the pairs, 0 to 3+ first; empty where none is known."""
    found = {pair.her2 for pair in pairs if pair.her2 is not None}
    return (*(level for level in HER2_LEVELS if level in found), *sorted(found - {*HER2_LEVELS}))


def agreement_intervals(
    pairs: Sequence[PatchPair], counts: dict[str, tuple[PathologyCounts, ...]]
) -> dict[tuple[str, str, str], Interval]:
    """Return the agreement of every candidate's levels with the labels, of images and of patients."""
    known = [n for n, pair in enumerate(pairs) if pair.her2 in HER2_LEVELS]
    patients = [pairs[n].patient for n in known]
    labels = [HER2_LEVELS.index(str(pairs[n].her2)) for n in known]
    found = {}
    for key, counted in counts.items():
        own = [counted[n] for n in known]
        levels = [count.level for count in own]
        found[key, ALL_LEVELS, "her2_kappa"] = kappa_interval(labels, levels, patients)
        if not resampled_by_patient(patients):
            continue
        together: dict[tuple[str | None, int], PathologyCounts] = {}
        for patient, label, count in zip(patients, labels, own, strict=True):
            together[patient, label] = together.get((patient, label), PathologyCounts()) + count
        found[key, ALL_LEVELS, "her2_kappa_patients"] = kappa_interval(
            [label for _, label in together],
            [count.level for count in together.values()],
            [patient for patient, _ in together],
        )
    return found


def undefined_intervals(
    pairs: Sequence[PatchPair], candidates: Sequence[str], metrics: Sequence[Metric]
) -> dict[tuple[str, str, str], Interval]:
    """Return an interval without a value for whatever is not measured of some candidate or level."""
    nothing = Interval(np.nan, np.nan, np.nan, images=0, units=0)
    return {
        (key, level, metric.key): nothing
        for key in candidates
        for level in _members(pairs)
        for metric in metrics
    }


def mean_intervals(
    pairs: Sequence[PatchPair], values: Values
) -> dict[tuple[str, str, str], Interval]:
    """Return the mean of every metric of every candidate, overall and per HER2 level."""
    patients = [pair.patient for pair in pairs]
    found = {}
    for level, chosen in _members(pairs).items():
        for key, metrics in values.items():
            for name, scores in metrics.items():
                found[key, level, name] = mean_interval(
                    scores[chosen], [patients[index] for index in chosen]
                )
    return found


def differences(pairs: Sequence[PatchPair], values: Values) -> dict[tuple[str, str], Interval]:
    """Return the model minus each control, paired by image; empty without a model."""
    patients = [pair.patient for pair in pairs]
    return {
        (key, name): mean_interval(_minus(values[MODEL][name], scores), patients)
        for key, metrics in values.items()
        if MODEL in values and key != MODEL
        for name, scores in metrics.items()
    }


def _minus(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``a - b``, 0 where both are the same infinity (two identical images)."""
    same = a == b
    return np.where(same, 0.0, np.subtract(a, b, where=~same, out=np.zeros_like(a)))


def set_intervals(
    pairs: Sequence[PatchPair], features: dict[str, Tensor]
) -> dict[tuple[str, str, str], Interval]:
    """Return FID and KID of every candidate, overall and per HER2 level.

    FID has no interval: a bootstrap of it is biased upwards.
    """
    found: dict[tuple[str, str, str], Interval] = {}
    patients = [pair.patient for pair in pairs]
    for level, chosen in _members(pairs).items() if features else ():
        real = features[REAL][chosen]
        drawn, units = image_draws([patients[index] for index in chosen])
        for key in features.keys() - {REAL}:
            fake = features[key][chosen]
            distance, kernel = fid(real, fake), float(kid(real, fake))
            low, high = np.nan, np.nan
            if units > 1:
                spread = kid(real, fake, torch.from_numpy(drawn))
                low, high = percentiles(spread[spread.isfinite()].numpy())
            found[key, level, "fid"] = Interval(distance, np.nan, np.nan, len(chosen), units)
            found[key, level, "kid"] = Interval(kernel, low, high, len(chosen), units)
    return found


def _members(pairs: Sequence[PatchPair]) -> dict[str, list[int]]:
    """Return the numbers of the pairs of each level, all of them first."""
    levels = {ALL_LEVELS: list(range(len(pairs)))}
    for level in her2_levels(pairs):
        levels[level] = [number for number, pair in enumerate(pairs) if pair.her2 == level]
    return levels
