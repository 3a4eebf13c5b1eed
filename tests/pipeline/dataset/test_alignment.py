"""Pairs of a download are measured before training, once, and shifted ones then count less."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.dataset.alignment import MEASURED, outlook, with_alignment
from training.data.confidence import scale_confidence
from training.data.pairs import open_dataset
from training.run.history import Listener

SIDE = 320
SHIFTS = (0, 0, 0, 14, 0)
"""In pixels, of each pair."""
QUICK = ("--ngf", "2", "--crop", "32", "--epochs", "1+0", "--device", "cpu", "--set", "ndf=2")


class Heard(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: set[str] = set()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def preparing(self, stage: str, done: int, total: int) -> None:
        self.stages.add(stage)


def draw(path: Path, seed: int, shift: int, ground: str, nuclei: str) -> None:
    """Draw nuclei at places that the seed decides, all of them moved to the right."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(image)
    for x, y in random.uniform(-20, SIDE + 20, (260, 2)):
        radius = random.uniform(4, 8)
        box = (x + shift - radius, y - radius, x + shift + radius, y + radius)
        pen.ellipse(box, fill=nuclei)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """A dataset in BCI's layout and names, one pair of it shifted."""
    root = tmp_path / "BCI"
    for number, shift in enumerate(SHIFTS):
        name = f"train/{number:05d}_train_2+.png"
        draw(root / "HE" / name, number, shift, "#f0c8dc", "#50288c")
        draw(root / "IHC" / name, number, 0, "#f4f1ee", "#6478aa")
    return root


def test_pairs_without_a_table_are_measured_once_and_the_shifted_one_is_found(
    download: Path, tmp_path: Path
) -> None:
    dataset, run, first, second = open_dataset(download), tmp_path / "run", Heard(), Heard()

    found = with_alignment(dataset, run, first)
    again = with_alignment(dataset, run, second)

    assert [pair.shift_px for pair in found.pairs] == pytest.approx(SHIFTS, abs=1.5)
    assert [pair.name for pair in found.pairs] == [pair.name for pair in dataset.pairs]
    assert first.stages == {"alignment"}
    assert "alignment of 5 pairs measured in" in first.notes[-1]
    assert again == found
    assert (second.notes, second.stages) == ([], set())
    os.utime(dataset.pairs[0].he.path, ns=(1, 1))
    with_alignment(dataset, run, second)
    assert second.stages == {"alignment"}, "another file by now"


def test_known_alignment_and_small_images_are_left_alone(download: Path, tmp_path: Path) -> None:
    (download / "patches.csv").write_text("name,shift_px\n00000_train_2+,3\n")
    known = open_dataset(download)
    for image in (tmp_path / "small" / kind / f"{k}.png" for kind in ("HE", "IHC") for k in "ab"):
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(image)
    small = open_dataset(tmp_path / "small")

    for dataset in (known, small):
        assert outlook(dataset, tmp_path / "run") == ""
        assert with_alignment(dataset, tmp_path / "run", Listener()) is dataset
    assert not (tmp_path / "run").exists()


def test_train_measures_first_and_says_so(download: Path, tmp_path: Path) -> None:
    words = ["train", str(download), *QUICK, "--set", "tensorboard=no", "--out"]

    planned = CliRunner().invoke(app, [*words, str(tmp_path / "plan"), "--dry-run"])
    measured = CliRunner().invoke(app, [*words, str(tmp_path / "one")])
    skipped = CliRunner().invoke(app, [*words, str(tmp_path / "two"), "--no-measure"])

    assert "the alignment of 5 pairs will be measured first, about" in planned.stdout
    assert not (tmp_path / "plan").exists()
    assert measured.exit_code == 0, measured.output
    notes = json.loads((tmp_path / "one" / "run.json").read_text())["notes"]
    assert any(note.startswith("alignment confidence: ") for note in notes)
    assert "alignment: 5/5" in measured.stderr
    assert (tmp_path / "one" / MEASURED).is_file()
    assert skipped.exit_code == 0, skipped.output
    assert "all pairs weigh alike" in skipped.stderr
    assert not (tmp_path / "two" / MEASURED).exists()


@pytest.mark.slow
def test_a_run_goes_on_as_it_began_measured_or_not(download: Path, tmp_path: Path) -> None:
    words = ["train", str(download), *QUICK, "--set", "tensorboard=no", "--out"]
    measured, not_measured = [*words, str(tmp_path / "one")], [*words, str(tmp_path / "two")]
    longer = ["--epochs", "2+0", "--resume"]
    CliRunner().invoke(app, measured)
    CliRunner().invoke(app, [*not_measured, "--no-measure"])

    planned = CliRunner().invoke(app, [*not_measured, *longer, "--dry-run"])
    on = [CliRunner().invoke(app, [*run, *longer]) for run in (measured, not_measured)]
    otherwise = CliRunner().invoke(app, [*measured, *longer, "--no-measure"])

    assert "will be measured" not in planned.stdout
    assert [done.exit_code for done in on] == [0, 0], on[1].output
    assert not (tmp_path / "two" / MEASURED).exists()
    assert "4 have other figures of their alignment" in str(otherwise.exception)


def test_images_without_any_structure_do_not_spoil_the_weights_of_the_others(
    download: Path, tmp_path: Path
) -> None:
    for domain in ("HE", "IHC"):
        blank = download / domain / "train" / "00009_train_0.png"
        Image.new("RGB", (SIDE, SIDE), "white").save(blank)

    dataset = with_alignment(open_dataset(download), tmp_path / "run", Listener())

    weights = scale_confidence(dataset.pairs, 2, 4.0)
    assert weights is not None
    assert np.isfinite(weights).all()
    assert with_alignment(open_dataset(download), tmp_path / "run", Listener()) == dataset


def test_a_download_is_graded_and_the_shifted_pair_left_out(download: Path, tmp_path: Path) -> None:
    words = ["train", str(download), *QUICK, "--set", "tensorboard=no", "--grade", "silver"]
    scores = tmp_path / "scores.csv"

    planned = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "plan"), "--dry-run"])
    trained = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "one")])
    refused = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "two"), "--no-measure"])
    said = CliRunner().invoke(
        app, ["dataset", str(download), "--workers", "1", "--json", "--scores", str(scores)]
    )

    assert planned.exit_code == 0, planned.output
    assert trained.exit_code == 0, trained.output
    notes = json.loads((tmp_path / "one" / "run.json").read_text())["notes"]
    assert "1 training pairs below silver left out" in notes
    assert "no training pair of grade silver or gold" in str(refused.exception)
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert [row["grade"] in ("silver", "gold") for row in rows] == [not shift for shift in SHIFTS]
    grades = json.loads(said.stdout)["alignment"]["grades"]
    assert grades["silver"] + grades["gold"] == SHIFTS.count(0)


def test_real_pairs_in_bcis_layout(real_data: Path, tmp_path: Path) -> None:
    for kind in ("HE", "IHC"):
        (tmp_path / kind / "train").mkdir(parents=True)
        for path in sorted((real_data / "patches" / "bci" / kind / "test").iterdir())[:4]:
            shutil.copy(path, tmp_path / kind / "train" / path.name.replace("_test_", "_train_"))

    found = with_alignment(open_dataset(tmp_path), tmp_path / "run", Listener())

    shifts = {pair.name: pair.shift_px for pair in found.pairs}
    assert shifts["00007_train_1+"] < 2
    assert max(shift for shift in shifts.values() if shift is not None) > 20


def test_scores_replace_nothing_but_earlier_scores(download: Path, tmp_path: Path) -> None:
    words = ["dataset", str(download), "--mpp", "0.5", "--workers", "1", "--scores"]
    other, scores = tmp_path / "patients.csv", tmp_path / "scores.csv"
    other.write_text("patient,age\n1,50\n")

    onto = CliRunner().invoke(app, [*words, str(other)])
    first = CliRunner().invoke(app, [*words, str(scores)])
    written = scores.read_text()
    second = CliRunner().invoke(app, [*words, str(scores)])

    assert "patients.csv is there already and no earlier result" in str(onto.exception)
    assert other.read_text() == "patient,age\n1,50\n"
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert len(written.splitlines()) == 1 + len(SHIFTS)
    assert scores.read_text() == written
