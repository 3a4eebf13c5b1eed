"""The generator as it will be used: averaged over training, its statistics measured anew.

The last weights of an adversarial game wobble; their exponential moving average does not. BatchNorm's
running statistics belong to other weights than the average, and to crops; they are measured again,
on whole images, before the generator is scored, saved or used.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from training.devices import random_state, set_random_state

WARM_UP = 10.0


class Averaged:
    """Exponential moving average of a network's weights.

    The decay grows from 0.1 to ``decay`` over the first steps, so that short runs do not remember
    the initial weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights of one more step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (WARM_UP + self.steps))
        torch._foreach_lerp_(
            list(self.network.parameters()), [p.detach() for p in network.parameters()], 1 - decay
        )
        buffers = list(self.network.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(network.buffers()))

    def state(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.steps = state["steps"]
        self.network.load_state_dict(state["network"])


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Measure BatchNorm's running statistics on batches: ``(N, 3, H, W)`` in [-1, 1], and stains.

    Dropout is on meanwhile: the layers behind it have learnt to work with the variance that it
    adds, and without it their input is amplified (Li et al. 2019, arXiv 1801.05134); measured with
    dropout off, statistics cost 1.3 dB (docs/training-evidence.md). All batches
    count alike. A network without BatchNorm is left as it is, and so are random numbers.
    """
    device = next(network.parameters()).device
    state = random_state(device)
    update_bn(((batch,) for batch in batches), _Spread(network))
    network.eval()
    set_random_state(state, device)


class _Spread(nn.Module):
    """A network that takes its arguments as one: PyTorch's loop hands over the first alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, arguments: tuple[Tensor, ...]) -> Any:
        """Run the network."""
        return self.network(*arguments)
