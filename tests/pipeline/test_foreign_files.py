"""Files of the user's that are called like ours, in the folder where the program is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_plugin.jobs import Job, RunRequest
from registration.children import environment
from registration.synth.case import write_case
from registration.synth.settings import SynthSettings
from tests.patience import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.long]

NAMES = ("pipeline", "training", "registration", "napari_plugin", "distributed", "random", "queue")
SCRIPT = Path(sys.executable).with_name("bci-pipeline")
MANIFEST = """\
name: small
out: out
cases:
  - {id: one, patient: p1, he: he.ndpi, ihc: ihc.ndpi, landmarks: landmarks.csv}
register: {image: none, blocks: 2x2}
patch: {size: 256, min_tissue: 0.3}
split: {test: 0}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of slides among such files."""
    folder = tmp_path_factory.mktemp("user")
    settings = SynthSettings(size=1024, seed=5, her2="2+", warp_px=8, rotation_deg=4.0, picks=8)
    case = write_case(folder / "case", settings)
    for path, name in ((case.he, "he"), (case.ihc, "ihc"), (case.landmarks, "landmarks")):
        path.rename(folder / f"{name}{path.suffix}")
    for name in NAMES:
        (folder / f"{name}.py").write_text("raise SystemExit('a file of the user was run')")
    return folder


def test_the_register_button_with_two_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    request = RunRequest(
        Path("he.ndpi"),
        Path("ihc.ndpi"),
        Path("landmarks.csv"),
        Path("run"),
        blocks="2x2",
        image=False,
    )
    job = Job([*request.command, "--workers", "2"])

    wait_for(lambda: not job.is_running, "the end of the registration")
    job.news()

    assert job.exit_code == 0, job.said
    assert (folder / "run" / "registration.json").is_file()


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the program is not installed, only its source")
def test_a_cohort_by_the_installed_script(folder: Path) -> None:
    (folder / "cohort.yaml").write_text(MANIFEST)

    done = subprocess.run(
        [str(SCRIPT), "run", "cohort.yaml", "--workers", "2"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "dataset" / "patches.parquet").is_file()
