"""Gradient exchanges per step, under ``torchrun``: DEVICE; prints JSON from the first process.

A step of several accumulated batches exchanges the gradients of each network once, as many bytes as
it has weights.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from training.data.batches import Batch
from training.devices import make_fabric
from training.models.pix2pix import build_model
from training.settings.config import TrainConfig

MODELS = ("pyramid-pix2pix", "cyclegan")
SIDE_PX = 64


def main() -> None:
    """Count for every model, with one batch per step and with four."""
    torch.set_num_threads(1)
    device = sys.argv[1]
    found: dict[str, Any] = {}
    fabric = make_fabric(TrainConfig(device=device, precision="32"))
    for model in MODELS:
        for accumulate in (1, 4):
            found[f"{model}, {accumulate}"] = exchanged(fabric, model, device, accumulate)
    if fabric.is_global_zero:
        os.write(1, f"{json.dumps(found)}\n".encode())  # in one piece
    torch.distributed.destroy_process_group()


def exchanged(fabric: Any, model: str, device: str, accumulate: int) -> dict[str, float]:
    """Return how many times each network's weights were exchanged in one step."""
    config = TrainConfig(model=model, ngf=4, ndf=4, device=device, compile=False)  # type: ignore[arg-type]
    torch.manual_seed(0)
    stepping = build_model(config, fabric)
    sent = dict.fromkeys(stepping.networks, 0)
    for name, trained in stepping.networks.items():

        def hook(state, bucket, name=name):  # type: ignore[no-untyped-def] # DDP checks annotations
            sent[name] += bucket.buffer().numel()
            return allreduce_hook(state, bucket)

        trained.train._forward_module.register_comm_hook(None, hook)
    batches = [
        Batch(*(torch.rand(1, 3, SIDE_PX, SIDE_PX, device=fabric.device) for _ in range(2)))
        for _ in range(accumulate)
    ]
    stepping.step(batches)
    return {
        name: sent[name] / sum(weight.numel() for weight in trained.network.parameters())
        for name, trained in stepping.networks.items()
    }


if __name__ == "__main__":
    main()
