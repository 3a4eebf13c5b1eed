"""The machine that training runs on: its device, and the precision to compute in."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from lightning_fabric import Fabric

from training.errors import ConfigError
from training.settings.config import TrainConfig

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(config: TrainConfig) -> Fabric:
    """Return the device, precision and processes that ``config`` asks for, ready for use.

    Under ``torchrun``, with one process or many, every process takes one GPU (or CPU share) and
    gradients are averaged. Raises
    :class:`ConfigError` for what this machine cannot do.
    """
    accelerator = device_named(config.device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    launched = world > 1 or "TORCHELASTIC_RUN_ID" in os.environ
    with warnings.catch_warnings():
        # Fabric advises on SLURM and on the number of workers, which it does not start here.
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy="ddp" if launched else "auto",
            precision=PRECISIONS[_precision(config.precision, accelerator)],
        )
        fabric.launch()
    if accelerator == "cuda":
        torch.backends.cudnn.benchmark = True
    return fabric


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


def _precision(precision: str, accelerator: str) -> str:
    """Return the precision to train in; ``auto`` is bf16 where the GPU has it."""
    if precision == "auto":
        return "bf16" if accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32"
    if precision == "fp16" and accelerator == "cpu":
        raise ConfigError("precision: fp16 needs a GPU; give --precision bf16 or 32")
    return precision
