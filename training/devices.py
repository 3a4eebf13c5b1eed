"""The machine that training runs on: its device, and the precision to compute in."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

from training.errors import ConfigError
from training.probes import HALVES, half_precision_fails
from training.settings.config import TrainConfig

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
TF32_FROM = (8, 0)
"""Compute capability from which single-precision convolutions run on tensor cores."""

Note = Callable[[str], None]
"""Called with something worth knowing."""


def make_fabric(config: TrainConfig, note: Note = lambda text: None) -> Fabric:
    """Return the device, precision and processes that ``config`` asks for, ready for use.

    Under ``torchrun``, with one process or many, every process takes one GPU (or CPU share) and
    gradients are averaged; otherwise this process is the only one, whatever a batch system's
    variables say. Raises :class:`ConfigError` for what this machine cannot do.
    """
    accelerator = device_named(config.device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    launched = world > 1 or "TORCHELASTIC_RUN_ID" in os.environ
    if accelerator == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) if launched else 0)
    with warnings.catch_warnings():
        # Fabric advises on SLURM and on the number of workers, which it does not start here.
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy="ddp" if launched else "auto",
            precision=PRECISIONS[usable_precision(config.precision, accelerator, note)],
            plugins=None if launched else [LightningEnvironment()],
        )
        fabric.launch()
    if accelerator == "cuda":
        torch.backends.cudnn.benchmark = True
    return fabric


def usable_precision(precision: str, accelerator: str, note: Note = lambda text: None) -> str:
    """Return the precision to train in, after trying a small convolution in it.

    ``auto`` is bf16 where the GPU computes in it, fp16 with a scaled loss on any other GPU, and
    float32 on a CPU or, with a note, where neither works. Raises :class:`ConfigError` where the
    precision that was asked for does not work.
    """
    if accelerator == "cpu":
        if precision == "fp16":
            raise ConfigError("precision: fp16 needs a GPU; give --precision bf16 or 32")
        return "32" if precision == "auto" else precision
    if precision == "32":
        return precision
    device = torch.device(accelerator)
    if precision != "auto":
        why = half_precision_fails(device, HALVES[precision])
        if why:
            raise ConfigError(
                f"precision: {precision} does not work on this GPU ({why}); give --precision auto"
            )
        return precision
    for half in ("bf16", "fp16") if has_bf16() else ("fp16",):
        why = half_precision_fails(device, HALVES[half])
        if not why:
            return half
        note(f"warning: {half} does not work on this GPU and is not used: {why}")
    note("warning: training in float32, several times slower than half precision")
    return "32"


def has_bf16() -> bool:
    """Return whether the GPU itself computes in bf16; PyTorch's own default counts emulation too."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def channels_last_pays(fabric: Fabric) -> bool:
    """Return whether convolutions are faster with channels last; not so in plain float32 on a GPU."""
    if fabric.device.type == "cpu":
        return True
    half = str(fabric.strategy.precision.precision) != PRECISIONS["32"]
    return half or bool(torch.cuda.get_device_capability(fabric.device) >= TF32_FROM)


def random_state(device: torch.device) -> torch.Tensor:
    """Return the state of the random numbers that dropout on ``device`` draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: torch.Tensor, device: torch.device) -> None:
    """Go back to :func:`random_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def describe(fabric: Fabric) -> dict[str, Any]:
    """Return device, precision and versions, for the record."""
    on_gpu = fabric.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(fabric.device) if on_gpu else str(fabric.device),
        "precision": str(getattr(fabric.strategy.precision, "precision", "32-true")),
        "processes": fabric.world_size,
        "torch": torch.__version__,
    }


def device_named(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``; raises :class:`ConfigError`."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: no CUDA GPU is usable here; give --device cpu, or see `doctor`")
    if device not in ("cuda", "cpu"):
        raise ConfigError(f"device: {device!r} is none of auto, cuda, cpu")
    return device
