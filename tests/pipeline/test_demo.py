"""The demo: stages in order, twice without harm, and a summary that says how well it did."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline import demo as demo_module
from pipeline.cli.app import app
from pipeline.cli.demo import _print
from pipeline.demo import SLIDES, Demo, Stage, make_slides, run_demo, stain_virtually
from pipeline.errors import UsageError
from registration.errors import OutputError
from registration.execution import no_progress
from registration.files.commands import install_extra
from registration.files.storage import content_hash
from registration.landmarks.landmarks import read_landmarks
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings


def test_stages_run_in_order_and_share_what_they_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    stages = (
        Stage("one", lambda demo, progress: demo.results.append("made")),
        Stage("two", lambda demo, progress: told.append(demo.results[-1])),
    )
    monkeypatch.setattr(demo_module, "STAGES", stages)

    run_demo(Demo(tmp_path / "demo", 1024), no_progress, told.append)

    assert told == ["one", "two", "made"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_in_the_way_is_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "mine"
    if kind == "file":
        out.write_text("precious")
    else:
        out.mkdir()
        (out / "thesis.txt").write_text("precious")

    with pytest.raises(
        (UsageError, OutputError), match=r"--out .*mine (holds something else|is a file)"
    ):
        run_demo(Demo(out, 1024), no_progress, print)

    assert (out if kind == "file" else out / "thesis.txt").read_text() == "precious"


def test_slides_are_genuine_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "HER2", ("3+",))
    monkeypatch.setattr(demo_module, "usable_cores", lambda: 1)
    demo = Demo(tmp_path, 1024)
    make_slides(demo, no_progress)
    first = [(content_hash(case.he), case.he.stat().st_mtime_ns) for case in demo.cases]

    again = Demo(tmp_path, 1024)
    seen: list[int] = []
    make_slides(again, lambda stage, done, total: seen.append(done))

    assert [case.settings.her2 for case in demo.cases] == ["3+"]
    with open_slide(demo.cases[0].ihc) as slide:
        assert (slide.vendor, slide.size.width) == ("hamamatsu", 1024)
    assert len(read_landmarks(demo.cases[0].landmarks)) >= 4
    assert [(content_hash(c.he), c.he.stat().st_mtime_ns) for c in again.cases] == first
    assert seen == []
    assert str(tmp_path / SLIDES) in demo.results[0]


def test_the_summary_names_errors_report_and_next_command(
    hand_made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    demo = Demo(tmp_path, 1024)
    demo.cases = [SynthCase("case01", SynthSettings(size=1024, her2="3+"), tmp_path / "case01")]
    demo.registrations = {"case01": hand_made.registration}
    demo.results = ["slides: somewhere"]

    _print(demo, 12.4)

    printed = capsys.readouterr().out
    tre = hand_made.registration.quality.tre["after_projective"]
    row = next(line for line in printed.splitlines() if line.strip().startswith("case01"))
    assert row.split()[:4] == ["case01", "3+", "picked", "review"]
    assert f"{tre.median_um:.2f}" in row
    assert str(hand_made.registration.folder / "report.html") in printed
    assert "slides: somewhere" in printed
    assert "done in 12 s" in printed
    assert "bci-pipeline register" in printed


TAKE_LONG = {".ndpi", ".npz", ".tif", ".pt"}


def times_of(folder: Path) -> dict[Path, int]:
    """When slides, fields, registered slides and networks below a folder were written."""
    paths = [path for path in folder.rglob("*") if path.suffix in TAKE_LONG]
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow
@pytest.mark.timeout(3600)  # on a machine that may be busy
def test_the_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the commands it prints are to be pasted in the same folder
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--size", "2048"]

    first = CliRunner().invoke(app, arguments)
    made = times_of(tmp_path / "demo")
    second = CliRunner().invoke(app, [*arguments, "--json"])

    assert first.exit_code == 0, first.output
    assert {path.suffix for path in made} == TAKE_LONG
    assert times_of(tmp_path / "demo") == made, "what is done is not done again"
    assert "a demonstration and not a model" in first.stdout
    assert "its brown is wrong by" in first.stdout
    reached = json.loads(second.stdout)
    assert list(reached["cases"]) == ["case01", "case02"]
    for case in reached["cases"].values():
        assert case["verdict"] in ("pass", "review")
        assert case["tre"]["after_all"]["median_px"] < 0.6
        assert (Path(case["folder"]) / "report.html").stat().st_size > 100_000
    panels = np.asarray(Image.open(Path(reached["trained"]) / "virtual_ihc.png")).astype(int)
    he, virtual, real = np.split(panels, 3, axis=1)
    assert np.abs(virtual - real).mean() < np.abs(he - real).mean()
    commands = [line.strip() for line in first.stdout.splitlines() if line.startswith("  ")]
    commands = [line for line in commands if " --out " in line]
    assert [shlex.split(line.split("bci-pipeline ")[-1])[0] for line in commands] == [
        *("register", "train", "translate", "evaluate")
    ]
    for command in commands:
        done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "virtual_ihc.tif").is_file()
    assert (tmp_path / "scores" / "evaluation.html").is_file()


def test_a_demo_without_torch_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.extras.find_spec", lambda name: None)
    demo = Demo(tmp_path, 1024)
    demo.cases = [
        SynthCase(name, SynthSettings(size=1024), tmp_path / name) for name in ("case01", "case02")
    ]

    stain_virtually(demo, no_progress)

    assert demo.trained is None
    assert "no network was trained: torch is not installed" in demo.results[0]
    assert install_extra("train") in demo.results[0]
