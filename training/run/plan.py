"""What a run will do, found out before it begins: pairs, steps, memory, and about how long.

The time is what the operations of a step would take at the speed of one convolution, which is
tried. It is good to a factor of two, which is enough to see whether it is minutes or days.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from registration.files.outputs import check_folder
from training.data.batches import check_sizes
from training.data.holdout import graded, hold_out
from training.data.pairs import PairDataset, scale_note
from training.devices import device_named, usable_precision
from training.errors import ConfigError
from training.inference.checkpoints import BEST, CHECKPOINT, LAST
from training.memory import meta_networks
from training.models.pix2pix import generator_spec, shown_channels
from training.probes import HALVES
from training.run.history import HISTORY, VALIDATION
from training.run.machine import check_memory, fitted, with_stain
from training.run.preparation import sampling_of, trainable_pairs
from training.run.report import ABOUT, CONFIG, REPORT
from training.settings.config import TrainConfig

OVERHEAD = 2.0
"""A step beside its convolutions alone: normalisation, losses, Adam."""
PASSES = {"generator": 3, "discriminator": 8}
"""Forward passes that a step costs: the way back counts twice, a discriminator sees three images."""
CYCLEGAN_PASSES = {"generator": 18, "discriminator": 16}
PROBE_SIDE_PX = 64
SHORTER_CROP = 256
SHORTER_NGF = 16

WRITTEN = (BEST, LAST, CHECKPOINT, HISTORY, VALIDATION, REPORT, ABOUT)
"""What a run writes after its settings, and therefore not into a folder without them."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do."""

    config: TrainConfig
    train: int
    """Pairs to train on."""
    held_out: int
    cached: int
    """Pairs to decode, whatever their grade."""
    notes: tuple[str, ...]
    width: int
    height: int
    device: str
    """In words."""
    steps_per_epoch: int
    seconds: float
    """Estimate for all epochs."""

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.steps_per_epoch * self.config.total_epochs

    @property
    def cache_bytes(self) -> int:
        """Decoded pixels of these."""
        return self.cached * 6 * self.width * self.height


def plan_run(
    config: TrainConfig, dataset: PairDataset, out: Path, *, resume: bool, measures: bool = False
) -> RunPlan:
    """Return what a run would do, without decoding an image or drawing a network.

    Where it first ``measures`` how pairs are aligned, no grade is known yet and none is left out.
    Raises what :func:`training.run.loop.train` would refuse.
    """
    dataset, config = with_stain(dataset, config)
    check_folder(out, dataset.folders)
    check_free(out, resume=resume)
    notes: list[str] = []
    device = torch.device(device_named(config.device))
    precision = usable_precision(config.precision, device.type, notes.append)
    config, side_px = fitted(config, dataset, notes.append)
    cached = len(trainable_pairs(dataset))
    dataset = dataset if measures else graded(dataset, config.grade)
    parts = hold_out(dataset, config.val_fraction, config.seed, config.val_pairs)
    sizes = [pair.size for pair in (*parts.train, *parts.validation)]
    shapes = np.array([size[::-1] for size in sizes[: len(parts.train)]])
    check_sizes(shapes, [pair.name for pair in parts.train], sampling_of(config))
    check_memory(config, side_px, device, precision != "32", notes.append)
    height, width = (int(side) for side in shapes[0])
    batches = -(-len(parts.train) // config.batch)
    images = len(parts.train) * config.total_epochs
    half = HALVES.get(precision)
    return RunPlan(
        config=config,
        train=len(parts.train),
        held_out=len(parts.validation),
        cached=cached,
        notes=tuple(
            note for note in (*dataset.notes, parts.note, scale_note(parts.train), *notes) if note
        ),
        width=width,
        height=height,
        device=_in_words(device),
        steps_per_epoch=-(-batches // config.accumulate),
        seconds=images * operations(config, width, height) / speed(device, half, config.ngf),
    )


def check_free(out: Path, *, resume: bool) -> None:
    """Raise :class:`ConfigError` for a run folder that is taken, by a run or by files of its names."""
    if (out / CONFIG).exists():
        if not resume:
            raise ConfigError(f"{out} holds a run already: add --resume, or give another folder")
        return
    for name in WRITTEN:
        if (out / name).exists():
            raise ConfigError(f"{out} holds a {name} of something else: give another folder")


def shorter(plan: RunPlan) -> list[tuple[str, float]]:
    """Return settings that make a run shorter, and the seconds it would then take."""
    config = plan.config
    now = operations(config, plan.width, plan.height)
    ways = []
    for name, least in (("crop", SHORTER_CROP), ("ngf", SHORTER_NGF)):
        current = config.crop or min(plan.width, plan.height) if name == "crop" else config.ngf
        if least < current:
            smaller = config.model_copy(update={name: least})
            ways.append((f"--{name} {least}", operations(smaller, plan.width, plan.height) / now))
    return [(option, share * plan.seconds) for option, share in ways]


def operations(config: TrainConfig, width: int, height: int) -> float:
    """Return the floating-point operations that training with one image takes."""
    side = (config.crop, config.crop) if config.crop else (height, width)
    multiple = generator_spec(config).multiple_px
    rows, columns = (max(length // multiple, 1) * multiple for length in side)
    generator, discriminator = meta_networks(config)
    cyclegan = config.model == "cyclegan"
    passes = CYCLEGAN_PASSES if cyclegan else PASSES
    return passes["generator"] * _pass(generator, (1, 3, rows, columns)) + passes[
        "discriminator"
    ] * _pass(discriminator, (1, shown_channels(config), rows, columns))


def speed(device: torch.device, half: torch.dtype | None, ngf: int) -> float:
    """Return the operations per second of training on ``device``, from one convolution of its kind."""
    channels = 4 * ngf
    kind = half or torch.float32
    weight = torch.ones((channels, channels, 3, 3), device=device, dtype=kind, requires_grad=True)
    image = torch.ones((1, channels, PROBE_SIDE_PX, PROBE_SIDE_PX), device=device, dtype=kind)
    image.requires_grad_()
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        F.conv2d(image, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return 3 * 2 * 9 * channels**2 * PROBE_SIDE_PX**2 / best / OVERHEAD


def _pass(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the operations of one forward pass of a network on the meta device."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(shape))
    return int(counter.get_total_flops())


def _in_words(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    cores = torch.get_num_threads()
    return f"the CPU, {cores} core{'s' if cores > 1 else ''}"
