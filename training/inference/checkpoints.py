"""Generators ready for use, in files: ours (``best.pt``, ``last.pt``) and those of the original code.

A run folder holds ``best.pt`` and ``last.pt`` (a generator each, averaged and recalibrated) and
``checkpoint.pt`` (everything that resuming needs). All load with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from registration.files.words import did_you_mean, excerpt, reason
from training.errors import CheckpointError
from training.inference.generate import generate
from training.memory import OTHER_PROGRAMS, explained
from training.models.generators import GeneratorSpec, of_one_stain
from training.models.official import load_official
from training.models.stored import restored, write_torch
from training.settings.config import InferencePrecision

GENERATOR = "bci-pipeline generator 1"
STATE_KIND = "bci-pipeline training state"
STATE = f"{STATE_KIND} 4"
MOST_LEVELS = 1
"""Half precision may change 8-bit values by so much."""
BEST, LAST, CHECKPOINT = "best.pt", "last.pt", "checkpoint.pt"


class _About(NamedTuple):
    """What a file of ours says of its weights."""

    spec: dict[str, Any]
    mpp: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)] | None
    config: dict[str, Any]
    epoch: Annotated[int, Field(ge=0)] | None
    scores: dict[str, float]


_ABOUT = TypeAdapter(_About)


@dataclass(frozen=True, eq=False)
class TrainedGenerator:
    """A generator in evaluation mode, and where it comes from."""

    network: nn.Module
    spec: GeneratorSpec
    source: Path
    mpp: float | None = None
    """Pixel size it was trained at, where known."""
    config: dict[str, Any] = field(default_factory=dict)
    """Settings of its training; empty for weights of the original code."""
    epoch: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    """Validation scores."""
    stain: str = ""
    """Which of several stains it makes, or the one it was trained for, where that was said."""
    half: bool = False
    """Whether it computes in fp16; see :meth:`checked`."""

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return next(self.network.parameters()).device

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 H&E ``(N, 3, H, W)`` to uint8 IHC, on the generator's device; any size."""
        return generate(self.network, self.spec, images, half=self.half)

    def checked(self, images: Tensor) -> TrainedGenerator:
        """Return this generator, in float32 where fp16 moves a value of ``images`` by over a level.

        ``images`` are uint8 ``(N, 3, H, W)``, such as those that it is about to be used on.
        """
        if not self.half:
            return self
        exact = replace(self, half=False)
        largest = (self(images).int() - exact(images).int()).abs().max()
        return self if largest <= MOST_LEVELS else exact

    @property
    def arithmetic(self) -> str:
        """In what numbers it computes, in words."""
        return "fp16" if self.half else "float32"

    def describe(self) -> str:
        """Return in a few words what this is."""
        if not {"model", "recipe"} <= self.config.keys():
            return f"{self.source.name} (weights of the original code)"
        stain = f", {self.stain}" if self.stain else ""
        return f"{self.config['model']}{stain}, recipe {self.config['recipe']}, epoch {self.epoch}"


def load_generator(
    path: Path,
    device: str | torch.device = "cpu",
    precision: InferencePrecision = "32",
    stain: str = "",
) -> TrainedGenerator:
    """Load a generator from a run folder (its best one), a ``.pt`` file, or an official ``.pth``.

    ``stain`` says which one a generator of several makes. ``precision`` ``auto`` is fp16 on a GPU,
    subject to :meth:`TrainedGenerator.checked`. Raises :class:`CheckpointError`, saying what is wrong
    with which file.
    """
    found = _find(path)
    stored = read_checkpoint(found)
    if str(stored.get("format")).startswith(STATE_KIND):
        raise CheckpointError(
            f"{found} is the state of an unfinished run; use best.pt or last.pt beside it"
        )
    if stored.get("format") == GENERATOR:
        trained = _of_stain(_ours(stored, found), stain)
    elif stain:
        raise CheckpointError(f"{found} does not say which stain it makes: leave --stain out")
    elif stored and all(isinstance(value, Tensor) for value in stored.values()):
        trained = TrainedGenerator(*load_official(stored, found), found)
    else:
        raise CheckpointError(f"{found} was written by another program: it is no set of weights")
    with explained(lambda: OTHER_PROGRAMS):
        trained.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained.network.eval().requires_grad_(False)
    return replace(trained, half=precision == "auto" and trained.device.type == "cuda")


def stains_of(path: Path) -> tuple[str, ...]:
    """Return the stains that a generator makes, as far as its file says it."""
    stored = read_checkpoint(_find(path))
    if stored.get("format") != GENERATOR:
        return ()
    return _stains(_ours(stored, path))


def save_generator(path: Path, trained: TrainedGenerator) -> None:
    """Write a generator, whole or not at all."""
    write_checkpoint(
        path,
        {
            "format": GENERATOR,
            "spec": asdict(trained.spec),
            "weights": {k: v.detach().cpu() for k, v in trained.network.state_dict().items()},
            "mpp": trained.mpp,
            "config": trained.config,
            "epoch": trained.epoch,
            "scores": trained.scores,
        },
    )


def write_checkpoint(path: Path, value: Mapping[str, Any]) -> None:
    """Write plain values and tensors, whole or not at all."""
    write_torch(path, dict(value))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds; nothing in it is executed.

    Raises :class:`CheckpointError` when the file is missing, damaged, or not made of plain values.
    """
    _check_file(path)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"not a readable checkpoint: {path}. It is damaged, cut off, or holds more than "
            "weights; files written by this program never are."
        ) from error
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path} holds a {type(stored).__name__}, not a set of weights")
    return stored


def _check_file(path: Path) -> None:
    """Raise :class:`CheckpointError` for what is no file; a pipe would be waited for for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint not found: {path}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from error
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path} is no file")


def _find(path: Path) -> Path:
    """Return the file that ``path`` stands for."""
    if not path.is_dir():
        return path
    for name in (BEST, LAST, "latest_net_G.pth"):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"no generator in {path}: neither {BEST} nor {LAST}. Is it a run folder?")


def _of_stain(trained: TrainedGenerator, wanted: str) -> TrainedGenerator:
    """Return a generator of one stain. Raises :class:`CheckpointError` where it does not make it."""
    several, known = trained.spec.stains, _stains(trained)
    if wanted and not known:
        raise CheckpointError(
            f"{trained.source} does not say which stain it makes: leave --stain out"
        )
    if not wanted and len(known) > 1:
        raise CheckpointError(
            f"{trained.source} makes {' and '.join(known)}: choose with --stain {known[0]}"
        )
    found = [name for name in known if not wanted or name.casefold() == wanted.casefold()]
    if wanted and not found:
        raise CheckpointError(
            f"{trained.source} makes {' and '.join(known)}, not {wanted}{did_you_mean(wanted, known)}"
        )
    if not several:
        return replace(trained, stain="".join(found))
    network = of_one_stain(trained.network, trained.spec, found[0])
    return replace(trained, network=network, spec=replace(trained.spec, stains=()), stain=found[0])


def _stains(trained: TrainedGenerator) -> tuple[str, ...]:
    """Return the stains that a generator makes; empty where that was never said."""
    return trained.spec.stains or tuple(filter(None, [str(trained.config.get("stain", ""))]))


def _ours(stored: dict[str, Any], path: Path) -> TrainedGenerator:
    """Build a generator from a file of ours."""
    weights = stored.get("weights")
    about_it = {key: value for key, value in stored.items() if key not in ("format", "weights")}
    try:
        about = _ABOUT.validate_python(about_it)
    except ValidationError as error:
        first = error.errors()[0]
        where, found = ".".join(map(str, first["loc"])), excerpt(first["input"])
        reason = f"it has no {where}" if first["type"] == "missing" else f"its {where} is {found}"
        raise CheckpointError(
            f"{path} is damaged, or was written by another version: {reason}"
        ) from error
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path} is damaged: it holds no weights")
    network, spec = restored(about.spec, weights, path)
    return TrainedGenerator(network, spec, path, *about[1:])
