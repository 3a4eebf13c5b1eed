"""The state of an unfinished run, in one file that is whole or not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import nn

from registration.files.words import excerpt, some
from training.errors import CheckpointError, DivergedError
from training.inference.checkpoints import (
    CHECKPOINT,
    STATE,
    STATE_KIND,
    read_checkpoint,
    write_checkpoint,
)
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
NAMED_AT_MOST = 3
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)
"""What PyTorch raises over a state of another form."""
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Position:
    """How far training is."""

    epoch: Count = 0
    """Whole epochs done."""
    step: Count = 0
    """Steps done within the epoch at hand."""
    total: Count = 0
    """Steps done in all."""
    best: dict[str, float] | None = None
    """Scores of the best validation so far."""

    def after_step(self) -> Position:
        """Return the position one step on."""
        return replace(self, step=self.step + 1, total=self.total + 1)

    def after_epoch(self) -> Position:
        """Return the position at the start of the next epoch."""
        return replace(self, epoch=self.epoch + 1, step=0)


_POSITION = TypeAdapter(Position)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a run is made of: all that is saved, and that a resumed run must have again."""

    config: TrainConfig
    model: Model
    averaged: Averaged | None
    peers: Peers
    pairs: Mapping[str, Sequence[Any]]
    """Of each pair what it is used for, a checksum of its pixels, and what it weighs by."""


def save_state(folder: Path, position: Position, parts: Parts) -> None:
    """Write everything that resuming needs; raises :class:`DivergedError` for broken weights.

    Called by all processes; the first one writes.
    """
    model, averaged, fabric = parts.model, parts.averaged, parts.peers.fabric
    random = parts.peers.random_states()
    if not fabric.is_global_zero:
        return
    path = folder / CHECKPOINT
    for name, trained in model.networks.items():
        if not _finite(trained.network):
            raise DivergedError(
                f"training diverged at step {position.total}: weights of the {name} are NaN or "
                f"infinite. Nothing was saved; {last_good(path)}."
            )
    write_checkpoint(
        path,
        {
            "format": STATE,
            "config": parts.config.as_dict(),
            "processes": fabric.world_size,
            "pairs": {name: list(state) for name, state in parts.pairs.items()},
            "position": asdict(position),
            "networks": {k: p.network.state_dict() for k, p in model.networks.items()},
            "optimizers": {k: group.optimizer.state_dict() for k, group in model.groups.items()},
            "averaged": None if averaged is None else averaged.state(),
            "extra": model.extra_state(),
            "precision": fabric.strategy.precision.state_dict(),
            "random": random,
        },
    )


def load_state(folder: Path, parts: Parts) -> Position:
    """Put everything back as it was saved, and return how far training is.

    A run that never came to its first checkpoint starts at the beginning. Raises
    :class:`CheckpointError` when settings, processes or pairs are not those of the run.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return Position()
    stored = read_state(path)
    try:
        return _loaded(stored, parts, path)
    except DAMAGE as error:
        raise CheckpointError(
            f"{path} is damaged ({excerpt(str(error))}): start a new run in another folder"
        ) from error


def _loaded(stored: dict[str, Any], parts: Parts, path: Path) -> Position:
    """Check a state against the run, and put it back."""
    model, averaged, peers = parts.model, parts.averaged, parts.peers
    position = _POSITION.validate_python(stored["position"])
    _check_same(stored["config"], parts.config, path)
    _check_processes(stored["processes"], peers.fabric.world_size, path)
    _check_pairs(stored["pairs"], parts.pairs, path)
    for name, trained in model.networks.items():
        trained.network.load_state_dict(stored["networks"][name])
    for name, group in model.groups.items():
        group.optimizer.load_state_dict(stored["optimizers"][name])
    if averaged is not None:
        averaged.load_state(stored["averaged"])
    model.load_extra_state(stored["extra"])
    if stored["precision"]:
        peers.fabric.strategy.precision.load_state_dict(stored["precision"])
    peers.set_random_states(stored["random"])
    return position


def read_state(path: Path) -> dict[str, Any]:
    """Return the state of a run; raises :class:`CheckpointError` where a file holds something else."""
    stored = read_checkpoint(path)
    found = str(stored.get("format"))
    if found == STATE:
        return stored
    if found.startswith(STATE_KIND):
        raise CheckpointError(
            f"{path} was written by another version of this program ({found!r}, not {STATE!r}): "
            "start a new run in another folder"
        )
    raise CheckpointError(f"{path} is not the state of a run")


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
    before = {
        "stain": TrainConfig.model_fields["stain"].default,
        **stored,
    }  # older runs knew one only
    changed = [
        f"{name} was {before[name]!r} and is now {now[name]!r}"
        for name in now
        if name not in CHANGEABLE and before[name] != now[name]
    ]
    if changed:
        raise CheckpointError(
            f"{path} was trained with other settings: {'; '.join(changed)}. Leave them out, or "
            "start a new run in another folder."
        )


def _check_processes(before: int, now: int, path: Path) -> None:
    """Refuse to share an epoch between more or fewer processes than it was begun with."""
    if before != now:
        raise CheckpointError(
            f"{path} was trained by {before} processes and would be resumed by {now}, which draw "
            f"other batches: start {before} again, or a new run in another folder"
        )


def _check_pairs(
    before: Mapping[str, Sequence[Any]], now: Mapping[str, Sequence[Any]], path: Path
) -> None:
    """Refuse to go on with other pairs, changed ones, or ones that were used otherwise."""
    both = [name for name in before if name in now]
    differing = {
        "are missing": [name for name in before if name not in now],
        "are new": [name for name in now if name not in before],
        "were held out and would be trained on": [
            name for name in both if (before[name][0], now[name][0]) == ("held out", "train")
        ],
        "were trained on and would be held out": [
            name for name in both if (before[name][0], now[name][0]) == ("train", "held out")
        ],
        "have other pixels": [name for name in both if before[name][1] != now[name][1]],
        "have other figures of their alignment": [
            name for name in both if before[name][2] != now[name][2]
        ],
    }
    found = [
        f"{len(names)} {what} ({some(names, NAMED_AT_MOST)})"
        for what, names in differing.items()
        if names
    ]
    if found:
        raise CheckpointError(
            f"{path} was trained on other pairs: {'; '.join(found)}. Give the dataset as it was, or "
            "start a new run in another folder."
        )


@torch.no_grad()
def _finite(network: nn.Module) -> bool:
    """Return whether no weight is NaN or infinite."""
    return bool(torch.stack([torch.isfinite(p).all() for p in network.parameters()]).all())
