"""A folder of slides as a group has it, from `manifest` to a dataset: two commands and one review."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.browser import Browser, check_page
from benchmarks.cohort_trial import STAINS, drafted, draw_group, walked
from pipeline.cohort.looks import HE_NAME, STAIN_NAME
from pipeline.cohort.page import PAGE_NAME
from pipeline.cohort.state import Cohort
from pipeline.dataset.plan import REPORT_NAME
from pipeline.dataset.table import read_table
from training.data.pairs import open_dataset

pytestmark = pytest.mark.slow


def test_two_commands_and_one_review(tmp_path: Path, browser: Browser) -> None:
    slides = draw_group(tmp_path, 6, 1024)
    manifest = tmp_path / "cohort.yaml"

    found = drafted(slides, manifest, {"size": 128, "min_tissue": 0.3, "layout": "multi"}, "1x1")
    first, *reviewed, last = walked(manifest, workers=2)

    for words in ("cannot be opened: ", "no IHC slide of case p04", "patient unclear: "):
        assert words in found
    cohort = Cohort.load(manifest)
    whole = [f"{name}_{stain}" for name in ("p01", "p02", "p05", "p06") for stain in STAINS]
    assert [case.id for case in cohort.manifest.cases] == sorted([*whole, "p03"])
    assert "Traceback" not in first + last
    assert all(line.split(": ")[1] in ("review", "fail", "failed") for line in reviewed)
    rows = read_table(cohort.dataset)
    places = {
        stain: {(row.x, row.y) for row in rows if row.case == f"p01_{stain}"} for stain in STAINS
    }
    assert places["HER2"] == places["KI67"], "the grid is the H&E slide's"
    for patient in {row.patient for row in rows}:
        assert len({row.split for row in rows if row.patient == patient}) == 1, patient
    dataset = open_dataset(cohort.dataset)
    assert dataset.stains == STAINS
    assert len(dataset.pairs) == sum(row.kept for row in rows)
    folder = cohort.folder(cohort.manifest.case("p01_KI67"))
    assert (folder / HE_NAME).is_file()
    assert (folder / STAIN_NAME).is_file()
    for page in (cohort.manifest.out / PAGE_NAME, cohort.dataset / REPORT_NAME):
        check_page(browser, page)
    assert (cohort.dataset / "figures" / "stains.jpg").is_file()
