"""The processes of one run: what they must agree on, and what each of them draws.

They talk over a channel of their own between CPUs, so that agreeing does not make a GPU wait.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor

AGREE_EVERY = 10
"""Asking all others takes up to half a millisecond."""


class Peers:
    """All processes of a run, seen from one of them; works alike where there is one only."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self._several = fabric.world_size > 1
        self._channel: Any = dist.new_group(backend="gloo") if self._several else None

    def any(self, step: int, *flags: bool) -> tuple[bool, ...]:
        """Return of each flag whether any process has it set: the same answer everywhere.

        What depends on a clock or on a signal has to be agreed on, or one process would save or
        stop while the others go on and wait for it. Several processes agree at every
        :data:`AGREE_EVERY` steps, between which nothing is set.
        """
        if not self._several:
            return flags
        if step % AGREE_EVERY:
            return tuple(False for _ in flags)
        found = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self._channel)
        return tuple(bool(flag) for flag in found)

    def random_states(self) -> list[list[Tensor]]:
        """Return the states of each process's random numbers, process by process."""
        mine = [torch.get_rng_state()]
        if self.fabric.device.type == "cuda":
            mine.append(torch.cuda.get_rng_state(self.fabric.device))
        by_kind = [self._gathered(state) for state in mine]
        return [list(states) for states in zip(*by_kind, strict=True)]

    def set_random_states(self, stored: list[list[Tensor]]) -> None:
        """Go back to :meth:`random_states`; with other processes or devices, go on as seeded."""
        on_gpu = self.fabric.device.type == "cuda"
        if len(stored) != self.fabric.world_size or len(stored[0]) != 1 + on_gpu:
            return
        mine = stored[self.fabric.global_rank]
        torch.set_rng_state(mine[0])
        if on_gpu:
            torch.cuda.set_rng_state(mine[1], self.fabric.device)

    def _gathered(self, state: Tensor) -> list[Tensor]:
        """Return the tensors of all processes."""
        if not self._several:
            return [state]
        found = [torch.empty_like(state) for _ in range(self.fabric.world_size)]
        dist.all_gather(found, state, group=self._channel)
        return found
