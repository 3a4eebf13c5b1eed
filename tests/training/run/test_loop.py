"""A whole run: what it leaves, how it stops, and that a killed one ends as if it had not been."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from training.data.batches import Batch
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.errors import CheckpointError, ConfigError, DivergedError
from training.inference.checkpoints import load_generator, read_checkpoint
from training.models.pix2pix import build_model
from training.models.trainable import COMPILERS
from training.run.history import Listener, StepRecord, ValidationRecord
from training.run.loop import train
from training.run.plan import plan_run
from training.run.preparation import prepare
from training.run.validation import quality
from training.settings.config import TrainConfig

WritePairs = Callable[..., Path]
SmallConfig = Callable[..., TrainConfig]
OTHER_MODELS = ["pix2pix", "pix2pix-unet", "pix2pixhd"]
MODELS = [
    "pyramid-pix2pix",
    "cyclegan",
    *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_MODELS),
]


class Notes(Listener):
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
    assert set(outcome.scores) == {"psnr", "ssim", "dab_error"}
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
    assert (run / "train.html").read_text().lower().startswith("<!doctype html>")
    assert not list(run.rglob("*.part*"))
    best = load_generator(run)
    assert best.config["model"] == "pyramid-pix2pix"
    assert best.scores == outcome.best


@pytest.mark.slow
def test_best_generator_is_the_best_validated_one(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    heard = Notes()
    config = small_config(epochs=(3, 3), validate_every=1, lr=2e-2)

    train(config, open_dataset(write_pairs(tmp_path / "data")), tmp_path / "run", listener=heard)

    figures = [quality(r.scores) for r in heard.validations]
    assert load_generator(tmp_path / "run" / "best.pt").epoch == 1 + int(np.argmax(figures))
    assert load_generator(tmp_path / "run" / "last.pt").epoch == 6
    marked = [r.epoch for r in heard.validations if r.best]
    assert marked[-1] == 1 + int(np.argmax(figures))


def test_half_the_error_of_the_brown_counts_as_much_as_half_that_of_the_colours() -> None:
    usual = {"psnr": 20.0, "dab_error": 0.1}
    six_db = 20 * np.log10(2)

    assert quality({**usual, "dab_error": 0.05}) - quality(usual) == pytest.approx(six_db)
    assert quality({**usual, "psnr": 20 + six_db}) - quality(usual) == pytest.approx(six_db)
    assert quality({"psnr": 20.5, "dab_error": 0.2}) < quality(usual), "brighter and blurred"
    assert np.isfinite(quality({"psnr": 100.0, "dab_error": 0.0}))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_every_model_trains_and_resumes_exactly(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, model: str
) -> None:
    size = {"pix2pix-unet": (256, 256)}.get(model, (64, 64))
    dataset = open_dataset(write_pairs(tmp_path / "data", 5, *size))
    crop = {"pix2pix-unet": 256, "pix2pixhd": 64}.get(model, 32)
    config = small_config(model=model, crop=crop, epochs=(1, 2), validate_every=1)
    train(config, dataset, tmp_path / "whole")

    class StopsInEpoch2(Listener):
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


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_ends_like_an_uninterrupted_run(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    data = write_pairs(tmp_path / "data", 9)
    config = small_config(epochs=(3, 3), validate_every=3, save_minutes=0.0, log_every=2)
    train(config, open_dataset(data), tmp_path / "whole")
    script = textwrap.dedent(
        f"""
        import json, os, signal, sys
        from pathlib import Path
        import torch
        from training.settings.config import TrainConfig
        from training.data.pairs import open_dataset
        from training.run.history import Listener
        from training.run.loop import train
        class Dies(Listener):
            def advanced(self, step, total):
                if step == 5:  # the second of three of an epoch
                    os.kill(os.getpid(), signal.SIGKILL)
        torch.set_num_threads({torch.get_num_threads()})
        settings = json.loads(sys.argv[1])
        settings["epochs"] = tuple(settings["epochs"])
        data, run = Path({str(data)!r}), Path({str(tmp_path / "killed")!r})
        train(TrainConfig(**settings), open_dataset(data), run, listener=Dies())
        """
    )
    words = [sys.executable, "-c", script, json.dumps(config.as_dict())]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    stopped = read_checkpoint(tmp_path / "killed" / "checkpoint.pt")["position"]
    assert (stopped["epoch"], stopped["total"]) in ((1, 4), (1, 5))

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
    for side in model.groups.values():
        side.step = lambda: None  # type: ignore[method-assign]
    model.step(batches)
    return {
        f"{name}/{key}": p.grad
        for name, trained in model.networks.items()
        for key, p in trained.network.named_parameters()
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


def test_accumulation_runs_the_generator_once_per_batch(small_config: SmallConfig) -> None:
    config = small_config(ngf=4, ndf=4, dropout=0.5)
    batch = Batch(*(torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2)))
    torch.manual_seed(0)
    model = build_model(config, make_fabric(config))
    passes: list[int] = []
    model.generator.register_forward_hook(lambda *_: passes.append(1))

    model.step([batch, batch, batch])

    assert len(passes) == 3
    norm = model.generator.get_submodule("model.2")
    assert int(norm.num_batches_tracked) == 3


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # by the compiler itself
@pytest.mark.parametrize(
    ("model", "recompute"),
    [
        ("pyramid-pix2pix", False),
        ("pyramid-pix2pix", True),
        *(
            pytest.param(name, False, marks=pytest.mark.slow)
            for name in [*OTHER_MODELS, "cyclegan"]
        ),
    ],
)
@pytest.mark.slow
def test_compiled_graphs_are_those_of_the_first_epoch(
    tmp_path: Path,
    write_pairs: WritePairs,
    small_config: SmallConfig,
    shallow_networks: None,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    recompute: bool,
) -> None:
    monkeypatch.setitem(COMPILERS, "cpu", "aot_eager")
    torch.compiler.reset()
    counters.clear()
    side = 64
    dataset = open_dataset(write_pairs(tmp_path / "data", 5, side, side))
    changes = {"crop": 0, "batch": 2, "epochs": (2, 0), "validate_every": 2, "val_fraction": 0.0}
    config = small_config(model=model, recompute=recompute, log_every=1, **changes)
    graphs: list[int] = []

    class Counts(Listener):
        def stepped(self, record: StepRecord) -> None:
            graphs.append(counters["stats"]["unique_graphs"])

    train(config, dataset, tmp_path / "run", listener=Counts())

    assert len(graphs) == 6  # the third of each three would be a batch of one
    assert graphs[0] > 0
    assert graphs[-1] == graphs[0]
    assert not counters["graph_break"]
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # by the compiler itself
@pytest.mark.slow
def test_recomputed_activations_are_the_same_compiled_or_not(
    small_config: SmallConfig, shallow_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(*(torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2)))
    found = []
    for recompute, backend in ((False, None), (True, None), (True, "aot_eager")):
        if backend:
            monkeypatch.setitem(COMPILERS, "cpu", backend)
        config = small_config(ngf=4, ndf=4, dropout=0.5, recompute=recompute)
        torch.manual_seed(0)
        model = build_model(config, make_fabric(config))
        torch.manual_seed(1)
        model.step([batch])
        found.append({k: v.clone() for k, v in model.generator.state_dict().items()})
    torch.compiler.reset()

    for other in found[1:]:
        for name, value in found[0].items():
            assert torch.allclose(value.float(), other[name].float(), atol=2e-5), name


def test_pairs_of_every_held_out_patient_are_validated_on(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    root = write_pairs(tmp_path / "data", 6)
    names = sorted(path.stem for path in (root / "HE" / "train").iterdir())
    rows = [f"{name},{'val' if n < 5 else 'train'},{'aaaabc'[n]}" for n, name in enumerate(names)]
    (root / "patches.csv").write_text("\n".join(["name,split,patient", *rows]))
    config = small_config(val_pairs=2)

    data = prepare(config, open_dataset(root), make_fabric(config), Listener())

    assert {data.cache.names[place] for place in data.held_out} == {names[0], names[4]}


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


@pytest.mark.parametrize("resume", [False, True])
def test_files_of_something_else_are_not_replaced(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, resume: bool
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))
    theirs = tmp_path / "run" / "best.pt"
    theirs.parent.mkdir()
    theirs.write_text("of somebody else")

    with pytest.raises(ConfigError, match=r"holds a best\.pt of something else"):
        train(small_config(epochs=(1, 0)), dataset, tmp_path / "run", resume=resume)

    assert theirs.read_text() == "of somebody else"


def test_resuming_a_run_that_never_saved_starts_at_the_beginning(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data"))

    outcome = train(small_config(epochs=(1, 0)), dataset, tmp_path / "run", resume=True)

    assert outcome.steps == 2


@pytest.mark.slow
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


def test_a_model_is_of_the_scale_it_was_trained_at_and_of_several_it_warns(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    config = small_config(val_fraction=0.0)
    dataset = open_dataset(write_pairs(tmp_path / "data", 4))
    scales = [("train", 1.7), ("test", 3.2), ("test", 3.2), ("test", 3.2)]
    pairs = [
        replace(pair, split=split, mpp=mpp)
        for pair, (split, mpp) in zip(dataset.pairs, scales, strict=True)
    ]
    mixed = [replace(pair, split="train") for pair in pairs]
    notes: list[list[str]] = []
    for some in (pairs, mixed):
        dataset = replace(dataset, pairs=tuple(some))
        data = prepare(config, dataset, make_fabric(config), Listener(), tmp_path / "cache")
        notes.append([note for note in data.notes if "µm/px" in note])
        if some is pairs:
            assert data.mpp == 1.7
        planned = plan_run(config, dataset, tmp_path / "run", resume=False)
        assert [note for note in planned.notes if "µm/px" in note] == notes[-1]

    assert notes[0] == []
    assert "1.7 to 3.2 µm/px" in notes[1][0]


@pytest.mark.parametrize(("weights", "said"), [("", True), ("vgg19.pth", False)])
def test_a_missing_vgg_loss_is_said(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, weights: str, said: bool
) -> None:
    config, heard = small_config(model="pix2pixhd", vgg_weights=weights), Notes()

    data = prepare(config, open_dataset(write_pairs(tmp_path, 3)), make_fabric(config), heard)

    assert any("without its VGG loss" in note for note in heard.notes) == said
    assert data.notes == tuple(heard.notes)
