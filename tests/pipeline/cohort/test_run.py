"""A small cohort from its manifest to its dataset: killed, gone on with, with a broken slide in it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.inspection import inspect_dataset
from pipeline.dataset.table import read_table
from registration.synth import CohortPlan, SynthSettings, write_cohort
from tests.patience import wait_for

pytestmark = pytest.mark.slow

PROGRAM = "from pipeline.cli.app import main; main()"
MANIFEST = """\
name: small
out: out
cases:
  - {{id: one, patient: p1, he: case01/case01_he.ndpi, ihc: case01/case01_ihc.ndpi, her2: 1+,
     landmarks: case01/landmarks.csv}}
  - {{id: broken, patient: p1, he: case01/case01_he.ndpi, ihc: broken.ndpi, her2: 2+}}
  - {{id: two, patient: p3, he: case02/case02_he.ndpi, ihc: case02/case02_ihc.ndpi, her2: 3+,
     landmarks: case02/landmarks.csv}}
register: {{image: none, blocks: 2x2}}
patch: {{size: 256, min_tissue: {least}}}
split: {{test: 0.5}}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides of two cases, and one that is cut short."""
    folder = tmp_path_factory.mktemp("cohort") / "slides"
    settings = SynthSettings(size=2048, seed=60, picks=6, pick_noise_px=1.0)
    write_cohort(folder, CohortPlan(settings, cases=2, her2=("1+", "3+")))
    whole = (folder / "case02" / "case02_ihc.ndpi").read_bytes()
    (folder / "broken.ndpi").write_bytes(whole[: len(whole) // 3])
    return folder


def command(base: Path, least: float, *options: str) -> list[str]:
    """The command line of a run whose manifest asks for a share of tissue."""
    path = base / "cohort.yaml"
    path.write_text(MANIFEST.format(least=least))
    return [sys.executable, "-c", PROGRAM, "run", str(path), "--workers", "1", *options]


def status(base: Path) -> dict[str, Any]:
    words = [sys.executable, "-c", PROGRAM, "status", str(base / "cohort.yaml"), "--json"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout))


def test_killed_started_again_with_a_broken_slide_and_changed_settings(base: Path) -> None:
    out = base / "out"
    one, two = (
        out / "cases" / name / "registration" / "registration.json" for name in ("one", "two")
    )

    killed = subprocess.Popen(command(base, 0.3), stderr=subprocess.DEVNULL)
    wait_for(lambda: one.exists() or killed.poll() is not None, "the first registration")
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    stamp = one.stat().st_mtime_ns

    first = subprocess.run(command(base, 0.3), capture_output=True, text=True)

    assert first.returncode == 1, first.stderr
    assert one.stat().st_mtime_ns == stamp, "a finished registration was made again"
    last = first.stdout.strip().splitlines()[-1]
    assert last.startswith("FAILED   broken: register: ")
    assert "broken.ndpi" in last
    facts = inspect_dataset(out / "dataset")
    assert facts["problems"] == []
    assert set(facts["patients"]) == {"train", "test"}
    assert {row.case for row in read_table(out / "dataset")} == {"one", "two"}
    assert "broken" in (out / "dataset" / "README.md").read_text()

    measured = out / "cases" / "one" / "patches" / "measured.json"
    stamps = [path.stat().st_mtime_ns for path in (one, two, measured)]
    before = (out / "dataset" / "SHA256SUMS").read_text()
    again = subprocess.run(command(base, 0.3), capture_output=True, text=True)
    assert again.returncode == 1
    assert (out / "dataset" / "SHA256SUMS").read_text() == before

    command(base, 0.8)
    states = status(base)
    assert (states["one"]["register"], states["one"]["patch"]) == ("done", "changed")
    assert states["one"]["verdict"] in ("pass", "review")
    assert Path(states["one"]["report"]).is_file()
    assert states["broken"]["register"].startswith("failed: ")
    strict = subprocess.run(command(base, 0.8), capture_output=True, text=True)
    assert strict.returncode == 1
    assert [path.stat().st_mtime_ns for path in (one, two, measured)] == stamps
    assert (out / "dataset" / "SHA256SUMS").read_text() != before
    two_now = status(base)["two"]
    assert (two_now["register"], two_now["patch"]) == ("done", "done")
    kept = sum(row.kept for row in read_table(out / "dataset") if row.case == "two")
    assert two_now["pairs"] == kept
    assert f"two  {two_now['verdict']}, {kept} pairs: {two_now['report']}" in strict.stdout

    shutil.copyfile(base / "case01" / "case01_ihc.ndpi", base / "broken.ndpi")
    mended = subprocess.run(
        command(base, 0.8, "--only", "broken", "--stage", "register"),
        capture_output=True,
        text=True,
    )
    assert mended.returncode == 0, mended.stderr
    assert status(base)["broken"]["register"] == "done"
