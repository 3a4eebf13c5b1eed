"""The charts of the evaluation report: means with whiskers per HER2 level, as plain geometry.

The template turns them into SVG; nothing here knows colours or text sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.evaluation.scoring import Evaluation, Metric
from training.metrics.intervals import Interval

WIDTH, LEFT, RIGHT, TOP = 360, 44, 14, 8
ROW, GAP, FOOT = 9, 9, 22


@dataclass(frozen=True)
class Dot:
    """One mean: where it is, the ends of its whisker, whose it is."""

    x: float
    y: float
    low: float
    high: float
    series: int
    label: str
    interval: Interval


@dataclass(frozen=True)
class Band:
    """The rows of one HER2 level."""

    level: str
    top: float
    height: float


@dataclass(frozen=True)
class Chart:
    """One metric: dots in bands, ticks as ``(x, value)``, in pixels."""

    metric: Metric
    dots: tuple[Dot, ...]
    bands: tuple[Band, ...]
    ticks: tuple[tuple[float, float], ...]
    height: float
    width: int = WIDTH
    left: int = LEFT


def draw_chart(evaluation: Evaluation, metric: Metric) -> Chart:
    """Lay out one metric: a band per level, in it a row per candidate."""
    drawn = [
        (row, number, candidate.label, evaluation.intervals[candidate.key, level, metric.key])
        for row, level in enumerate(evaluation.levels)
        for number, candidate in enumerate(evaluation.candidates)
    ]
    low, high = value_range(interval for *_, interval in drawn)

    def across(value: float, otherwise: float) -> float:
        value = value if math.isfinite(value) else otherwise
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    band_height = ROW * len(evaluation.candidates)
    tops = [TOP + (band_height + GAP) * row for row in range(len(evaluation.levels))]
    dots = tuple(
        Dot(
            x=across(found.mean, found.mean),
            y=tops[row] + ROW * (number + 0.5),
            low=across(found.low, found.mean),
            high=across(found.high, found.mean),
            series=number,
            label=label,
            interval=found,
        )
        for row, number, label, found in drawn
        if math.isfinite(found.mean)
    )
    bands = tuple(
        Band(level, top, band_height) for level, top in zip(evaluation.levels, tops, strict=True)
    )
    ticks = tuple((across(value, value), value) for value in _ticks(low, high))
    return Chart(metric, dots, bands, ticks, height=tops[-1] + band_height + FOOT)


def value_range(intervals: Iterable[Interval]) -> tuple[float, float]:
    """Return a range a little wider than all finite means and bounds."""
    values = [v for i in intervals for v in (i.mean, i.low, i.high) if math.isfinite(v)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers within a range."""
    step = 10.0 ** math.floor(math.log10(high - low))
    for factor in (5, 2, 1, 0.5, 0.2):
        if (high - low) / (factor * step) >= 3:
            step *= factor
            break
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(np.round(number * step, 10)) for number in range(first, last + 1)]
