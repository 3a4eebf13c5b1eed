"""The data card for machines: valid by Croissant's own reader, and it yields the table's rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.dataset.assemble import assemble
from pipeline.dataset.croissant import ALIGNMENT, CROISSANT_NAME
from pipeline.dataset.plan import DatasetPlan
from pipeline.dataset.summary import DatasetCase
from pipeline.dataset.table import COLUMNS, read_table
from pipeline.patches.case import cut_case
from pipeline.patches.settings import PatchSettings
from registration.execution import InProcess, no_progress

READER = """
import json, sys
import mlcroissant as mlc
dataset = mlc.Dataset(sys.argv[1])
records = [record["pairs/pair_id"].decode() for record in dataset.records("pairs")]
issues = dataset.metadata.ctx.issues
print(json.dumps({"errors": sorted(issues.errors), "version": dataset.metadata.ctx.conforms_to.value,
                  "records": records, "limits": str(dataset.metadata.data_limitations)}))
"""
"""In a process of its own: mlcroissant warns about its own code, and warnings are errors here."""


@pytest.fixture(scope="module")
def folder(hand_made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "case"
    shutil.copytree(hand_made.registration.folder, run)
    settings = PatchSettings(size=256, min_tissue=0.3)
    patches = cut_case(run, tmp_path_factory.mktemp("cut"), settings, InProcess(), no_progress)
    case = DatasetCase("one", "p1", her2="2+", key="one", patches=patches)
    folder = tmp_path_factory.mktemp("data") / "dataset"
    assemble(DatasetPlan("one", (case,), settings), folder)
    return folder


@pytest.mark.slow
def test_the_card_is_valid_and_its_records_are_the_rows(folder: Path) -> None:
    pytest.importorskip("mlcroissant")

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(folder / CROISSANT_NAME)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["errors"] == []
    assert read["version"] == "http://mlcommons.org/croissant/1.1"
    assert read["records"] == [row.pair_id for row in read_table(folder)]
    assert "neighbours" in read["limits"]


def test_the_alignment_of_each_pair_is_stated(folder: Path) -> None:
    card = json.loads((folder / CROISSANT_NAME).read_text(encoding="utf-8"))

    names = [field["name"] for field in card["recordSet"][0]["field"]]
    assert tuple(names) == COLUMNS
    assert set(ALIGNMENT) <= set(names)
    rows = [row for row in read_table(folder) if row.kept]
    golden = sum(row.grade == "gold" for row in rows)
    assert f"{golden} gold" in card["rai:dataPreprocessingProtocol"][1]
    assert all(row.grade is not None for row in rows)
    assert f"| gold | {golden} |" in (folder / "README.md").read_text(encoding="utf-8")
