"""``train`` and ``export`` as a user calls them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli.app import app, main
from pipeline.dataset.table import COLUMNS, PatchRow, write_tables
from registration.files.words import duration
from training.data.confidence import scale_confidence
from training.data.pairs import open_dataset
from training.models.pix2pix import Pix2Pix

TINY = ["--ngf", "2", "--crop", "32", "--epochs", "1+1", "--device", "cpu"]
TINY += ["--set", "ndf=2", "--set", "recalibrate=1", "--set", "tensorboard=no"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40, 3), dtype=np.uint8)
        for domain, image in (("HE", pixels), ("IHC", 255 - pixels)):
            (root / domain / "train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / domain / "train" / f"{number:05d}_train_0.png")
    return root


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_resume_and_export(data: Path) -> None:
    out = data.parent / "run"

    first = run("train", data, "--out", out, *TINY, "--json")
    again = run("train", data, "--out", out, *TINY)
    more = run("train", data, "--out", out, "--resume", "--epochs", "1+2", "--json")
    exported = run("export", out, data / "latest_net_G.pth")
    onto = run("export", out, data / "latest_net_G.pth")

    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["steps"] == 4
    assert "on the CPU" in first.stderr.splitlines()[0]
    assert "step 1/4" in first.stderr
    assert "held out" in first.stderr
    assert "after epoch 2: PSNR" in first.stderr
    assert again.exit_code != 0
    assert "holds a run already" in str(again.exception)
    assert json.loads(more.stdout)["epochs"] == 3
    assert exported.exit_code == 0
    assert len(torch.load(data / "latest_net_G.pth", weights_only=True)) == 140
    assert "latest_net_G.pth is there already" in str(onto.exception)


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_a_file_of_settings_for_which_no_memory_is_enough_is_named(
    data: Path, dry: tuple[str, ...]
) -> None:
    (data / "s.json").write_text(json.dumps({"batch": 2**40}))

    refused = run("train", data, "--out", data.parent / "run", "--config", data / "s.json", *dry)

    assert str(refused.exception).startswith(
        f"{data / 's.json'} (batch): a step of pyramid-pix2pix"
    )
    assert "needs about" in str(refused.exception)


@pytest.mark.parametrize(
    ("in_file", "typed", "where"),
    [
        ({"lr": 1e-4}, ("--batch", "1099511627776"), "a step of"),
        ({"batch": 2}, ("--batch", "1099511627776"), "a step of"),
        ({"batch": 2}, ("--set", "batch=1099511627776"), "a step of"),
        (
            {"ngf": 32},
            ("--batch", "1099511627776"),
            "command line (batch), {file} (ngf): a step of",
        ),
        ({"batch": 2**40, "ngf": 32}, ("--lr", "0.1"), "{file} (batch, ngf): a step of"),
    ],
)
def test_what_asks_for_too_much_memory_is_named_where_it_was_given(
    data: Path, in_file: dict[str, float], typed: tuple[str, ...], where: str
) -> None:
    file = data / "s.json"
    file.write_text(json.dumps(in_file))

    refused = run("train", data, "--out", data.parent / "run", "--config", file, *typed)

    assert str(refused.exception).startswith(where.format(file=file))
    assert "needs about" in str(refused.exception)


def test_the_environment_is_named_where_it_asks_for_too_much_memory(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCI_TRAIN_BATCH", "1099511627776")

    refused = run("train", data, "--out", data.parent / "run")

    assert str(refused.exception).startswith("environment (batch): a step of")


def test_two_folders_and_settings_file(data: Path) -> None:
    (data / "s.yaml").write_text("batch: 1\nmodel: pix2pix\n")
    folders = ["--he", data / "HE" / "train", "--ihc", data / "IHC" / "train"]

    result = run(
        "train", *folders, "--out", data.parent / "run", *TINY, "--config", data / "s.yaml"
    )

    assert result.exit_code == 0, result.output
    config = json.loads((data.parent / "run" / "config.json").read_text())
    assert (config["batch"], config["model"], config["recipe"]) == (1, "pix2pix", "robust")


def test_dry_run_reads_no_pixels(data: Path) -> None:
    planned = run("train", data, "--out", data.parent / "run", *TINY, "--dry-run", "--json")

    values = json.loads(planned.stdout)
    assert values["outlook"].startswith("on the CPU, ")
    assert ": 4 steps, about " in values["outlook"]
    assert (values["pairs_to_train_on"], values["pairs_held_out"]) == (3, 1)
    assert (values["image"], values["steps"]) == ("40 x 32 px", 4)
    assert not (data.parent / "run").exists()
    assert not (data / ".bci-pipeline-cache").exists()


def test_a_long_run_is_told_with_three_ways_to_make_it_shorter(data: Path) -> None:
    words = ["train", data, "--out", data.parent / "run", "--device", "cpu", "--dry-run"]
    first = run(*words, "--epochs", "1000000+0", "--ngf", "64").stdout.splitlines()[0]
    assert first.startswith("outlook ")
    assert " on the CPU, " in first
    assert "Shorter: --ngf 16 (about " in first
    assert first.endswith("or a machine with a GPU")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--crop", "64"), "smaller than the crop of 64"),
        (("--device", "cuda"), "no CUDA GPU is usable here"),
        (("--precision", "fp16"), "fp16 needs a GPU"),
        (("--set", "epochs=0"), "expected two numbers, such as 50+50"),
        (("--set", "bacth=2"), "bacth: unknown key. Did you mean batch?"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(
    data: Path, options: tuple[str, str], message: str
) -> None:
    if options[1] in ("cuda", "fp16") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for words in (("--dry-run",), ()):
        refused = run("train", data, "--out", data.parent / "run", *TINY, *options, *words)

        assert message in str(refused.exception)
        assert not (data.parent / "run").exists()


@pytest.mark.parametrize("number", range(4))
def test_a_pair_of_two_sizes_is_refused_before_anything_is_decoded(data: Path, number: int) -> None:
    path = data / "IHC" / "train" / f"{number:05d}_train_0.png"
    Image.new("RGB", (40, 33)).save(path)

    for words in (("--dry-run",), ()):
        refused = run("train", data, "--out", data.parent / "run", *TINY, *words)
        assert f"{path} is 40 x 33 px; both must be the same" in str(refused.exception)

    assert not (data / ".bci-pipeline-cache").exists()


def test_a_dry_run_refuses_a_folder_that_is_taken(data: Path) -> None:
    (data.parent / "run").mkdir()
    (data.parent / "run" / "config.json").write_text("{}")

    refused = run("train", data, "--out", data.parent / "run", *TINY, "--dry-run")

    assert "holds a run already" in str(refused.exception)


def test_the_table_that_patch_writes_tells_how_well_pairs_are_aligned(data: Path) -> None:
    rows = [
        patch_row(number, shift_um, rank)
        for number, (shift_um, rank) in enumerate([(0.2, 100.0), (9.2, 100.0), (0.2, 75.0)])
    ]
    rejected = replace(patch_row(9, 0.1, 99.0), kept=False, reason="no match", he_file=None)
    write_tables(data, [*rows, rejected])
    (data / "patches.csv").unlink()  # the Parquet table alone must do

    pairs = open_dataset(data).select("train")
    planned = run("train", data, "--out", data.parent / "run", *TINY, "--epochs", "1+0")

    assert [pair.patient for pair in pairs] == ["p0", "p1", "p2", None]
    assert [pair.shift_px for pair in pairs[:3]] == pytest.approx([0.4, 18.4, 0.4])
    assert [pair.trust for pair in pairs[:3]] == pytest.approx([1.0, 1.0, 0.5])
    weights = scale_confidence(pairs[:3], 2, 4.0)
    assert weights is not None
    at_l1 = weights[:, 0] / weights[0, 0]
    assert at_l1[1] == pytest.approx((1 + 0.1**2) / (1 + 4.6**2), rel=1e-4)
    assert at_l1[2] == pytest.approx(0.5, rel=1e-4)
    assert planned.exit_code == 0, planned.output
    assert "alignment confidence:" in planned.stderr


def patch_row(number: int, shift_um: float, rank: float) -> PatchRow:
    name = f"{number:05d}_train_0.png"
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    values |= {"pair_id": f"case_{number}", "case": "case", "patient": f"p{number}", "size": 32}
    values |= {"mpp": 0.5, "split": "train", "shift_um": shift_um, "null_percentile": rank}
    values |= {"fold": False, "seam": False, "kept": True, "reason": "", "stain": "IHC"}
    return PatchRow(**values | {"he_file": f"HE/train/{name}", "ihc_file": f"IHC/train/{name}"})


@pytest.mark.parametrize("of", ["GPU", "machine"])
def test_running_out_of_memory_ends_with_the_figure_and_three_remedies(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    def full(*_: object) -> None:
        if of == "GPU":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 2 GiB"
        )

    for path in data.glob("*/train/*.png"):
        Image.open(path).resize((256, 256)).save(path)
    monkeypatch.setattr(Pix2Pix, "step", full)
    monkeypatch.setattr(
        "training.memory.used", lambda of_machine: ": 7.9 GiB in all" if of_machine else ": 7.9 GiB"
    )
    words = ["train", str(data), "--out", str(data.parent / "run"), *TINY, "--crop", "256"]
    monkeypatch.setattr("sys.argv", ["bci-pipeline", *words])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"{of} has too little memory: 7.9 GiB" in told
    for remedy in ("--set recompute=true", "--crop 128", "--batch 1 --accumulate 2"):
        assert re.search(rf"{remedy} \(about \d+\.\d GiB\)", told)


@pytest.mark.parametrize("command", ["train", "ablate"])
def test_divergence_exits_with_1(
    data: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for domain in ("HE", "IHC"):
        shutil.copytree(data / domain / "train", data / domain / "test")
    settings = ["--epochs", "1+1", "--crop", "32", "--set", "ngf=2", "--set", "device=cpu"]
    settings += ["--set", "lr=1e30", "--set", "tensorboard=no", "--out", str(data.parent / "run")]
    monkeypatch.setattr("sys.argv", ["bci-pipeline", command, str(data), *settings])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert "stopped: " in told
    assert "training diverged at step" in told


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (75, "1 min 15 s"), (7300, "2 h 01 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_dry_run_of_the_ablation_counts_the_steps_of_every_model(data: Path) -> None:
    for domain in ("HE", "IHC"):
        shutil.copytree(data / domain / "train", data / domain / "test")
    words = ["ablate", data, "--out", data.parent / "runs", "--epochs", "2+2", "--crop", "32"]
    words += ["--set", "ngf=2", "--set", "device=cpu", "--dry-run"]

    planned = json.loads(run(*words, "--json").stdout)
    lines = run(*words).stdout.splitlines()

    assert len(lines) == len(planned) + 1
    assert all(plan["steps"] == 8 and plan["seconds"] >= 0 for plan in planned.values())
    assert lines[-1].startswith("all ")
    assert f"{8 * len(planned)} steps, about" in lines[-1]
    assert not (data.parent / "runs").exists()
