"""What a cohort's plan says before anything is done: the work, disk and memory of every case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app

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
