"""Layers that PyTorch has, mended: the gradient of one image, padding on a GPU, sizes of tiles."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "instance"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return a normalisation as the originals use it: instance norm has no parameters."""
    return nn.BatchNorm2d(channels) if norm == "batch" else InstanceNorm(channels)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation whose gradient is right for a single image as well.

    PyTorch's own (2.13 on a CPU) gives a wrong gradient for a batch of one whose gradient arrives
    channels-last. For one image batch normalisation is the same thing, and right.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` with mean 0 and variance 1 in each image and channel."""
        if len(input) > 1:
            return super().forward(input)
        return F.batch_norm(input, None, None, training=True, eps=self.eps)


class ReflectionPad(nn.Module):
    """Continues an image by its reflection, without repeating the border; keeps channels-last.

    PyTorch's own kernel for GPUs turns channels-last images round and back and adds gradients up
    with one atomic per pixel, in an order that changes from run to run. Slices put side by side give
    the same bits. Where the network is compiled, and on a CPU, the built-in one is the fast one.
    """

    def __init__(self, px: int) -> None:
        super().__init__()
        self.px = px

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, C, H, W)`` with ``px`` more pixels on each side."""
        if x.is_cuda and not torch.compiler.is_compiling():
            return reflected(x, self.px)
        return F.pad(x, (self.px,) * 4, mode="reflect")


def reflected(x: Tensor, px: int) -> Tensor:
    """Return ``(N, C, H, W)`` reflected by ``px`` on each side, put together from slices."""
    for axis in (2, 3):
        size = x.shape[axis]
        before = x.narrow(axis, 1, px).flip(axis)
        after = x.narrow(axis, size - 1 - px, px).flip(axis)
        x = torch.cat((before, x, after), dim=axis)
    return x


class UpConvolution(nn.ConvTranspose2d):
    """A transposed convolution whose result does not depend on the size of the image.

    oneDNN adds up in another order for other sizes, which changes the last bit: enough to make a
    tile differ from the whole image. Where the network is used on a CPU PyTorch's own kernel runs
    instead; it takes some per cent of a generator's time more.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return ``x`` enlarged."""
        if self.training or x.device.type != "cpu" or not torch.backends.mkldnn.enabled:
            return super().forward(x, output_size)
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        try:
            return super().forward(x, output_size)
        finally:
            torch.backends.mkldnn.enabled = True  # type: ignore[assignment]
