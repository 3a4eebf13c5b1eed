"""Names in slides, tables and manifests are data: on no page does one run, in no table compute."""

from __future__ import annotations

import csv
import io
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from markdown import markdown
from PIL import Image

from benchmarks.bad_inputs.good import Bench
from benchmarks.bad_inputs.trial import tried
from pipeline.cohort.page import CohortPage
from pipeline.cohort.state import Cohort, write_failure
from pipeline.errors import ManifestError, UsageError
from pipeline.manifest.manifest import load_manifest
from pipeline.patches.settings import PatchSettings
from pipeline.report.registration import write_report
from pipeline.split import SplitSettings
from pipeline.stages.patch import PatchRequest, run_patch
from registration.files.tables import table_text
from registration.result import Registration, write_registration

if TYPE_CHECKING:
    from benchmarks.browser import Browser

RUNS = "<img src=x onerror=window.ran=1>"
COMPUTES = "=cmd|' /C calc'!A0"
COMPUTED = "777777777"
"""What a template would make of the product among the names; longer than a study's name."""
NAMES = (
    RUNS,
    f"\"'>{RUNS}",
    "</script><script>window.ran=1</script>",
    COMPUTES,
    "\u202egnp.edils",
    "{{ 12345679 * 63 }}",
    f"[a](javascript:window.ran=1) {RUNS}",
    f"| x | {RUNS} |",
)
AS_FILE = f"{RUNS} \u202e'\".png"


def check(browser: Browser, folder: Path) -> None:
    """Open every page, and every card as a page, below a folder."""
    cards = [*folder.rglob("README.md")]
    for card in cards:
        body = markdown(card.read_text(encoding="utf-8"), extensions=["tables"])
        card.with_suffix(".card.html").write_text(body, encoding="utf-8")
    pages = sorted(folder.rglob("*.html"))
    assert pages
    for page in pages:
        browser.open(page)
        assert browser.evaluate("window.ran") is None, page
        assert browser.evaluate("document.querySelectorAll('img[src=x]').length") == 0, page
        assert COMPUTED not in browser.evaluate("document.title + document.body.innerText"), page


def records(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))


def check_tables(folder: Path) -> None:
    tables = [*folder.rglob("*.csv")]
    assert tables
    for table in tables:
        for row in csv.reader(io.StringIO(table.read_text(encoding="utf-8"), newline="")):
            for cell in row:
                assert not cell.startswith(("=", "@", "\t")), (table, cell)
                assert not cell.startswith(("+", "-")) or cell.strip("+-.e0123456789") in (
                    "",
                    "inf",
                    "nan",
                ), (table, cell)


@pytest.mark.parametrize("name", [" ".join(NAMES), COMPUTES])
@pytest.mark.slow
def test_a_dataset_and_a_report(
    name: str, hand_made: Any, browser: Browser, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(hand_made.registration.folder, run)
    slide = tmp_path / AS_FILE
    os.link(hand_made.pair.he.path, slide)
    there = Registration.load(run)
    he = replace(there.he, path=str(slide))
    write_registration(replace(there, he=he, reasons=(name,)), there.landmarks)
    registration = Registration.load(run)
    write_report(registration, registration.open_pair())
    labels = tmp_path / "labels.csv"
    labels.write_text(table_text([("case", "patient", "her2"), ("run", name, "2+")]))
    settings = PatchSettings(
        size=256, max_shift_um=100, max_filled=1, min_percentile=0, keep_names=True
    )
    out = tmp_path / "data"
    split = SplitSettings(test=0)
    run_patch(PatchRequest((run,), out, settings, split, labels, name), 1, None, lambda *_: None)

    check(browser, tmp_path)
    check_tables(out)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trainings_evaluations_and_studies(bench: Bench, browser: Browser, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(bench.data, data)
    rows = records(data / "patches.csv")
    for row, name in zip(rows, (NAMES[0], NAMES[3]), strict=True):
        row |= {"case": name, "patient": name}
    (data / "patches.csv").write_text(table_text([rows[0], *(row.values() for row in rows)]))
    device = ("--device", "cpu")
    study = tmp_path / "study"
    commands: tuple[tuple[object, ...], ...] = (
        *(("dataset", data, "--audit", "--out", tmp_path / "audit"),),
        (
            *("train", data, "--out", tmp_path / RUNS, "--cache", tmp_path / "c", "--batch", "1"),
            *("--crop", "32", "--ngf", "4", "--epochs", "1+0", *device),
        ),
        (
            *("evaluate", tmp_path / RUNS, data, "--split", "train", *device),
            *("--out", tmp_path / "evaluation"),
        ),
        (
            *("study", "create", data, "--generated", data / "IHC" / "train", "--split", "train"),
            *("--n", "2", "--out", study),
        ),
    )
    for words in commands:
        ending = tried(words, tmp_path / "said", 240.0)
        assert ending.code in (0, 1), ending.said
    sheet = study / "readers" / "sheet.csv"
    filled = records(sheet)
    for row in filled:
        row |= {"reader": RUNS, "her2": "0"}
    sheet.write_text(table_text([filled[0], *(row.values() for row in filled)]))
    assert tried(("study", "score", study, sheet), tmp_path / "said", 240.0).code == 0

    check(browser, tmp_path)
    check_tables(study)
    check_tables(tmp_path / "evaluation")


def test_a_cohort(browser: Browser, tmp_path: Path) -> None:
    manifest = tmp_path / "cohort.yaml"
    quoted = f"'{RUNS}'"
    for name in (f"{RUNS}.png", "b.png"):
        Image.fromarray(np.full((40, 50, 3), 240, np.uint8)).save(tmp_path / name)
    manifest.write_text(
        f"name: {quoted}\nout: out\nregister: {{keep_names: true}}\ncases:\n"
        f"  - {{id: p1, patient: {quoted}, her2: 0, he: '{RUNS}.png', ihc: b.png, "
        "mpp_he: 0.5, mpp_ihc: 0.5}\n"
    )
    cohort = Cohort.load(manifest)
    write_failure(cohort.folder(cohort.manifest.cases[0]), "register", f"{RUNS} is empty")
    CohortPage(cohort).update()

    check(browser, tmp_path)


@pytest.mark.parametrize("name", [*NAMES, "../up", "a/b", "a\\b", "a\nb", ".", "..", "con\0"])
def test_a_case_that_is_no_name_of_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(table_text([("id", "he", "ihc"), (name, "he.png", "ihc.png")]))

    with pytest.raises(ManifestError) as told:
        load_manifest(manifest)

    assert len(str(told.value).splitlines()) <= 10


def test_labels_of_a_case_that_is_none_are_refused(hand_made: Any, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(table_text([("case", "patient"), ("../run", "p")]))
    run = hand_made.registration.folder
    asked = PatchRequest((run,), tmp_path / "data", labels=labels)

    with pytest.raises(UsageError, match=r"run"):
        run_patch(asked, 1, None, lambda *_: None)
    assert not (tmp_path / "data").exists()
