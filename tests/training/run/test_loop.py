"""A whole run: what it leaves, how it stops, and that a killed one ends as if it had not been."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from training.data.batches import Batch
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.errors import CheckpointError, ConfigError, DivergedError
from training.inference.checkpoints import load_generator, read_checkpoint
from training.models.pix2pix import build_model
from training.run.history import Silent, StepRecord, ValidationRecord
from training.run.loop import train
from training.run.preparation import prepare
from training.settings.config import TrainConfig

WritePairs = Callable[..., Path]
SmallConfig = Callable[..., TrainConfig]
MODELS = ["pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan"]


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[StepRecord] = []
        self.validations: list[ValidationRecord] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stepped(self, record: StepRecord) -> None:
        self.steps.append(record)

    def validated(self, record: ValidationRecord) -> None:
        self.validations.append(record)


def state_of(run: Path) -> dict[str, Any]:
    state = read_checkpoint(run / "checkpoint.pt")
    return {
        key: state[key]
        for key in ("position", "networks", "optimizers", "averaged", "extra", "random")
    }


def assert_same(a: Any, b: Any, where: str = "") -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{number}")
    else:
        assert a == b, where


def test_a_run_leaves_everything_behind(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    heard = Notes()
    dataset = open_dataset(write_pairs(tmp_path / "data"))

    outcome = train(small_config(log_every=3), dataset, tmp_path / "run", listener=heard)

    run = tmp_path / "run"
    assert (outcome.epochs, outcome.steps) == (4, 8)
    assert set(outcome.scores) == {"psnr", "ssim"}
    assert [r.step for r in heard.steps] == [3, 4, 6, 8]
    assert [r.epoch for r in heard.validations] == [2, 4]
    assert any(note.startswith("warning: patients are unknown") for note in heard.notes)
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "4", "6", "8"]
    assert {"lr", "G_GAN", "G_L1", "G_S1", "D_fake", "D_real", "images_per_s", "waiting"} <= set(
        rows[0]
    )
    assert json.loads((run / "config.json").read_text())["ngf"] == 2
    with Image.open(run / "samples" / "epoch_0002.png") as sheet:
        assert sheet.width > 3 * 256
    assert (run / "train.html").read_text().startswith("<!doctype html>")
    assert not list(run.rglob("*.part*"))
    best = load_generator(run)
    assert best.config["model"] == "pyramid-pix2pix"
    assert best.scores["psnr"] == pytest.approx(outcome.best_psnr)


def test_best_generator_is_the_best_validated_one(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    heard = Notes()
    config = small_config(epochs=(3, 3), validate_every=1, lr=2e-2)

    train(config, open_dataset(write_pairs(tmp_path / "data")), tmp_path / "run", listener=heard)

    psnr = [r.scores["psnr"] for r in heard.validations]
    assert load_generator(tmp_path / "run" / "best.pt").epoch == 1 + int(np.argmax(psnr))
    assert load_generator(tmp_path / "run" / "last.pt").epoch == 6
    marked = [r.epoch for r in heard.validations if r.best]
    assert marked[-1] == 1 + int(np.argmax(psnr))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_and_resumes_exactly(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, model: str
) -> None:
    size = {"pix2pix-unet": (256, 256)}.get(model, (64, 64))
    dataset = open_dataset(write_pairs(tmp_path / "data", 5, *size))
    crop = {"pix2pix-unet": 256, "pix2pixhd": 64}.get(model, 32)
    config = small_config(model=model, crop=crop, epochs=(1, 2), validate_every=1)
    train(config, dataset, tmp_path / "whole")

    class StopsInEpoch2(Silent):
        def stepped(self, record: StepRecord) -> None:
            if record.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    logging = small_config(model=model, crop=crop, epochs=(1, 2), validate_every=1, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(logging, dataset, tmp_path / "halves", listener=StopsInEpoch2())
    stopped = read_checkpoint(tmp_path / "halves" / "checkpoint.pt")["position"]
    train(config, dataset, tmp_path / "halves", resume=True)

    assert (stopped["epoch"], stopped["step"], stopped["total"]) == (1, 1, 3)
    assert_same(state_of(tmp_path / "whole"), state_of(tmp_path / "halves"))


def test_killed_in_the_middle_of_an_epoch_ends_like_an_uninterrupted_run(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    data = write_pairs(tmp_path / "data", 9)
    config = small_config(epochs=(3, 3), validate_every=3, save_minutes=0.0, log_every=2)
    train(config, open_dataset(data), tmp_path / "whole")
    script = textwrap.dedent(
        f"""
        import sys, json, torch
        from pathlib import Path
        from training.settings.config import TrainConfig
        from training.data.pairs import open_dataset
        from training.run.loop import train
        torch.set_num_threads({torch.get_num_threads()})
        settings = json.loads(sys.argv[1])
        settings["epochs"], settings["scale_weights"] = tuple(settings["epochs"]), ()
        data, run = Path({str(data)!r}), Path({str(tmp_path / "killed")!r})
        train(TrainConfig(**settings), open_dataset(data), run)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script, json.dumps(config.as_dict())])
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        time.sleep(0.01)
        if checkpoint.exists() and read_checkpoint(checkpoint)["position"]["total"] >= 4:
            break
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    stopped = read_checkpoint(checkpoint)["position"]
    assert 4 <= stopped["total"] < 18

    train(config, open_dataset(data), tmp_path / "killed", resume=True)

    assert_same(state_of(tmp_path / "whole"), state_of(tmp_path / "killed"))
    tables = []
    for run in ("whole", "killed"):
        with (tmp_path / run / "history.csv").open() as file:
            tables.append([row["step"] for row in csv.DictReader(file)])
        with (tmp_path / run / "validation.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[2]
    assert tables[1] == tables[3]


def gradients(config: TrainConfig, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Return the gradients of one step, in which no weight moves."""
    torch.manual_seed(0)
    model = build_model(config, make_fabric(config))
    for player in model.players.values():
        player.step = lambda: None  # type: ignore[method-assign]
    model.step(batches)
    return {
        f"{name}/{key}": p.grad
        for name, player in model.players.items()
        for key, p in player.network.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize("model", ["pix2pixhd", "cyclegan"])
def test_accumulated_batches_equal_one_large_batch_without_batch_norm(
    small_config: SmallConfig, model: str
) -> None:
    config = small_config(model=model, ngf=4, ndf=4)
    he, ihc = (torch.rand(6, 3, 64, 64) * 2 - 1 for _ in range(2))
    parts = [Batch(he[i : i + 2], ihc[i : i + 2]) for i in (0, 2, 4)]

    one, three = gradients(config, [Batch(he, ihc)]), gradients(config, parts)

    assert one.keys() == three.keys()
    for name in one:
        largest = one[name].abs().max().item()
        # The gradient of a bias before a normalisation is zero but for rounding.
        assert (one[name] - three[name]).abs().max().item() < 1e-4 * largest + 1e-5, name


def test_accumulation_repeats_dropout_and_moves_statistics_once(small_config: SmallConfig) -> None:
    config = small_config(ngf=4, ndf=4, dropout=0.5)
    batch = Batch(*(torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2)))
    torch.manual_seed(0)
    model = build_model(config, make_fabric(config))

    model.step([batch, batch, batch])

    norm = model.generator.get_submodule("model.2")
    assert int(norm.num_batches_tracked) == 3
    passes = []
    for keep in (True, False):
        torch.manual_seed(3)
        draft, again = model._generate(batch, keep=keep)  # type: ignore[attr-defined]
        passes += [draft, again().detach()]
    assert all(torch.equal(passes[0], other) for other in passes[1:])


def test_divergence_stops_and_names_the_last_good_checkpoint(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))
    calm = small_config(log_every=1, save_minutes=0.0, epochs=(2, 0))
    train(calm, dataset, tmp_path / "run")
    good = state_of(tmp_path / "run")
    wild = small_config(log_every=1, save_minutes=0.0, epochs=(9, 0), lr=1e30)

    with pytest.raises(
        DivergedError, match=r"diverged at step \d+.*last good checkpoint is .*checkpoint\.pt"
    ):
        train(wild, dataset, tmp_path / "run", resume=True)

    state = state_of(tmp_path / "run")
    assert all(torch.isfinite(v).all() for v in state["networks"]["generator"].values())
    assert state["position"]["total"] >= good["position"]["total"]


def test_a_finished_folder_is_not_overwritten_and_settings_must_match(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))
    train(small_config(epochs=(1, 0)), dataset, tmp_path / "run")

    with pytest.raises(ConfigError, match="holds a run already: add --resume"):
        train(small_config(epochs=(1, 0)), dataset, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"other settings: batch was 2 and is now 3"):
        train(small_config(epochs=(1, 0), batch=3), dataset, tmp_path / "run", resume=True)


def test_resuming_a_run_that_never_saved_starts_at_the_beginning(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))

    outcome = train(small_config(epochs=(1, 0)), dataset, tmp_path / "run", resume=True)

    assert outcome.steps == 2


def test_batch_statistics_validation_leaves_the_run_unchanged(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))
    for statistics in ("running", "batch"):
        config = small_config(statistics=statistics, validate_every=1, ema=0.0, recalibrate=0)
        train(config, dataset, tmp_path / statistics)

    a, b = (state_of(tmp_path / run) for run in ("running", "batch"))
    assert_same(a["networks"], b["networks"])
    assert a["position"]["best"] != b["position"]["best"]


def test_machines_that_cannot_are_told(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(small_config(precision="fp16"), dataset, tmp_path / "run")
    with pytest.raises(ConfigError, match="'tpu' is none of"):
        train(small_config(device="tpu"), dataset, tmp_path / "run")


def test_bf16_and_recomputed_activations_train(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))
    config = small_config(precision="bf16", recompute=True, epochs=(1, 0))

    outcome = train(config, dataset, tmp_path / "run")

    assert np.isfinite(outcome.scores["psnr"])


def test_tensorboard_files_can_be_read(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small_config(tensorboard=True, epochs=(2, 0))
    train(config, open_dataset(write_pairs(tmp_path / "data")), tmp_path / "run")

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"loss/G_L1", "speed/lr", "validation/psnr"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize(("weights", "said"), [("", True), ("vgg19.pth", False)])
def test_a_missing_vgg_loss_is_said(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, weights: str, said: bool
) -> None:
    config, heard = small_config(model="pix2pixhd", vgg_weights=weights), Notes()

    data = prepare(config, open_dataset(write_pairs(tmp_path, 3)), make_fabric(config), heard)

    assert any("without its VGG loss" in note for note in heard.notes) == said
    assert data.notes == tuple(heard.notes)
