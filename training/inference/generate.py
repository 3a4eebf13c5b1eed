"""Applying a generator to images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.data.images import from_network, to_network
from training.models.generators import GeneratorSpec


def generate(
    generator: nn.Module, spec: GeneratorSpec, images: Tensor, *, half: bool = False
) -> Tensor:
    """Return what ``generator`` makes of uint8 ``(N, 3, H, W)`` images, uint8 of the same shape.

    Images of a size that the network cannot take are continued on the right and below by their
    own reflection, and cut again. Works on the device of the generator, in whatever mode
    (training or evaluation) it is; the result is on that device. ``half`` computes in fp16.
    """
    height, width = images.shape[-2:]
    device = next(generator.parameters()).device
    with torch.inference_mode():
        source = to_network(images.to(device))
        source = continued(source, missing(height, spec), missing(width, spec))
        return from_network(apply(generator, source, half=half)[..., :height, :width])


def apply(generator: nn.Module, source: Tensor, *, half: bool = False) -> Tensor:
    """Run a generator on images in [-1, 1] whose size it can take.

    A GPU computes in fp16 with ``half``, the fastest way; otherwise in true float32, with the same
    bits each time. fp16 and not bf16: its steps are eight times finer.
    """
    kind = source.device.type
    source = source.contiguous(memory_format=torch.channels_last)
    generated: Tensor
    if half:
        with torch.autocast(kind, dtype=torch.float16):
            generated = generator(source)
    elif kind == "cuda":
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            generated = generator(source)
    else:
        generated = generator(source)
    return generated.float()


def missing(side: int, spec: GeneratorSpec) -> int:
    """Return how many pixels a side lacks to be one that the network can take."""
    wanted = max(side, spec.smallest_px)
    return wanted + -wanted % spec.multiple_px - side


def continued(images: Tensor, below: int, right: int) -> Tensor:
    """Return images continued by their reflection below and on the right, however far.

    The last row and column are not repeated; an image of one row or column is.
    """
    height, width = images.shape[-2:]
    if not below and not right:
        return images
    step_down, step_right = min(below, max(height - 1, 0)), min(right, max(width - 1, 0))
    if (below and not step_down) or (right and not step_right):
        return F.pad(images, (0, right, 0, below), mode="replicate")
    images = F.pad(images, (0, step_right, 0, step_down), mode="reflect")
    return continued(images, below - step_down, right - step_right)
