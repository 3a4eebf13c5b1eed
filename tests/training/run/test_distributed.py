"""Several processes train as one: two on a CPU, started by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.patience import PATIENCE_S
from training.data.pairs import open_dataset
from training.errors import CheckpointError
from training.inference.checkpoints import read_checkpoint
from training.run.loop import train
from training.run.preparation import _on_world
from training.run.processes import AGREE_EVERY
from training.settings.config import TrainConfig

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
from training.settings.config import TrainConfig
from training.data.pairs import open_dataset
from training.run.history import Listener
from training.run.loop import train

class Stops(Listener):
    def stepped(self, record):
        if record.step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

torch.set_num_threads(1)
settings, stop_at = json.loads(sys.argv[1]), int(sys.argv[4])
settings["epochs"] = tuple(settings["epochs"])
data, out = open_dataset(Path(sys.argv[2])), Path(sys.argv[3])
try:
    train(TrainConfig(**settings), data, out, resume=out.exists(), listener=Stops())
except KeyboardInterrupt:
    os.write(1, f"stopped {os.environ['RANK']}\\n".encode())  # in one piece
"""

RUNS_OF_ONE, RUNS_OF_TWO = ("plain", "launched"), ("whole", "halves")

WritePairs = Callable[..., Path]
SmallConfig = Callable[..., TrainConfig]


def torchrun(
    processes: int, config: TrainConfig, data: Path, out: Path, stop_at: int = -1
) -> subprocess.CompletedProcess[str]:
    """Train in processes of torchrun; the first one is told to stop after a step."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return launched(launch, config, data, out, stop_at)


def launched(
    launch: list[str], config: TrainConfig, data: Path, out: Path, stop_at: int = -1
) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, with ``launch`` between Python and the script."""
    script = out.parent / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    words = [json.dumps(config.as_dict()), str(data), str(out), str(stop_at)]
    done = subprocess.run(
        [sys.executable, *launch, str(script), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "first_stepped"),
    [("pix2pixhd", ["discriminators"]), ("cyclegan", ["generators"])],
)
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(
    tmp_path: Path,
    write_pairs: WritePairs,
    small_config: SmallConfig,
    model: str,
    first_stepped: list[str],
) -> None:
    data = write_pairs(tmp_path / "data", 2, 64, 64)
    common = {"model": model, "crop": 64, "epochs": (1, 0), "augment": "none", "val_fraction": 0.0}
    common |= {"ngf": 4, "ndf": 4, "ema": 0.0, "recalibrate": 0}

    torchrun(2, small_config(**common, batch=1), data, tmp_path / "two")
    train(small_config(**common, batch=2), open_dataset(data), tmp_path / "one")

    one, two = (read_checkpoint(tmp_path / run / "checkpoint.pt") for run in ("one", "two"))
    assert one["position"]["total"] == two["position"]["total"] == 1
    for name in first_stepped:
        expected, found = (first_moments(state["optimizers"][name]) for state in (one, two))
        # Adam's first moment after one step is half the gradient. Convolutions round differently for
        # each size of batch, and normalising small maps amplifies that to 0.3 % on some processors;
        # gradients that are summed instead of averaged, or of one process alone, are off by far more.
        assert torch.linalg.norm(expected - found) < 1e-2 * torch.linalg.norm(expected), name


@pytest.mark.slow
def test_one_process_of_torchrun_trains_like_a_plain_run(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    data = write_pairs(tmp_path / "data", 5)
    config = small_config(epochs=(1, 1))

    torchrun(1, config, data, tmp_path / "launched")
    launched([], config, data, tmp_path / "plain")

    plain, by_torchrun = (read_checkpoint(tmp_path / run / "checkpoint.pt") for run in RUNS_OF_ONE)
    for name, network in plain["networks"].items():
        for key, value in network.items():
            assert torch.equal(value, by_torchrun["networks"][name][key]), f"{name}/{key}"


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_as_if_they_had_not(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    data = write_pairs(tmp_path / "data", 24)
    config = small_config(epochs=(1, 1), batch=1, log_every=1, val_fraction=0.0)

    torchrun(2, config, data, tmp_path / "whole")
    told = torchrun(2, config, data, tmp_path / "halves", stop_at=3)
    stopped = read_checkpoint(tmp_path / "halves" / "checkpoint.pt")["position"]
    torchrun(2, config, data, tmp_path / "halves")

    assert {"stopped 0", "stopped 1"} <= set(told.stdout.splitlines())
    assert (stopped["epoch"], stopped["total"]) == (0, AGREE_EVERY)
    whole, halves = (read_checkpoint(tmp_path / run / "checkpoint.pt") for run in RUNS_OF_TWO)
    assert whole["position"]["total"] == halves["position"]["total"] == 24
    assert not torch.equal(whole["random"][0][0], whole["random"][1][0])
    for a, b in zip(whole["random"], halves["random"], strict=True):
        assert torch.equal(a[0], b[0])
    for key, value in whole["networks"]["generator"].items():
        assert torch.equal(value, halves["networks"]["generator"][key]), key


def test_what_several_processes_change_is_said(small_config: SmallConfig) -> None:
    config = small_config(batch=2, accumulate=3)

    (note,) = _on_world(config, cast(Any, SimpleNamespace(world_size=4)))

    assert note.startswith(
        "4 processes: each step takes 24 pairs, so that an epoch has 4 times fewer"
    )
    assert _on_world(config, cast(Any, SimpleNamespace(world_size=1))) == ()


def first_moments(optimizer: dict[str, Any]) -> torch.Tensor:
    return torch.cat([entry["exp_avg"].flatten() for entry in optimizer["state"].values()])


@pytest.mark.slow
def test_gradients_are_exchanged_once_per_step_and_network() -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "benchmarks.gpu_training_ddp", "cpu"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) == {"pyramid-pix2pix, 1", "pyramid-pix2pix, 4", "cyclegan, 1", "cyclegan, 4"}
    for step, exchanged in found.items():
        assert set(exchanged.values()) == {1.0}, step


@pytest.mark.slow
def test_more_or_fewer_processes_do_not_go_on(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    data = write_pairs(tmp_path / "data", 4)
    config = small_config(epochs=(1, 0), batch=1, val_fraction=0.0)
    torchrun(2, config, data, tmp_path / "run")

    with pytest.raises(CheckpointError, match="trained by 2 processes and would be resumed by 1"):
        train(config, open_dataset(data), tmp_path / "run", resume=True)
