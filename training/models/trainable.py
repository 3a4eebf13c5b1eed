"""The players of an adversarial game: a network, its optimiser, its device, precision, processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from training.models.generators import recompute_activations
from training.settings.config import TrainConfig

BETA2 = 0.999

Losses = dict[str, Tensor]
"""Terms by name, scalars."""


def add_terms(total: Losses, terms: Losses, parts: int) -> None:
    """Add each detached term's share to ``total``."""
    for name, term in terms.items():
        share = term.detach() / parts
        total[name] = total[name] + share if name in total else share


class Player:
    """A network that is trained.

    ``train`` is what a training pass calls: it autocasts, and adds up gradients over processes.
    ``judge`` is the same network for passes whose gradients go through it but not into it.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, fabric: Fabric) -> None:
        self.network = network
        self._fabric = fabric
        on_gpu = fabric.device.type == "cuda"
        if config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.recompute:
            recompute_activations(network)
        network.to(fabric.device)
        # Activations recomputed with frozen statistics are beyond what the compiler can trace.
        compiled = on_gpu and config.compile and not config.recompute
        self._plain: Any = torch.compile(network) if compiled else network
        optimizer = Adam(
            network.parameters(), lr=config.lr, betas=(config.beta1, BETA2), fused=on_gpu
        )
        self.train, self.optimizer = fabric.setup(self._plain, optimizer)

    def judge(self, images: Tensor) -> Any:
        """Run the network without adding up its gradients."""
        with self._fabric.autocast():
            return self._plain(images)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no gradient into this player's weights meanwhile."""
        self.network.requires_grad_(False)
        try:
            yield
        finally:
            self.network.requires_grad_(True)

    @contextmanager
    def gathering(self, *, last: bool) -> Iterator[None]:
        """Exchange gradients between processes in the last of several backward passes only."""
        with self._fabric.no_backward_sync(self.train, enabled=not last):
            yield

    def backward(self, loss: Tensor, *, last: bool = True) -> None:
        """Add the gradients of ``loss``."""
        with self.gathering(last=last):
            self._fabric.backward(loss)

    def step(self) -> None:
        """Change the weights, and forget the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
