"""How much memory a training step needs, by accounting, and what to do where it is not there.

Networks are run on PyTorch's meta device, which computes shapes and no numbers, and the tensors
that they keep for the way back are added up. That takes a second and no memory, before any data is
decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from registration.files.memory import usable_memory
from training.errors import MemoryFullError
from training.models.discriminators import MultiscaleDiscriminator, PatchGAN
from training.models.generators import build_generator, recompute_activations
from training.models.pix2pix import generator_spec, shown_channels
from training.settings.config import TrainConfig

GIB = 2.0**30
BYTES_PER_WEIGHT = 4 * 4
"""Weight, gradient and Adam's two moments, float32."""
BASE_BYTES = int(0.6 * GIB)
"""The driver's context and libraries."""
WORKSPACE_LAYERS = 4
"""Full-resolution layers that exist for a moment, kernels' workspace included."""
COMPILED_SHARE = 0.75
"""A compiled network keeps less: what follows cheaply from what is kept is computed again."""
FULL = 1.15
"""An estimate above this share of the free memory is refused: it is some 15 per cent uncertain."""
SMALLER_CROP = 512
OF_THE_MACHINE = "DefaultCPUAllocator"
"""What PyTorch says where not a GPU but the machine has no memory left."""
ALLOCATION_FAILURES = (
    OF_THE_MACHINE,
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cudaErrorMemoryAllocation",
    "unable to find an engine to execute this computation",
)
"""How libraries below PyTorch say that they got no memory."""


def training_bytes(config: TrainConfig, side_px: int, half: bool) -> int:
    """Return about how many bytes of a GPU a training step takes at most.

    ``side_px`` is the side of the square images or crops, ``half`` whether activations have 16 bits.
    """
    generator, discriminator = meta_networks(config)
    kept = kept_bytes(generator, (config.batch, 3, side_px, side_px), half)
    shown = (config.batch, shown_channels(config), side_px, side_px)
    seen = kept_bytes(discriminator, shown, half)
    several = config.model == "cyclegan"
    networks = 2 if several else 1
    passes = 3 if several else 1
    activations = networks * (passes * kept + seen)
    if config.compile:
        activations = int(activations * COMPILED_SHARE)
    if config.model == "pix2pixhd":
        activations += seen
    weights = networks * (_weights(generator) + _weights(discriminator)) * BYTES_PER_WEIGHT
    weights += _weights(generator) * 4 if config.ema else 0
    layer = config.batch * side_px**2 * config.ngf * (2 if half else 4)
    images = 12 * config.batch * side_px**2 * 3 * 4
    return BASE_BYTES + weights + activations + WORKSPACE_LAYERS * layer + images


def kept_bytes(network: nn.Module, shape: tuple[int, ...], half: bool) -> int:
    """Return how many bytes a network on the meta device keeps for the way back."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        held.append(tensor)  # a storage that is freed would give its place to another
        return tensor

    held: list[Tensor] = []
    kind = torch.bfloat16 if half else torch.float32
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        image = torch.empty(shape, dtype=kind, requires_grad=True)
        network.to(kind)(image)
    return sum(kept.values())


def demand(
    config: TrainConfig, side_px: int, half: bool, free: int, of: str = "of this GPU are free"
) -> str:
    """Return in words what a step needs beside what is ``free``, and what would need less.

    Empty where it fits by a margin; ``of`` says what that many bytes are. Raises
    :class:`MemoryFullError` where it is certain not to.
    """
    needed = training_bytes(config, side_px, half)
    if needed <= free / FULL:
        return ""
    text = (
        f"a step of {config.model} at {side_px} px, batch {config.batch}, needs about "
        f"{needed / GIB:.1f} GiB and {free / GIB:.1f} GiB {of}. "
        f"{remedies(config, side_px, half)}"
    )
    if needed > FULL * free:
        raise MemoryFullError(text)
    return f"warning: this is tight: {text}"


def remedies(config: TrainConfig, side_px: int, half: bool) -> str:
    """Return the settings that save memory, and what a step needs with each."""
    options: list[tuple[str, TrainConfig, int]] = []
    if not config.recompute and config.model != "pix2pix-unet":
        options.append(
            ("--set recompute=true", config.model_copy(update={"recompute": True}), side_px)
        )
    if side_px > SMALLER_CROP:
        options.append((f"--crop {SMALLER_CROP}", config, SMALLER_CROP))
    elif side_px >= 256 and config.model != "pix2pix-unet":
        options.append((f"--crop {side_px // 2}", config, side_px // 2))
    if config.batch > 1:
        count = config.batch * config.accumulate
        options.append(
            (f"--batch 1 --accumulate {count}", config.model_copy(update={"batch": 1}), side_px)
        )
    ways = [
        f"{option} (about {training_bytes(changed, side, half) / GIB:.1f} GiB)"
        for option, changed, side in options
    ]
    if not ways:
        return "Train where there is more memory"
    return (
        f"Give {', '.join(ways[:-1])} or {ways[-1]}, or several" if ways[1:] else f"Give {ways[0]}"
    )


OTHER_PROGRAMS = "End other programs that use it (nvidia-smi lists them), or give --device cpu"
"""What makes room for a generator alone."""


@contextmanager
def explained(remedy: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory into :class:`MemoryFullError`, with what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        of_machine = isinstance(error, MemoryError) or OF_THE_MACHINE in str(error)
        which = "this machine" if of_machine else "the GPU"
        raise MemoryFullError(
            f"{which} has too little memory{used(of_machine)}. {remedy()}."
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is full, in whatever words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in ALLOCATION_FAILURES
    )


def used(of_machine: bool) -> str:
    """Return in words how much memory there is, of the GPU what this process had taken at most."""
    if of_machine:
        return f": {usable_memory() / GIB:.1f} GiB in all"
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    taken = torch.cuda.max_memory_reserved()
    return (
        f": {taken / GIB:.1f} of {total / GIB:.1f} GiB were taken by this process and "
        f"{free / GIB:.1f} GiB are free"
    )


def meta_networks(config: TrainConfig) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator of a model, on the meta device."""
    spec = generator_spec(config)
    with torch.device("meta"):
        generator = build_generator(spec)
        if config.model == "cyclegan":
            return _recomputing(generator, config), PatchGAN(3, config.ndf, spec.norm)
        if config.model == "pix2pixhd":
            return _recomputing(generator, config), MultiscaleDiscriminator(
                shown_channels(config), config.ndf
            )
        return _recomputing(generator, config), PatchGAN(shown_channels(config), config.ndf)


def _recomputing(generator: nn.Module, config: TrainConfig) -> nn.Module:
    """Let a generator compute activations twice where the settings say so."""
    if config.recompute:
        recompute_activations(generator)
    return generator


def _weights(network: nn.Module) -> int:
    """Return how many weights a network has."""
    return sum(weight.numel() for weight in network.parameters())
