"""What an evaluation leaves behind: ``evaluation.json``, ``evaluation.csv``, ``evaluation.html``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_json, write_text
from registration.files.tables import table_text
from registration.pages.page import render, verdict_of
from registration.pages.plots import interval_plot
from training.evaluation.cases import DIFFERENCE_RANGE, ScoredCase, case_metric
from training.evaluation.groups import group_rows
from training.evaluation.measures import PATHOLOGY, Metric
from training.evaluation.paper import PAPER_ROWS
from training.evaluation.scoring import Evaluation
from training.evaluation.summary import ALL_LEVELS, MODEL, REAL
from training.metrics.intervals import CONFIDENCE, RESAMPLES, Interval
from training.metrics.pathology import LEVEL_SHARE, PARTNER_UM, STRENGTHS, PathologyCounts
from training.metrics.stain import DAB_MASK_DENSITY
from training.settings.evaluate import Protocol

FORMAT = "bci-pipeline evaluation"
VERSION = 1


@dataclass(frozen=True)
class About:
    """What was evaluated, for whoever reads the report later."""

    model: str
    dataset: str
    split: str
    protocol: Protocol
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SlideMap:
    """One metric over a whole slide, as a picture."""

    title: str
    picture: str
    legend: Any
    """A colour bar, as the pages of registrations have it."""


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    about: About,
    cases: Sequence[ScoredCase],
    maps: Sequence[SlideMap] = (),
) -> None:
    """Write the four files into ``folder``; where ``evaluation.json`` is, the others are, too."""
    write_text(folder / "evaluation.csv", as_csv(evaluation))
    write_text(folder / "evaluation_groups.csv", groups_csv(evaluation))
    write_text(folder / "evaluation.html", as_html(evaluation, about, cases, maps))
    write_json(folder / "evaluation.json", as_json(evaluation, about))


def as_json(evaluation: Evaluation, about: About) -> dict[str, Any]:
    """Return everything but the single images' scores as plain values."""
    summary: dict[str, Any] = {candidate.key: {} for candidate in evaluation.candidates}
    for (key, level, metric), interval in evaluation.intervals.items():
        summary[key].setdefault(level, {})[metric] = asdict(interval)
    differences: dict[str, Any] = {}
    for (key, metric), interval in evaluation.differences.items():
        differences.setdefault(key, {})[metric] = asdict(interval)
    return {
        "format": FORMAT,
        "version": VERSION,
        **asdict(about),
        "images": len(evaluation.pairs),
        "intervals": {
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "resampled_by": "patient" if evaluation.by_patient else "image",
        },
        "metrics": [asdict(metric) for metric in evaluation.metrics],
        "candidates": {c.key: {"label": c.label, "note": c.note} for c in evaluation.candidates},
        "summary": summary,
        "model_minus_control": differences,
        "paper": [asdict(row) for row in PAPER_ROWS],
    }


def as_csv(evaluation: Evaluation) -> str:
    """Return one row per image and candidate; undefined scores are empty."""
    names = [metric.key for metric in evaluation.metrics if metric.key in evaluation.values[MODEL]]
    counted = list(PathologyCounts.__slots__) if evaluation.counts else []
    rows = [["image", "her2", "patient", "slide", "candidate", *names, "her2_level", *counted]]
    for number, pair in enumerate(evaluation.pairs):
        known = [pair.name, pair.her2 or "", pair.patient or "", pair.slide or ""]
        for key, scores in evaluation.values.items():
            found = evaluation.counts[key][number] if counted else None
            level = "" if found is None else HER2_LEVELS[found.level]
            own = [] if found is None else [str(count) for count in astuple(found)]
            cells = [_cell(scores[name][number]) for name in names]
            rows.append([*known, key, *cells, level, *own])
    return table_text(rows)


def groups_csv(evaluation: Evaluation) -> str:
    """Return one row per slide or patient and candidate, all its images taken together."""
    rows = list(group_rows(evaluation))
    names = list(rows[0].values()) if rows else []
    table = [["kind", "name", "her2", "candidate", "images", "her2_level", *names]]
    for row in rows:
        known = [row.kind, row.name, row.her2 or "", row.candidate, str(row.images), row.level]
        table.append([*known, *(_cell(value) for value in row.values().values())])
    return table_text(table)


def _cell(value: float) -> str:
    """Return a value of a table, empty where it is undefined."""
    return "" if math.isnan(value) else f"{value:.6g}"


def as_html(
    evaluation: Evaluation, about: About, cases: Sequence[ScoredCase], maps: Sequence[SlideMap] = ()
) -> str:
    """Return the report as one page that needs nothing else."""
    levelled = [metric for metric in evaluation.metrics if metric.group != "agreement"]
    shown = {MODEL, REAL} <= set(evaluation.counts)
    groups = list(group_rows(evaluation)) if shown else []
    return render(
        "training",
        "evaluation.html",
        filters={"number": number, "interval": interval_text},
        evaluation=evaluation,
        about=about,
        cases=cases,
        maps=maps,
        case_metric=case_metric(evaluation),
        verdict=verdict_of(
            headlines(evaluation), "doubtful", "better than images that know nothing"
        ),
        groups=groups,
        real_groups={(row.kind, row.name): row for row in groups if row.candidate == REAL},
        nuclei_found="nuclei_kept" in evaluation.values[MODEL],
        pixel_metrics=[m for m in evaluation.metrics if m.group not in PATHOLOGY],
        pathology_metrics=[m for m in evaluation.metrics if m.group in PATHOLOGY],
        level_metrics=levelled,
        charts=[(metric, draw_chart(evaluation, metric)) for metric in levelled],
        compared=lambda key, metric: verdict(evaluation, key, metric),
        counts={
            level: sum(level in (ALL_LEVELS, pair.her2) for pair in evaluation.pairs)
            for level in evaluation.levels
        },
        control_notes={candidate.key: candidate.note for candidate in evaluation.candidates},
        paper=PAPER_ROWS,
        mask_density=DAB_MASK_DENSITY,
        strengths=STRENGTHS,
        level_share=LEVEL_SHARE,
        partner_um=PARTNER_UM,
        difference_range=DIFFERENCE_RANGE,
        resamples=RESAMPLES,
        all_levels=ALL_LEVELS,
        model_key=MODEL,
        real_key=REAL,
    )


def verdict(evaluation: Evaluation, control: str, metric: Metric) -> str:
    """Return whether the model is ``better`` or ``worse`` than a control, ``unclear``, or ``""``.

    It is clear where the interval of the paired difference leaves out zero. A signed metric and
    one of the whole set of images has no verdict.
    """
    difference = evaluation.differences.get((control, metric.key))
    if difference is None or metric.better in ("zero", "real") or math.isnan(difference.low):
        return ""
    if difference.low <= 0 <= difference.high:
        return "unclear"
    higher = difference.low > 0
    return "better" if higher == (metric.better == "higher") else "worse"


def headlines(evaluation: Evaluation) -> list[tuple[bool, str]]:
    """Return the report's first sentences, each with whether it is a warning."""
    lines = []
    psnr, ssim = (evaluation.intervals[MODEL, ALL_LEVELS, key] for key in ("psnr", "ssim"))
    lines.append((False, f"PSNR {interval_text(psnr, 2)} dB, SSIM {interval_text(ssim, 3)}."))
    if ("blur8", "psnr") in evaluation.differences:
        psnr, ssim = (evaluation.intervals["blur8", ALL_LEVELS, key] for key in ("psnr", "ssim"))
        lines.append(
            (
                False,
                f"For comparison: the real images, blurred with 8 px, score {number(psnr.mean, 2)} "
                f"dB and {number(ssim.mean, 3)}.",
            )
        )
    labels = {candidate.key: candidate.label for candidate in evaluation.candidates}
    for control in ("mean", "he"):
        for metric in evaluation.metrics[:2]:
            if (found := verdict(evaluation, control, metric)) in ("worse", "unclear"):
                how = "is worse than" if found == "worse" else "is not clearly better than"
                lines.append((True, f"In {metric.label} the model {how} the {labels[control]}."))
    if (key := (MODEL, ALL_LEVELS, "dab_bias")) in evaluation.intervals:
        bias = evaluation.intervals[key]
        if bias.low > 0 or bias.high < 0:
            how = "brown" if bias.mean > 0 else "pale"
            lines.append((True, f"Generated images are too {how} by {abs(bias.mean):.3f} OD."))
        elif not math.isnan(bias.low):
            lines.append((False, "No overall excess or lack of brown shows."))
    return lines


def number(value: float, digits: int) -> str:
    """Return a value as text, a dash where it is undefined."""
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def interval_text(interval: Interval, digits: int) -> str:
    """Return ``mean (low to high)``, the mean alone without bounds."""
    mean = number(interval.mean, digits)
    if math.isnan(interval.low):
        return mean
    return f"{mean} ({number(interval.low, digits)} to {number(interval.high, digits)})"


def draw_chart(evaluation: Evaluation, metric: Metric) -> Markup:
    """Draw a metric of all candidates: a band per HER2 level, in it means with whiskers."""
    bands = {}
    for level in evaluation.levels:
        found = [evaluation.intervals[c.key, level, metric.key] for c in evaluation.candidates]
        bands[level] = [(interval.mean, interval.low, interval.high) for interval in found]
    return interval_plot(f"{metric.label} per HER2 level", bands)
