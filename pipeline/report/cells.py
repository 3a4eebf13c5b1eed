"""What single cells say of a registration, in words and on a map."""

from __future__ import annotations

import math

import numpy as np

from pipeline.report.drawing import colour_of, legend
from pipeline.report.maps import Dot, Ground, MapFigure
from registration.cell_evidence import CellField
from registration.pages.page import Finding, Tile, number, significant
from registration.result import Registration

SHOWN_UM = 10.0
"""The scale of the map ends here: farther off, nuclei find other partners."""

ALLOWED = {
    "same section": (
        "The same nuclei are seen again: one section, stained twice. Such pairs can be aligned to 1 or "
        "2 µm, and cells be compared one by one."
    ),
    "consecutive sections": (
        "Many nuclei lie in one of the two slides only: consecutive sections. Such pairs can be aligned "
        "to some 5 µm where they are alike; single cells need not correspond."
    ),
    "undecided": (
        "Most nuclei are seen again within a µm, and too many are not: one section, of which a scanner or "
        "stain shows some cells faintly, or two neighbours that are much alike. Count on some 5 µm."
    ),
    "not known": (
        "The nuclei share no shift: too few of them lie in both sections, or the alignment is more than "
        "15 µm off. They say nothing for it, and nothing against what structure shows."
    ),
}
"""What each finding means, and the accuracy that it allows: of what is reported for stained-again
sections (1 to 2 µm) and for neighbours (6.5 µm in HyReCo, median)."""


def cells_finding(registration: Registration) -> Finding:
    """Say how many nuclei pair."""
    cells = registration.quality.cells
    if cells is None:
        return Finding(
            "none", "Not measured: the slides are too coarse for nuclei, or show too few."
        )
    low, high = (number(100 * bound, 0) for bound in (cells.beyond_low, cells.beyond_high))
    text = (
        f"{100 * cells.paired:.0f} % of {cells.nuclei:,} nuclei have a partner, {100 * cells.chance:.0f} % "
        f"would by chance: {100 * cells.beyond:.0f} % beyond chance ({low} to {high} %)."
    )
    if not math.isfinite(cells.shift_um):
        return Finding("none", text)
    text += (
        f" They share a shift of {significant(cells.shift_um)} µm and scatter around it by "
        f"{significant(cells.scatter_um)} µm."
    )
    return Finding("ok" if cells.beyond_low > 0 else "none", text)


def cells_tiles(registration: Registration) -> list[Tile]:
    """Return the figure a reader wants first; none where it was not measured."""
    cells = registration.quality.cells
    if cells is None:
        return []
    note = f"of {cells.nuclei:,}, beyond chance; {cells.sections}"
    mark = cells_finding(registration).mark
    return [Tile("Nuclei that pair", f"{max(0, 100 * cells.beyond):.0f} %", note, mark, "cells")]


def cells_meaning(registration: Registration) -> str:
    """Say what kind of sections these are and what accuracy they allow; empty where not measured."""
    cells = registration.quality.cells
    return "" if cells is None else ALLOWED[cells.sections]


def cells_figure(registration: Registration, ground: Ground) -> MapFigure | None:
    """Draw the shift that the nuclei of each field share; ``None`` where none was measured."""
    cells = registration.quality.cells
    if cells is None:
        return None
    largest_last = sorted(cells.fields, key=lambda field: np.nan_to_num(_length(field), nan=-1))
    dots = tuple(_dot(field, ground) for field in largest_last)
    return MapFigure(ground.image, legend(0, SHOWN_UM, "µm", "amount", 0), dots=dots)


def _length(field: CellField) -> float:
    return math.hypot(field.count.shift_x_um, field.count.shift_y_um)


def _dot(field: CellField, ground: Ground) -> Dot:
    """Draw one field: hollow where its nuclei share no shift."""
    count, length = field.count, _length(field)
    x, y = ground.percent(np.array([[field.x, field.y]]))[0]
    counts = f"{count.paired} of {count.fixed} nuclei pair, {count.chance:.0f} by chance"
    if not math.isfinite(length):
        return Dot(float(x), float(y), "none", f"{counts}; no common shift", hollow=True)
    colour = colour_of(min(length, SHOWN_UM), 0, SHOWN_UM, "amount")
    return Dot(float(x), float(y), colour, f"{counts}; common shift {length:.1f} µm")
