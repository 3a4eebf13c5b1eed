"""The charts of the evaluation report: means with whiskers per HER2 level."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from registration.pages.plots import interval_plot
from training.evaluation.measures import Metric
from training.evaluation.scoring import Evaluation


@dataclass(frozen=True)
class Chart:
    """One metric: a band per level, in it a row per candidate."""

    metric: Metric
    svg: Markup


def draw_chart(evaluation: Evaluation, metric: Metric) -> Chart:
    """Draw one metric of all candidates."""
    bands = {}
    for level in evaluation.levels:
        found = [evaluation.intervals[c.key, level, metric.key] for c in evaluation.candidates]
        bands[level] = [(interval.mean, interval.low, interval.high) for interval in found]
    return Chart(metric, interval_plot(f"{metric.label} per HER2 level", bands))
