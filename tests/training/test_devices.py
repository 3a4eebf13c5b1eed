"""The machine: which precision where, and one process where one was started."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.devices import channels_last_pays, make_fabric, usable_precision
from training.errors import ConfigError
from training.settings.config import TrainConfig

WORKS, FAILS = "", "RuntimeError: no engine"


def machine(
    monkeypatch: pytest.MonkeyPatch, *, hardware_bf16: bool, failing: tuple[torch.dtype, ...] = ()
) -> None:
    """A GPU that says of bf16 what PyTorch says there: yes, but for emulation."""
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or hardware_bf16,
    )
    monkeypatch.setattr(
        "training.devices.half_precision_fails",
        lambda device, half: FAILS if half in failing else WORKS,
    )


@pytest.mark.parametrize(
    ("hardware_bf16", "failing", "expected", "said"),
    [
        (True, (), "bf16", 0),
        (False, (), "fp16", 0),  # T4, V100, RTX 20, GTX 16
        (True, (torch.bfloat16,), "fp16", 1),
        (True, (torch.bfloat16, torch.float16), "32", 3),
        (False, (torch.float16,), "32", 2),
    ],
)
def test_auto_takes_what_the_hardware_has_and_says_what_fails(
    monkeypatch: pytest.MonkeyPatch,
    hardware_bf16: bool,
    failing: tuple[torch.dtype, ...],
    expected: str,
    said: int,
) -> None:
    machine(monkeypatch, hardware_bf16=hardware_bf16, failing=failing)
    notes: list[str] = []

    assert usable_precision("auto", "cuda", notes.append) == expected
    assert len(notes) == said
    assert all(note.startswith("warning: ") for note in notes)


def test_a_precision_that_was_asked_for_and_fails_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, hardware_bf16=False, failing=(torch.bfloat16,))

    assert usable_precision("fp16", "cuda") == "fp16"
    assert usable_precision("32", "cuda") == "32"
    with pytest.raises(ConfigError, match=r"bf16 does not work on this GPU .*no engine.*auto"):
        usable_precision("bf16", "cuda")


def test_a_cpu_computes_in_float32_unless_told_otherwise() -> None:
    assert usable_precision("auto", "cpu") == "32"
    assert usable_precision("bf16", "cpu") == "bf16"
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        usable_precision("fp16", "cpu")


@pytest.mark.parametrize(
    ("kind", "precision", "capability", "pays"),
    [
        ("cpu", "32-true", None, True),
        ("cuda", "32-true", (7, 5), False),  # T4: float32 without tensor cores
        ("cuda", "16-mixed", (7, 5), True),
        ("cuda", "32-true", (8, 0), True),
        ("cuda", "bf16-mixed", (9, 0), True),
    ],
)
def test_channels_last_where_convolutions_are_faster_with_it(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    precision: str,
    capability: tuple[int, int] | None,
    pays: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    strategy = SimpleNamespace(precision=SimpleNamespace(precision=precision))
    fabric: Any = SimpleNamespace(device=torch.device(kind), strategy=strategy)

    assert channels_last_pays(fabric) is pays


def test_several_tasks_of_slurm_are_not_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "2", "SLURM_LOCALID": "2",
        "SLURM_NODEID": "0", "SLURM_JOB_ID": "17", "SLURM_NTASKS_PER_NODE": "4",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    fabric = make_fabric(TrainConfig(device="cpu"))

    assert (fabric.world_size, fabric.global_rank) == (1, 0)
