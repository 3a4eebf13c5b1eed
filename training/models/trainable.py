"""Networks that are trained: each with its device, precision and processes.

Generators share one optimiser, discriminators another: a loss scale (fp16) that changed between the
steps of two networks of one backward pass would divide the second one's gradients by the wrong
number. It is renewed once per training step, by :func:`renew_loss_scale`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from training.devices import channels_last_pays
from training.models.generators import recompute_activations
from training.settings.config import TrainConfig

BETAS = (0.5, 0.999)
COMPILERS = {"cuda": "inductor"}
"""Backend by kind of device; networks on others run as they are written."""

Losses = dict[str, Tensor]
"""Terms by name, scalars."""


def add_terms(total: Losses, terms: Losses, parts: int) -> None:
    """Add each detached term's share to ``total``."""
    for name, term in terms.items():
        share = term.detach() / parts
        total[name] = total[name] + share if name in total else share


class Trainable:
    """A network that is trained.

    ``train`` is what a training pass calls: it autocasts, and adds up gradients over processes.
    ``forward_frozen`` is the same network for passes whose gradients go through it but not into it.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, fabric: Fabric) -> None:
        self.network = network
        self._fabric = fabric
        if channels_last_pays(fabric):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.recompute:
            recompute_activations(network)
        network.to(fabric.device)
        backend = COMPILERS.get(fabric.device.type) if config.compile else None
        # A graph with a symbolic batch loses its layout optimisation: one graph per size instead.
        self._plain: Any = (
            network if backend is None else torch.compile(network, dynamic=False, backend=backend)
        )
        # The compiled network is wrapped, not the wrapper compiled: exchanging gradients within a
        # graph cuts it into pieces and excludes recomputed activations.
        self.train = fabric.setup_module(self._plain, _reapply_compile=False)

    def forward_frozen(self, images: Tensor) -> Any:
        """Run the network without adding up its gradients."""
        with self._fabric.autocast():
            return self._plain(images)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let no gradient into the weights meanwhile."""
        self.network.requires_grad_(False)
        try:
            yield
        finally:
            self.network.requires_grad_(True)


class Group:
    """Networks that are stepped together, by one optimiser: all generators, or all discriminators."""

    def __init__(self, networks: Sequence[Trainable], config: TrainConfig, fabric: Fabric) -> None:
        self.networks = tuple(networks)
        self._fabric = fabric
        weights = [weight for trained in networks for weight in trained.network.parameters()]
        on_gpu = fabric.device.type == "cuda"
        self.optimizer = Adam(weights, lr=config.lr, betas=BETAS, fused=on_gpu)

    @contextmanager
    def sync_on_last(self, *, last: bool) -> Iterator[None]:
        """Exchange gradients between processes after the last of several passes only.

        Surrounds the way forward and the way back: whether gradients will be exchanged is settled
        on the way forward.
        """
        with ExitStack() as stack:
            for trained in self.networks:
                stack.enter_context(self._fabric.no_backward_sync(trained.train, enabled=not last))
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``."""
        self._fabric.backward(loss)

    def step(self) -> None:
        """Change the weights, and forget the gradients."""
        scaler = loss_scaler(self._fabric)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def loss_scaler(fabric: Fabric) -> Any:
    """Return what scales losses so that fp16 gradients do not vanish; ``None`` in other precisions."""
    return getattr(fabric.strategy.precision, "scaler", None)


def renew_loss_scale(fabric: Fabric) -> None:
    """Let the loss scale grow or shrink, after both groups have stepped."""
    scaler = loss_scaler(fabric)
    if scaler is not None:
        scaler.update()
