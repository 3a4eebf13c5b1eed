"""A cohort without its long work: the plan, and a dataset of the cases that are ready."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cohort.state import Cohort
from pipeline.patches.case import cut_case
from pipeline.stages.register import expected_key
from registration.execution import InProcess, no_progress

MANIFEST = """\
name: small
out: out
cases:
  - {{id: one, patient: p1, he: {he}, ihc: {ihc}, mpp_he: 0.4, mpp_ihc: 0.5, her2: 0}}
  - {{id: broken, patient: p1, he: {he}, ihc: broken.png, mpp_he: 0.4, mpp_ihc: 0.5, her2: 1+}}
register: {{image: none, blocks: 2x3}}
patch: {{size: 256}}
"""


@pytest.fixture
def manifest(hand_made, tmp_path: Path) -> Path:
    (tmp_path / "broken.png").write_bytes(hand_made.pair.ihc.path.read_bytes()[:1000])
    path = tmp_path / "cohort.yaml"
    path.write_text(MANIFEST.format(he=hand_made.pair.he.path, ihc=hand_made.pair.ihc.path))
    return path


def test_a_plan_says_what_every_case_needs_and_touches_nothing(manifest: Path) -> None:
    said = CliRunner().invoke(app, ["run", str(manifest), "--dry-run", "--json"])
    assert said.exit_code == 0, said.output
    plan = json.loads(said.stdout)
    one, broken = plan["cases"]
    assert (one["case"], one["patient"], one["HER2"]) == ("one", "p1", "0")
    assert (one["register"], one["patch"]) == ("to do", "waiting")
    assert one["start"] == "automatic landmarks"
    assert one["blocks"].startswith("2 x 3 at ")
    assert one["disk"].startswith("about ")
    assert one["memory"].startswith("about ")
    assert broken["register"].startswith("failed: ")
    assert "broken.png" in broken["problem"]
    assert "MiB" in plan["patches"]
    assert "GiB" in plan["memory"]
    assert not (manifest.parent / "out").exists()


def test_a_plan_is_readable(manifest: Path) -> None:
    said = CliRunner().invoke(app, ["run", str(manifest), "--dry-run", "--only", "one"])
    assert said.exit_code == 0, said.output
    assert "case one" in said.stdout
    assert "broken" not in said.stdout
    assert "register, then patch" in said.stdout


@pytest.mark.slow
def test_a_dataset_names_the_cases_that_are_not_ready(hand_made, manifest: Path) -> None:
    cohort = Cohort.load(manifest)
    (one,) = cohort.select(["one"])
    run = cohort.run(one)
    shutil.copytree(hand_made.registration.folder, run)
    record = json.loads((run / "registration.json").read_text())
    record["key"] = expected_key(cohort.request(one))
    (run / "registration.json").write_text(json.dumps(record))
    settings = cohort.manifest.patch
    cut_case(run, cohort.patches(one), settings, InProcess(), no_progress)

    said = CliRunner().invoke(app, ["run", str(manifest), "--stage", "dataset"])

    assert said.exit_code == 1, said.output
    assert (cohort.dataset / "dataset.html").exists()
    last = said.stdout.strip().splitlines()[-1]
    assert last.startswith("FAILED   broken: register: ")
    assert "FAILED   one" not in said.stdout

    strict = manifest.read_text().replace("size: 256", "size: 128")
    manifest.write_text(strict)
    said = CliRunner().invoke(app, ["run", str(manifest), "--stage", "dataset"])
    assert said.exit_code == 1, said.output
    assert "FAILED   one: not in the dataset: patch: changed" in said.stdout
