"""A folder of slides as a group has it, from `manifest` to a dataset: two commands and one review."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cohort.state import Cohort
from pipeline.dataset.table import read_table
from registration.synth import CohortPlan, SynthSettings, write_cohort

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stains of one patient, a case of another, a broken slide, and one without a partner."""
    base = tmp_path_factory.mktemp("group")
    settings = SynthSettings(size=1536, seed=70, picks=6)
    one, two, three = write_cohort(base / "drawn", CohortPlan(settings, cases=3, her2=("3+", "1+")))
    slides = base / "slides"
    slides.mkdir()
    for source, name in (
        (one.he, "p1_HE"),
        (one.ihc, "p1_HER2"),
        (two.he, "p2_HE"),
        (two.ihc, "p2_HER2"),
        (three.he, "p3_HE"),
        (three.he, "p4_HE"),
    ):
        shutil.copyfile(source, slides / f"{name}.ndpi")
    shutil.copyfile(one.ihc, slides / "p1_ER.ndpi")
    with (slides / "p1_ER.ndpi").open("ab") as file:
        file.write(b"\0")
    (slides / "p3_HER2.ndpi").write_bytes(three.ihc.read_bytes()[:50_000])
    return base


def test_two_commands_and_one_review(folder: Path) -> None:
    out = folder / "cohort.yaml"
    found = CliRunner().invoke(app, ["manifest", str(folder / "slides"), "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert "cannot be opened: case p3" in found.output
    assert "no partner" in found.output
    text = out.read_text()
    out.write_text(
        text.replace("# patch:", "patch:\n  size: 256").replace(
            "image: none", "image: none\n  blocks: 2x2"
        )
    )

    done = CliRunner().invoke(app, ["run", str(out), "--workers", "1"])

    cohort = Cohort.load(out)
    assert [case.id for case in cohort.manifest.cases] == ["p1_ER", "p1_HER2", "p2"]
    page = (cohort.manifest.out / "cohort.html").read_text()
    assert all(f'id="case-{case.id}"' in page for case in cohort.manifest.cases), done.output
    rows = read_table(cohort.dataset)
    by_stain = {
        stain: {(row.x, row.y) for row in rows if row.case == f"p1_{stain}"}
        for stain in ("ER", "HER2")
    }
    assert by_stain["ER"] == by_stain["HER2"], "the grid is the H&E slide's"
    assert {row.stain for row in rows} == {"ER", "HER2"}
    assert len({row.split for row in rows if row.patient == "p1"}) == 1
