"""The state of an unfinished run, in one file that is whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.errors import CheckpointError, DivergedError
from training.inference.checkpoints import CHECKPOINT, STATE, read_checkpoint, write_checkpoint
from training.models.pix2pix import Model
from training.run.averaging import Averaged
from training.run.processes import Peers
from training.settings.config import TrainConfig

CHANGEABLE = frozenset(
    {
        *("epochs", "lr", "device", "precision", "compile", "recompute", "val_pairs"),
        *("log_every", "save_minutes", "validate_every", "tensorboard"),
    }
)
"""Settings that a resumed run may change."""


@dataclass(frozen=True)
class Position:
    """How far training is."""

    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Steps done within the epoch at hand."""
    total: int = 0
    """Steps done in all."""
    best: float | None = None
    """Best validation PSNR so far."""

    def after_step(self) -> Position:
        """Return the position one step on."""
        return replace(self, step=self.step + 1, total=self.total + 1)

    def after_epoch(self) -> Position:
        """Return the position at the start of the next epoch."""
        return replace(self, epoch=self.epoch + 1, step=0)


def save_state(
    folder: Path,
    config: TrainConfig,
    position: Position,
    model: Model,
    averaged: Averaged | None,
    peers: Peers,
) -> None:
    """Write everything that resuming needs; raises :class:`DivergedError` for broken weights.

    Called by all processes; the first one writes.
    """
    random = peers.random_states()
    if not peers.fabric.is_global_zero:
        return
    path = folder / CHECKPOINT
    for name, player in model.players.items():
        if not _finite(player.network):
            raise DivergedError(
                f"training diverged at step {position.total}: weights of the {name} are NaN or "
                f"infinite. Nothing was saved; {last_good(path)}."
            )
    write_checkpoint(
        path,
        {
            "format": STATE,
            "config": config.as_dict(),
            "position": asdict(position),
            "networks": {k: p.network.state_dict() for k, p in model.players.items()},
            "optimizers": {k: p.optimizer.state_dict() for k, p in model.players.items()},
            "averaged": None if averaged is None else averaged.state(),
            "extra": model.extra_state(),
            "precision": peers.fabric.strategy.precision.state_dict(),
            "random": random,
        },
    )


def load_state(
    folder: Path,
    config: TrainConfig,
    model: Model,
    averaged: Averaged | None,
    peers: Peers,
) -> Position:
    """Put everything back as it was saved, and return how far training is.

    A run that never came to its first checkpoint starts at the beginning. Raises
    :class:`CheckpointError` when the settings are not those of the run.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return Position()
    stored = read_checkpoint(path)
    if stored.get("format") != STATE:
        raise CheckpointError(f"{path} is not the state of a run")
    _check_same(stored["config"], config, path)
    for name, player in model.players.items():
        player.network.load_state_dict(stored["networks"][name])
        player.optimizer.load_state_dict(stored["optimizers"][name])
    if averaged is not None:
        averaged.load_state(stored["averaged"])
    model.load_extra_state(stored["extra"])
    if stored["precision"]:
        peers.fabric.strategy.precision.load_state_dict(stored["precision"])
    peers.set_random_states(stored["random"])
    return Position(**stored["position"])


def last_good(path: Path) -> str:
    """Say what to do after a run diverged."""
    if path.exists():
        return (
            f"the last good checkpoint is {path}: go on from it with --resume and a lower --lr, or "
            "with --precision 32"
        )
    return "no checkpoint was written yet: start again with a lower --lr, or with --precision 32"


def _check_same(stored: Mapping[str, Any], config: TrainConfig, path: Path) -> None:
    """Refuse to go on with other settings than a run was started with."""
    now = config.as_dict()
    changed = [
        f"{name} was {stored.get(name)!r} and is now {now[name]!r}"
        for name in now
        if name not in CHANGEABLE and stored.get(name) != now[name]
    ]
    if changed:
        raise CheckpointError(
            f"{path} was trained with other settings: {'; '.join(changed)}. Leave them out, or "
            "start a new run in another folder."
        )


@torch.no_grad()
def _finite(network: nn.Module) -> bool:
    """Return whether no weight is NaN or infinite."""
    return bool(torch.stack([torch.isfinite(p).all() for p in network.parameters()]).all())
