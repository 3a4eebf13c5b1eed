"""``dataset.html``: what the dataset holds, what was lost on the way and why. One file, offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pipeline.dataset.figures import (
    REASON_COLOURS,
    chosen,
    contact_sheet,
    heat_map,
    mean_density,
    pair_picture,
    rejected_pictures,
    sampled,
)
from pipeline.dataset.layouts import UNKNOWN_HER2
from pipeline.dataset.plan import FIGURES, REPORT_NAME, Dataset
from pipeline.dataset.stain_sheet import shared_places, stain_sheet
from pipeline.dataset.summary import SMALLEST_ODD_DENSITY, Summary, odd_mpp, odd_ones
from pipeline.dataset.table import PatchRow
from pipeline.patches.writer import write_image
from pipeline.report.drawing import legend
from pipeline.split import Split
from registration.files.her2 import Her2
from registration.files.pictures import jpeg_uri
from registration.files.storage import write_text
from registration.files.words import counted
from registration.geometry import Image
from registration.pages.page import Bar, Finding, Tile, Verdict, number, render
from registration.pages.plots import Limit, histogram, shift_edges
from registration.patch_reasons import REASON_WORDS
from registration.result import versions
from registration.stains import stain_doubt, stain_of

SHEET_TITLES = {
    "best": "Best aligned",
    "median": "In the middle",
    "worst": "Worst of those kept",
    "rejected": "Rejected: those nearest to their limit",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One contact sheet."""

    title: str
    file: str
    uri: str


@dataclass(frozen=True, slots=True)
class ChanceLine:
    """The candidates of a case that were ranked among mismatched pairs."""

    case: str
    compared: int
    beyond: int
    """Of those, alike beyond chance."""
    similarity: float | None
    """Median of the kept pairs."""


def write_report(dataset: Dataset) -> None:
    """Draw all figures into ``figures/`` and write the page."""
    summary = dataset.summary
    sheets = _sheets(dataset)
    maps = _maps(dataset)
    samples = _samples(dataset)
    stains = {case.name: case.stain for case in dataset.plan.cases}
    odd_colours, odd_pixels = _odd_colours(samples, stains), odd_mpp(summary.cases)
    odd_stains = _odd_stains(samples)
    findings = (_funnel_finding(summary), _split_finding(dataset))
    limit = dataset.plan.settings.max_shift_um
    page = render(
        "pipeline.report",
        "dataset.html",
        title=dataset.plan.name,
        tiles=_tiles(summary),
        funnel=_funnel_bars(summary),
        verdict=_verdict(
            dataset,
            [*findings, *(Finding("look", f"{n}: {text}.") for n, text in odd_stains.items())],
            len(odd_colours) + len(odd_pixels),
        ),
        odd_stains=odd_stains,
        funnel_finding=findings[0],
        level_name=level_name,
        summary=summary,
        level_bars=_level_bars(summary),
        slide_bars=_slide_bars(summary),
        split_finding=findings[1],
        shifts=shift_histogram(dataset.rows, limit),
        settings=dataset.plan.settings,
        chance=_chance_lines(dataset),
        sheets=sheets,
        maps=maps,
        map_legend=legend(0.0, limit, "residual shift, µm", "amount"),
        reason_colours={
            REASON_WORDS[name]: f"rgb{colour}" for name, colour in REASON_COLOURS.items()
        },
        odd_colours=odd_colours,
        odd_mpp=odd_pixels,
        plan=dataset.plan,
        versions=versions(),
    )
    write_text(dataset.folder / REPORT_NAME, page)


def level_name(level: Her2 | None) -> str:
    """Return how a HER2 level is written."""
    return level or UNKNOWN_HER2


def shift_histogram(rows: Sequence[PatchRow], limit: float) -> Markup:
    """Draw the distribution of the residual shift, kept and rejected pairs apart."""
    groups = {
        name: [row.shift_um for row in rows if row.kept is kept and row.shift_um is not None]
        for name, kept in (("kept", True), ("rejected, for whatever reason", False))
    }
    edges = shift_edges([value for group in groups.values() for value in group], limit)
    axis = f"residual shift, µm (the last bar holds all from {edges[-2]:.1f} on)"
    label = "Histogram of the residual shift"
    return histogram(label, groups, axis, edges, Limit(limit, f"limit {limit:g} µm"))


def _verdict(dataset: Dataset, findings: Sequence[Finding], outliers: int) -> Verdict:
    """Return what the page says first: what there is, and what to look at before training."""
    doubts = [found.text for found in findings if found.mark != "ok"]
    left_out = [case.name for case in dataset.summary.cases if case.excluded]
    if left_out:
        doubts.append(f"Left out: {', '.join(left_out)}.")
    if outliers:
        doubts.append(f"Cases that look unlike the others: {outliers} (see Outliers).")
    kept = f"{counted(dataset.summary.kept, 'pair')} in {', '.join(dataset.summary.splits)}."
    if doubts:
        advice = "Look at what is named here before you train on it."
        return Verdict("look", "look first", (kept, *doubts), advice)
    return Verdict("ok", "ready", (kept, *(found.text for found in findings)))


def _tiles(summary: Summary) -> list[Tile]:
    cases = [case for case in summary.cases if case.kept]
    patients = {case.patient for case in cases}
    lost = sum(case.excluded is not None for case in summary.cases)
    shifts = [case.shift_median_um for case in cases if case.shift_median_um is not None]
    return [
        Tile("pairs", number(summary.kept, 0), _per_split(summary), "none", "levels"),
        Tile("patients", number(len(patients), 0), "whole patients per split", "ok", "levels"),
        Tile(
            "slide pairs",
            number(len(cases), 0),
            f"{lost} excluded",
            "look" if lost else "ok",
            "cases",
        ),
        Tile(
            "residual shift",
            f"{number(float(np.median(shifts)), 1)} µm" if shifts else "–",
            "median of the cases' medians",
            "none",
            "alignment",
        ),
    ]


def _per_split(summary: Summary) -> str:
    totals = dict.fromkeys(summary.splits, 0)
    for (_, split), count in summary.pairs.items():
        totals[split] += count
    return ", ".join(f"{count} {split}" for split, count in totals.items())


def _funnel_bars(summary: Summary) -> list[Bar]:
    most = max(1, summary.funnel[0].left)
    return [
        Bar(
            step.label,
            step.left,
            100 * step.left / most,
            f"−{step.lost}: {REASON_WORDS.get(step.reason, step.reason)}" if step.lost else "",
        )
        for step in summary.funnel
    ]


def _funnel_finding(summary: Summary) -> Finding:
    candidates = summary.funnel[1].left
    share = 100 * summary.kept / max(1, candidates)
    worst = max(summary.funnel[1:], key=lambda step: step.lost)
    text = f"{summary.kept} of {candidates} candidates ({share:.0f} %) were kept"
    if worst.lost:
        text += f"; most of the others were lost to: {REASON_WORDS[worst.reason]} ({worst.lost})"
    return Finding("ok" if share >= 20 else "look", text + ".")


def _level_bars(summary: Summary) -> dict[Split, list[Bar]]:
    most = max(summary.pairs.values(), default=1)
    return {
        split: [
            Bar(level_name(level), count, 100 * count / most)
            for level in summary.levels
            for count in [summary.pairs.get((level, split), 0)]
        ]
        for split in summary.splits
    }


def _slide_bars(summary: Summary) -> list[Bar]:
    most = max(summary.slides.values(), default=1)
    return [
        Bar(
            level_name(level),
            summary.slides.get(level, 0),
            100 * summary.slides.get(level, 0) / most,
        )
        for level in summary.levels
    ]


def _split_finding(dataset: Dataset) -> Finding:
    splits = dataset.summary.splits
    if len(splits) < 2:
        return Finding(
            "look",
            f"All pairs are in the split {splits[0]}: there are too few patients to hold any out.",
        )
    return Finding("ok", "Checked: no patient and no slide is in two splits.")


def _chance_lines(dataset: Dataset) -> list[ChanceLine]:
    """Return, per case with candidates that were compared, how many are alike beyond chance."""
    least = dataset.plan.settings.min_percentile
    lines = []
    for case in dataset.summary.cases:
        ranks = [
            row.null_percentile
            for row in dataset.rows
            if row.case == case.name and row.null_percentile is not None
        ]
        if ranks:
            beyond = sum(rank >= least for rank in ranks)
            lines.append(ChanceLine(case.name, len(ranks), beyond, case.similarity_median))
    return lines


def _sheets(dataset: Dataset) -> list[Sheet]:
    """Draw the contact sheets."""
    limit = dataset.plan.settings.max_shift_um
    pictures = {
        name: [pair_picture(dataset.folder, row) for row in rows]
        for name, rows in chosen(dataset.rows, limit).items()
    }
    cut = {case.name: case.patches for case in dataset.plan.cases if case.patches}
    rejected = rejected_pictures(cut, dataset.rows)
    if rejected:
        pictures["rejected"] = rejected
    sheets = []
    for name, shown in pictures.items():
        file = f"{FIGURES}/{name}.jpg"
        sheets.append(Sheet(SHEET_TITLES[name], file, _kept(dataset, file, contact_sheet(shown))))
    if places := shared_places(dataset.rows):
        file = f"{FIGURES}/stains.jpg"
        image = stain_sheet(dataset.folder, places, dataset.plan.settings.side_by_side)
        sheets.append(Sheet("The same places in every stain", file, _kept(dataset, file, image)))
    return sheets


def _maps(dataset: Dataset) -> list[Sheet]:
    """Draw the heat maps."""
    maps = []
    for case in dataset.plan.cases:
        if case.patches:
            file = f"{FIGURES}/alignment_{case.name}.jpg"
            image = heat_map(case.patches, dataset.plan.settings.max_shift_um)
            maps.append(Sheet(case.name, file, _kept(dataset, file, image)))
    return maps


def _kept(dataset: Dataset, file: str, image: Image) -> str:
    """Write a figure beside the page, and return it for the page itself."""
    write_image(dataset.folder / file, image, "jpeg")
    return jpeg_uri(image)


def _samples(dataset: Dataset) -> dict[str, tuple[Image, Image]]:
    """Return, per case with kept pairs, small images of some of them."""
    found = {
        case.name: sampled(dataset.folder, [r for r in dataset.rows if r.case == case.name])
        for case in dataset.plan.cases
    }
    return {name: images for name, images in found.items() if images is not None}


def _odd_colours(
    samples: dict[str, tuple[Image, Image]], stains: dict[str, str]
) -> dict[str, float]:
    """Return the cases whose colours are unlike those of the others of their stain."""
    found: dict[str, float] = {}
    for stain in sorted(set(stains.values())):
        own = {name: mean_density(of) for name, of in samples.items() if stains[name] == stain}
        found |= odd_ones(own, SMALLEST_ODD_DENSITY)
    return found


def _odd_stains(samples: dict[str, tuple[Image, Image]]) -> dict[str, str]:
    """Return the cases that look exchanged, or of one stain."""
    doubts = {name: stain_doubt(*map(stain_of, images)) for name, images in samples.items()}
    return {name: doubt for name, doubt in doubts.items() if doubt is not None}
