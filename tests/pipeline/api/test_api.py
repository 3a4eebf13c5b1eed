"""``import bci_pipeline as bci``: light, typed, and the same words as the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bci_pipeline as bci
from pipeline.api.reporting import NotebookBars, reporting
from pipeline.api.stain import Stain, TrainingReports
from pipeline.errors import DatasetError
from registration.children import environment, python
from registration.errors import BciError, LandmarkError, RunError, SettingsError
from registration.files.commands import install_extra

ROOT = Path(__file__).parents[3]

WITHOUT_TRAINING = """
import importlib.machinery, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.split(".")[0] in ("torch", "lightning_fabric", "torchmetrics", "tensorboard")
        return None if missing else super().find_spec(name, path, target)

sys.meta_path = [
    Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path
]
"""


def run_python(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python(*words), cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


def test_the_import_alone_loads_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import bci_pipeline as bci; "
        "print(sorted({n.split('.')[0] for n in set(sys.modules) - before})); print(dir(bci))"
    )

    done = run_python("-c", program)

    loaded, names = done.stdout.splitlines()
    heavy = {"numpy", "torch", "itk", "cv2", "openslide", "pipeline", "registration", "training"}
    assert heavy & set(re.findall(r"'(\w+)'", loaded)) == set()
    assert names == str(bci.__all__)


def test_every_name_is_there_and_no_other() -> None:
    for name in bci.__all__:
        assert getattr(bci, name) is not None
    assert bci.Error is BciError
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bci.nothing


def test_points_go_both_ways(hand_made) -> None:
    run = bci.open_run(str(hand_made.registration.folder))

    to_he, to_ihc = run.to_he(hand_made.truth.ihc), run.to_ihc(hand_made.truth.he)

    np.testing.assert_allclose(to_he, hand_made.truth.he, atol=0.01)
    np.testing.assert_allclose(to_ihc, hand_made.truth.ihc, atol=0.01)
    assert run.to_ihc(np.empty((0, 2))).shape == (0, 2)
    assert run.verdict == "review"
    assert repr(run) == f"<Run {run.folder}: review>"
    assert run.quality.residual.median_um >= 0
    with pytest.raises(ValueError, match=r"shape \(3,\): expected \(N, 2\)"):
        run.to_ihc([1.0, 2.0, 3.0])


def test_the_warped_slide_shows_the_moving_one(hand_made) -> None:
    run = bci.open_run(hand_made.registration.folder)

    with run.registered_slide() as slide:
        region = np.asarray(slide.read_region((700, 500), 0, (40, 30)))[..., :3]
        dimensions = slide.dimensions

    (x, y), *_ = run.to_he([[719.5, 514.5]])
    with bci.open_slide(hand_made.pair.he.path, 0.4) as he:
        around = he.thumbnail(1800)[0][int(y) - 12 : int(y) + 12, int(x) - 12 : int(x) + 12]
    assert dimensions == (hand_made.pair.ihc.size.width, hand_made.pair.ihc.size.height)
    assert np.abs(region.mean(axis=(0, 1)) - around.mean(axis=(0, 1))).max() < 12


def test_a_dataset_and_its_table(hand_made, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    run = bci.open_run(hand_made.registration.folder)

    made = bci.patch(
        [run],
        str(tmp_path / "dataset"),
        size=256,
        min_tissue=0.3,
        test=0,
        workers=1,
        progress=lambda *now: said.append(now),
    )

    table = made.table()
    assert made.failed == {}
    assert sum(map(bool, table["kept"].to_numpy())) == made.record["funnel"][-1]["left"] > 0
    assert "shift_um" in " ".join(map(str, getattr(table, "columns", table)))
    assert said
    assert repr(made) == f"<PatchDataset {made.folder}: {made.record['kept']} pairs>"
    again = bci.open_dataset(made.folder)
    assert again.record == made.record
    assert again.report.is_file()


def test_errors_are_the_words_of_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    with pytest.raises(bci.Error, match="there is no folder") as caught:
        bci.open_run(folder)
    assert isinstance(caught.value, RunError)
    with pytest.raises(SettingsError, match="blocks: expected rows x columns"):
        bci.register("a", "b", out=folder, blocks="4")
    with pytest.raises(SettingsError, match=r"blcoks: unknown key.*blocks"):
        bci.register("a", "b", out=folder, blcoks="4x4")
    with pytest.raises(DatasetError, match="no finished dataset"):
        bci.open_dataset(folder)

    with pytest.raises(bci.Error) as refused:
        bci.patch([folder], out=tmp_path / "out", progress=False)
    done = run_python("-m", "pipeline.cli", "patch", str(folder), "--out", str(tmp_path / "out"))

    assert done.returncode == 2
    assert done.stderr == f"error: {refused.value}\n"


NO_PATH = "expected a text or a path, found"
WRONG_ARGUMENTS = {
    "no path": (lambda: bci.open_run(None), f"folder: {NO_PATH} nothing"),
    "a number for a path": (lambda: bci.register(3, "b", "c"), f"he: {NO_PATH} 3"),
    "a flag for a path": (lambda: bci.open_slide(True), "path: expected a number or a text"),
    "a decimal comma": (
        lambda: bci.register("a", "b", "c", mpp_he="0,46"),
        "mpp_he: expected a number, found '0,46'",
    ),
    "a flag for a number": (
        lambda: bci.register("a", "b", "c", mpp_ihc=True),
        "mpp_ihc: expected a number or a text, found True",
    ),
    "no finite number": (lambda: bci.open_slide("a", float("nan")), "mpp: expected a number"),
    "progress": (
        lambda: bci.register("a", "b", "c", progress=3),
        "progress: expected true or false or a function, found 3",
    ),
    "workers": (lambda: bci.patch("a", "b", workers=1.5), "workers: expected a whole number"),
    "no workers": (
        lambda: bci.register("a", "b", "c", workers=0),
        "workers: expected at least 1, found 0",
    ),
    "one of many": (lambda: bci.patch(["a", 3], "b"), "runs: expected a Run or a text or a path"),
    "a table for a dataset": (
        lambda: bci.evaluate("a", {"split": "test"}, "c"),
        f"dataset: {NO_PATH} {{'split': 'test'}}",
    ),
    "format": (lambda: bci.translate("a", "b", "c", format="png"), "format: expected tiff, ome"),
    "device": (lambda: bci.load_generator("a", device="gpu"), "device: expected auto, cpu or cu"),
    "a name of another format": (
        lambda: bci.translate("a", "b", "c.jpg"),
        "--out c.jpg is no name for the format tiff: name a file in .tif, or give another",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_ARGUMENTS)
def test_a_wrong_argument_is_named(wrong: str) -> None:
    call, message = WRONG_ARGUMENTS[wrong]
    with pytest.raises(BciError, match=re.escape(message)):
        call()


def test_numbers_may_be_text_or_of_numpy(hand_made) -> None:
    for mpp in ("0.4", np.float32(0.4), 0.4):
        with bci.open_slide(hand_made.pair.he.path, mpp) as slide:
            assert slide.mpp == pytest.approx(0.4)


NO_POINTS = {
    "one point": [1.0, 2.0],
    "three columns": [[1.0, 2.0, 3.0]],
    "text": "abc",
    "nothing": None,
    "ragged": [[1.0], [1.0, 2.0]],
}


@pytest.mark.parametrize("points", NO_POINTS.values(), ids=NO_POINTS)
def test_what_is_no_array_of_points_is_refused(points, hand_made) -> None:
    run = bci.open_run(hand_made.registration.folder)
    for take in (run.to_he, run.to_ihc, run.quality.uncertainty.at):
        with pytest.raises(LandmarkError, match=r"expected \(N, 2\)"):
            take(points)


@pytest.mark.parametrize("image", [None, "abc", [[1], [1, 2]], np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused_before_any_network_sees_it(image) -> None:
    with pytest.raises(BciError, match=r"image|expected"):
        Stain(None)(image)  # type: ignore[arg-type]  # the network is not reached


def test_no_points_at_all_are_points(hand_made) -> None:
    run = bci.open_run(hand_made.registration.folder)
    assert run.to_he([]).shape == run.to_ihc([]).shape == (0, 2)
    assert len(run.quality.uncertainty.at([])) == 0


@pytest.mark.parametrize(("runs", "message"), [("gone", "no folder gone"), ([], "no run was")])
def test_one_run_is_enough_and_none_is_refused(
    runs: str | list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BciError, match=message):
        bci.patch(runs, out="out", progress=False)


@pytest.mark.slow
def test_without_the_training_packages_the_first_half_works(hand_made, tmp_path: Path) -> None:
    program = WITHOUT_TRAINING + (
        "import bci_pipeline as bci\n"
        f"run = bci.open_run({str(hand_made.registration.folder)!r})\n"
        f"made = bci.patch([run], {str(tmp_path / 'data')!r}, size=256, min_tissue=.3, test=0,\n"
        "                 workers=1, progress=False)\n"
        "import pipeline.cohort.run, pipeline.cli.pick, pipeline.demo, napari_plugin.jobs\n"
        "print(len(made.table()) > 0)\n"
        "try:\n    bci.train\nexcept bci.Error as error:\n    print(error)\n"
        "from pipeline.cli.app import main\n"
        "sys.argv = ['bci-pipeline', 'train', 'dataset']\nmain()\n"
    )

    done = run_python("-c", program)

    worked, said = done.stdout.splitlines()
    assert worked == "True"
    assert said == (
        "torch is not installed, which training and virtual staining need. "
        f"Install it with: {install_extra('train')}"
    )
    assert done.stderr == f"error: {said}\n"
    assert done.returncode == 2


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text("")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import bci_pipeline as bci; bci.Run; "
    )
    message = (
        "is found instead of the package {!r} of bci-pipeline: rename it, or take its folder out of "
        "PYTHONPATH"
    )

    done = run_python("-c", program)

    said = f"{tmp_path / 'training.py'} {message.format('training')}"
    assert done.stderr.splitlines()[-1] == f"ImportError: {said}"

    (tmp_path / "pipeline.py").write_text("")
    done = run_python("-c", program.replace("bci.Run", "bci.main()"))

    assert done.stderr == f"error: {tmp_path / 'pipeline.py'} {message.format('pipeline')}\n"
    assert done.returncode == 1


def test_a_notebook_shows_bars_and_training_reports_to_them() -> None:
    pages: list[str] = []

    def display(page: str):
        pages.append(page)
        return pages.append

    bars = NotebookBars(display)
    bars("blocks <1>", 3, 16)
    TrainingReports(bars).preparing("decoding", 1, 2)

    assert pages[0] == ""
    assert "blocks &lt;1&gt;" in pages[-1]
    assert "<progress value='3' max='16'>" in pages[-1]
    assert "decoding" in pages[-1]
    with reporting(False) as silent:
        silent("stage", 1, 2)


def code_of(page: Path) -> str:
    """The code blocks of a page, one after another."""
    return "\n".join(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )


@pytest.mark.slow
def test_the_page_on_python_runs_as_a_script(tmp_path: Path) -> None:
    from registration.synth.case import write_case
    from registration.synth.settings import SynthSettings

    settings = SynthSettings(size=1024, seed=5, her2="2+", warp_px=8, rotation_deg=4.0, picks=8)
    case = write_case(tmp_path / "case", settings)
    for path, name in (
        (case.he, "he.ndpi"),
        (case.ihc, "ihc.ndpi"),
        (case.landmarks, "landmarks.csv"),
    ):
        path.rename(tmp_path / name)
    for name in ("pipeline", "training", "registration"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')")
    script = tmp_path / "scripts" / "page.py"
    script.parent.mkdir()
    script.write_text(code_of(ROOT / "docs" / "api.md"))

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "there is no folder registered/p999" in done.stdout
    assert (tmp_path / "virtual_ihc.tif").is_file()
