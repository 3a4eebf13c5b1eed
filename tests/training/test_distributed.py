"""Several processes train as one: two on a CPU, started by torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoints import read_checkpoint
from training.config import TrainConfig
from training.data import open_dataset
from training.loop import train

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from training.config import TrainConfig
from training.data import open_dataset
from training.loop import train

torch.set_num_threads(1)
settings = json.loads(sys.argv[1])
settings["epochs"], settings["scale_weights"] = tuple(settings["epochs"]), ()
train(TrainConfig(**settings), open_dataset(Path(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "first_stepped"),
    [("pix2pixhd", ["discriminator"]), ("cyclegan", ["generator", "generator_back"])],
)
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(
    tmp_path: Path,
    write_pairs: Callable[..., Path],
    small_config: Callable[..., TrainConfig],
    model: str,
    first_stepped: list[str],
) -> None:
    data = write_pairs(tmp_path / "data", 2, 64, 64)
    common = {"model": model, "crop": 64, "epochs": (1, 0), "augment": "none", "val_fraction": 0.0}
    common |= {"ngf": 4, "ndf": 4, "ema": 0.0, "recalibrate": 0}
    halves = small_config(**common, batch=1)
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    arguments = [json.dumps(halves.as_dict()), str(data), str(tmp_path / "two")]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]

    done = subprocess.run(
        [*launch, str(script), *arguments], check=False, capture_output=True, text=True, timeout=300
    )
    train(small_config(**common, batch=2), open_dataset(data), tmp_path / "one")

    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (read_checkpoint(tmp_path / run / "checkpoint.pt") for run in ("one", "two"))
    assert one["position"]["total"] == two["position"]["total"] == 1
    for name in first_stepped:
        expected, found = (first_moments(state["optimizers"][name]) for state in (one, two))
        # Adam's first moment after one step is half the gradient.
        assert (expected - found).abs().max() < 1e-5 + 1e-3 * expected.abs().max(), name


def first_moments(optimizer: dict[str, Any]) -> torch.Tensor:
    return torch.cat([entry["exp_avg"].flatten() for entry in optimizer["state"].values()])
