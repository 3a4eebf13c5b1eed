"""``report.html`` of a registered pair: one file that shows how good it is, and where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.naming import names_of, without_names
from pipeline.report import findings
from pipeline.report.cells import cells_figure, cells_finding, cells_meaning, cells_tiles
from pipeline.report.maps import (
    Ground,
    SampledField,
    displacement_map,
    folding_map,
    landmark_figure,
    residual_figure,
)
from pipeline.report.pieces import pieces_section
from pipeline.report.places import choose_places
from pipeline.report.provenance import provenance
from pipeline.report.seams import seam_figure
from pipeline.report.uncertainty import uncertainty_figure, uncertainty_finding
from pipeline.report.views import views
from registration.files.storage import write_text
from registration.pages.page import VERDICT_MARKS, Verdict, render
from registration.pair import SlidePair
from registration.quality.seams import VISIBLE_JUMP_PX
from registration.result import REPORT_NAME, Registration
from registration.tissue import TissueMap

ADVICE = {
    "pass": "This pair can be used as it is.",
    "review": "Look at what is named here before you use this pair.",
    "fail": "Do not use this pair. Pick landmarks by hand and register it again.",
}


def has_report(folder: Path, case: str | None) -> bool:
    """Return whether ``report.html`` is there, with or without names as it is wanted now."""
    path = folder / REPORT_NAME
    return path.exists() and path.read_bytes().endswith(_mark(case).encode())


def _mark(case: str | None) -> str:
    """Return how a page ends, which tells whether it shows names."""
    return f"<!-- names are {'kept' if case is None else 'left out'} -->\n"


def finish_page(page: str, folder: Path, pair: SlidePair, case: str | None) -> Path:
    """Write the report of a run folder; with a ``case`` it stands for the names of all files."""
    if case is not None:
        of_slides = names_of(pair.he.path, "HE") | names_of(pair.ihc.path, "IHC")
        page = without_names(page, of_slides | names_of(folder, case))
    path = folder / REPORT_NAME
    write_text(path, page.rstrip() + "\n" + _mark(case))
    return path


def write_report(registration: Registration, pair: SlidePair, case: str | None = None) -> Path:
    """Write ``report.html`` into the run folder and return its path.

    It names slides and folders unless a ``case`` is to stand for them. Reads small levels of both
    slides, and a few fields at full resolution. Raises :class:`registration.errors.SlideError` where
    a slide is damaged there.
    """
    values = page_values(registration, pair, case)
    page = render("pipeline.report", "registration.html", **values)
    return finish_page(page, registration.folder, pair, case)


def page_values(
    registration: Registration, pair: SlidePair, case: str | None = None
) -> dict[str, Any]:
    """Return all that the template shows."""
    tissue = TissueMap.of(pair.fixed_slide)
    places = choose_places(registration, pair, tissue)
    return {
        "case": case,
        "title": case or f"{pair.he.path.name} and {pair.ihc.path.name}",
        "registration": registration,
        "verdict": verdict_of(registration),
        "moving_name": "H&E" if registration.moving == "he" else "IHC",
        "fixed_name": "IHC" if registration.moving == "he" else "H&E",
        "tiles": findings.tiles(registration) + cells_tiles(registration),
        "views": views(registration, pair, places),
        "provenance": provenance(registration, pair, case),
        "pieces": pieces_section(registration, pair),
        **_maps(registration, pair, tissue),
        **_tables(registration),
    }


def verdict_of(registration: Registration) -> Verdict:
    """Return what the page says first."""
    lines = tuple(f"{reason[:1].upper()}{reason[1:]}." for reason in registration.reasons)
    word = registration.verdict
    return Verdict(VERDICT_MARKS[word], word, lines, ADVICE[word])


def _maps(registration: Registration, pair: SlidePair, tissue: TissueMap) -> dict[str, Any]:
    """Return the figures drawn over the fixed slide."""
    ground = Ground.of(pair, tissue)
    field = SampledField.of(registration)
    length = np.hypot(*np.moveaxis(field.shift_px, -1, 0)) * registration.fixed.mpp
    on_tissue = field.on(length, ground)[ground.tissue]
    largest = float(on_tissue.max()) if on_tissue.size else 0.0
    residual = registration.residual_map
    measured = residual is not None and len(residual.points) > 0
    rows = findings.landmark_rows(registration)
    return {
        "displacement": displacement_map(registration, field, ground),
        "displacement_finding": findings.displacement_finding(largest),
        "folding": folding_map(field, ground, bool(registration.pieces)),
        "folding_finding": findings.folding_finding(registration),
        "residual": residual_figure(residual, ground) if residual and measured else None,
        "residual_finding": findings.residual_finding(registration),
        "uncertainty": uncertainty_figure(registration, ground),
        "uncertainty_finding": uncertainty_finding(registration),
        "cells": cells_figure(registration, ground),
        "cells_finding": cells_finding(registration),
        "cells_meaning": cells_meaning(registration),
        "seams": None
        if registration.pieces
        else seam_figure(registration, pair, tissue, VISIBLE_JUMP_PX),
        "seams_finding": findings.seams_finding(registration),
        "landmarks": rows,
        "landmark_map": landmark_figure(
            np.array([row.fixed for row in rows]).reshape(-1, 2),
            [row.name for row in rows],
            ground,
        ),
    }


def _tables(registration: Registration) -> dict[str, Any]:
    """Return the figures that are numbers."""
    cells = findings.block_cells(registration)
    errors = findings.tre_rows(registration)
    return {
        "tre": errors,
        "tre_plot": findings.tre_plot(errors),
        "tre_finding": findings.tre_finding(registration),
        "start_finding": findings.start_finding(registration),
        "shown_landmarks": findings.SHOWN_LANDMARKS,
        "blocks": cells,
        "blocks_finding": findings.blocks_finding(registration),
        "block_words": len(cells) <= findings.MOST_CELLS_WITH_WORDS,
    }
