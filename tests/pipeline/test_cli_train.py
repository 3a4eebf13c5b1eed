"""``train`` and ``export`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.cli.train_progress import duration

TINY = ["--ngf", "2", "--crop", "32", "--epochs", "1+1", "--device", "cpu"]
TINY += ["--set", "ndf=2", "--set", "recalibrate=1", "--set", "tensorboard=no"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40, 3), dtype=np.uint8)
        for domain, image in (("HE", pixels), ("IHC", 255 - pixels)):
            (tmp_path / domain / "train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / domain / "train" / f"{number:05d}_train_0.png")
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_resume_and_export(data: Path) -> None:
    out = data / "run"

    first = run("train", data, "--out", out, *TINY, "--json")
    again = run("train", data, "--out", out, *TINY)
    more = run("train", data, "--out", out, "--resume", "--epochs", "1+2", "--json")
    exported = run("export", out, data / "latest_net_G.pth")

    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["steps"] == 4
    assert "held out" in first.stderr
    assert "after epoch 2: PSNR" in first.stderr
    assert again.exit_code != 0
    assert "holds a run already" in str(again.exception)
    assert json.loads(more.stdout)["epochs"] == 3
    assert exported.exit_code == 0
    assert len(torch.load(data / "latest_net_G.pth", weights_only=True)) == 140


def test_two_folders_and_settings_file(data: Path) -> None:
    (data / "s.yaml").write_text("batch: 1\nmodel: pix2pix\n")
    folders = ["--he", data / "HE" / "train", "--ihc", data / "IHC" / "train"]

    result = run("train", *folders, "--out", data / "run", *TINY, "--config", data / "s.yaml")

    assert result.exit_code == 0, result.output
    config = json.loads((data / "run" / "config.json").read_text())
    assert (config["batch"], config["model"], config["recipe"]) == (1, "pix2pix", "robust")


def test_dry_run_reads_no_pixels(data: Path) -> None:
    planned = run("train", data, "--out", data / "run", *TINY, "--dry-run", "--json")

    values = json.loads(planned.stdout)
    assert (values["pairs_to_train_on"], values["pairs_held_out"]) == (3, 1)
    assert (values["image"], values["steps"]) == ("40 x 32 px", 4)
    assert not (data / "run").exists()
    assert not (data / ".bci-pipeline-cache").exists()


def test_divergence_exits_with_1(data: Path) -> None:
    result = run("train", data, "--out", data / "run", *TINY, "--lr", "1e30")

    assert result.exit_code == 1
    assert "diverged" in result.stderr


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (75, "1 min 15 s"), (7300, "2 h 01 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
