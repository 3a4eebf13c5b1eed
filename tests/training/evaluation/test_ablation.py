"""The paper's tables on a toy dataset."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from typer.testing import CliRunner

from pipeline.cli.app import app
from training.data.images import from_batch, to_batch
from training.data.pairs import open_dataset
from training.errors import DataError
from training.evaluation import ablation
from training.evaluation.ablation import TABLES, run_ablation
from training.inference.checkpoints import load_generator
from training.run.history import Listener

WritePairs = Callable[..., Path]
TINY = {"ngf": 2, "ndf": 2, "epochs": "1+0", "tensorboard": False, "device": "cpu"}


@pytest.fixture
def data(tmp_path: Path, write_pairs: WritePairs) -> Path:
    root = write_pairs(tmp_path / "data", 4, 32, 48)
    for domain in ("HE", "IHC"):
        (root / domain / "test").mkdir()
        for number, path in enumerate(sorted((root / domain / "train").iterdir())[:3]):
            shutil.copy(path, root / domain / "test" / f"{number:05d}_test_1+.png")
    return root


def test_table_3_scores_each_model_as_scikit_image_does(tmp_path: Path, data: Path) -> None:
    dataset = open_dataset(data)

    results = run_ablation(dataset, tmp_path / "out", "3", TINY, lambda _: Listener())

    assert [r.entry.folder for r in results] == ["pyramid-s1", "pyramid-s2", "pyramid-s3"]
    generator = load_generator(tmp_path / "out" / "pyramid-s2" / "last.pt")
    assert generator.config["scales"] == 2
    assert generator.config["recipe"] == "paper"
    expected = []
    for pair in dataset.select("test"):
        he, ihc = pair.read()
        fake = from_batch(generator(to_batch(he)))
        ssim = structural_similarity(ihc, fake, channel_axis=2, data_range=255)
        expected.append((peak_signal_noise_ratio(ihc, fake, data_range=255), ssim))
    assert results[1].images == 3
    assert (results[1].psnr.mean, results[1].ssim.mean) == pytest.approx(
        np.mean(expected, axis=0), abs=1e-6
    )
    stored = json.loads((tmp_path / "out" / "table_3.json").read_text())
    assert stored[0]["paper"]["bci_psnr"] == 21.160
    assert len((tmp_path / "out" / "table_3.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_finished_models_are_not_trained_again(tmp_path: Path, data: Path) -> None:
    class Counts(Listener):
        steps = 0

        def stepped(self, record: object) -> None:
            Counts.steps += 1

    for _ in range(2):
        run_ablation(open_dataset(data), tmp_path / "out", "3", TINY, lambda _: Counts())

    assert Counts.steps == 3


def test_a_row_that_fails_does_not_end_the_table(tmp_path: Path, data: Path) -> None:
    heard: list[str] = []

    class Notes(Listener):
        def note(self, text: str) -> None:
            heard.append(text)

    for name in ("pyramid-s1", "pyramid-s3"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "checkpoint.pt").write_text("no checkpoint")
    results = run_ablation(open_dataset(data), tmp_path / "out", "3", TINY, lambda _: Notes())

    assert [r.entry.folder for r in results] == ["pyramid-s2"]
    assert sum("is missing from the table: " in text for text in heard) == 2
    stored = json.loads((tmp_path / "out" / "table_3.json").read_text())
    assert [row["name"] for row in stored] == ["pyramid-s2", "pyramid-s1", "pyramid-s3"]
    assert "checkpoint" in stored[1]["error"]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint.pt")


def full_gpu(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def broken_compiler(*_: object, **__: object) -> None:
    raise RuntimeError("backend='inductor' raised: CalledProcessError")


def test_a_disk_that_is_full_for_every_row_is_the_disk_s_error(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "train", full_disk)

    with pytest.raises(OSError, match="No space left") as told:
        run_ablation(open_dataset(data), tmp_path / "out", "3", TINY, lambda _: Listener())

    assert told.value.filename == "checkpoint.pt"


@pytest.mark.parametrize(
    ("of", "failure", "said"),
    [
        ("train", full_disk, "checkpoint.pt: No space left on device"),
        ("train", broken_compiler, "backend='inductor' raised"),
        ("_score", full_gpu, "too little memory.*End other programs"),
        ("_score", full_disk, "No space left on device"),
    ],
)
def test_whatever_ends_a_row_does_not_end_the_table(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
    failure: Callable[..., None],
    said: str,
) -> None:
    genuine, calls = getattr(ablation, of), []

    def at_first(*arguments: object, **named: object) -> object:
        calls.append(arguments)
        return (failure if len(calls) == 1 else genuine)(*arguments, **named)

    monkeypatch.setattr(ablation, of, at_first)
    results = run_ablation(open_dataset(data), tmp_path / "out", "3", TINY, lambda _: Listener())

    assert [r.entry.folder for r in results] == ["pyramid-s2", "pyramid-s3"]
    stored = json.loads((tmp_path / "out" / "table_3.json").read_text())
    assert stored[2]["name"] == "pyramid-s1"
    assert re.search(said, stored[2]["error"])


def test_an_interrupted_row_ends_the_table_which_goes_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, calls = ablation.train, []

    def interrupted(config: object, *arguments: object, **named: object) -> object:
        calls.append(config)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return genuine(config, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ablation, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_ablation(open_dataset(data), tmp_path / "out", "3", TINY, lambda _: Listener())

    results = run_ablation(open_dataset(data), tmp_path / "out", "3", TINY, lambda _: Listener())
    assert [r.entry.folder for r in results] == ["pyramid-s1", "pyramid-s2", "pyramid-s3"]


def test_models_are_compared_on_a_test_split_only(tmp_path: Path, data: Path) -> None:
    shutil.rmtree(data / "HE" / "test")
    shutil.rmtree(data / "IHC" / "test")

    with pytest.raises(DataError, match="has no test split"):
        run_ablation(open_dataset(data), tmp_path / "out", "1", TINY, lambda _: Listener())


def test_table_1_has_the_papers_five_models() -> None:
    models = [entry.settings.get("model", "pyramid-pix2pix") for entry in TABLES["1"]]

    assert models == ["cyclegan", "pix2pix-unet", "pix2pix", "pix2pixhd", "pyramid-pix2pix"]


def test_command_line_prints_each_row_of_table_3_on_one_line(tmp_path: Path, data: Path) -> None:
    settings = [text for name, value in TINY.items() for text in ("--set", f"{name}={value}")]

    result = CliRunner().invoke(
        app, ["ablate", str(data), "--table", "3", "--out", str(tmp_path / "out"), *settings]
    )

    assert result.exit_code == 0, result.output
    row = next(line for line in result.stdout.splitlines() if "+S1+S2+S3" in line)
    assert row.count(" to ") == 2
    assert "21.138 / 0.472" in row
    assert "12.191 / 0.278" in row


@pytest.mark.slow
def test_command_line_prints_table_1(tmp_path: Path, write_pairs: WritePairs) -> None:
    root = write_pairs(tmp_path / "data", 3, 256, 256)
    for domain in ("HE", "IHC"):
        shutil.copytree(root / domain / "train", root / domain / "test")
    settings = [text for name, value in TINY.items() for text in ("--set", f"{name}={value}")]

    result = CliRunner().invoke(
        app, ["ablate", str(root), "--table", "1", "--out", str(tmp_path / "out"), *settings]
    )

    assert result.exit_code == 0, result.output
    assert "21.160 / 0.477" in result.output
    assert "CycleGAN" in result.output
