"""The generators of pix2pix, CycleGAN and pix2pixHD, and the way all networks start.

Layer names and order are those of the original code (pix2pix and CycleGAN: Isola et al. 2017,
Zhu et al. 2017; pix2pixHD: Wang et al. 2018), so that official checkpoints load and ours can be
exported. Images are ``(N, 3, H, W)`` in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, ConfigDict, Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.models.layers import Norm, ReflectionPad, UpConvolution, norm_layer

INITIAL_STD = 0.02
STAIN_STD = 0.5
"""Stains start apart: Adam would need thousands of steps to tell them apart from nothing."""
FILM = "film.weight"


def _grey_or_rgb(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("expected 1 or 3")
    return channels


@dataclass(frozen=True)
class GeneratorSpec:
    """What a generator is made of; saved with every checkpoint.

    The limits hold for what is read from a file (:func:`training.models.stored.restored`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    kind: Literal["resnet", "unet", "enhancer"] = "resnet"
    width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels of the first layer (``ngf``)."""
    downs: Annotated[int, Field(ge=0, le=10)] = 2
    """How often the image is halved."""
    blocks: Annotated[int, Field(ge=0, le=100)] = 9
    """Residual blocks at the coarsest level."""
    norm: Norm = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.5
    """Dropout in residual blocks and inner U-Net levels; ``None`` leaves out the layer itself."""
    conv_bias: bool = False
    """Whether convolutions before a normalisation have a bias."""
    stains: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """Stains that one generator makes, told which; empty where it makes one."""
    in_channels: Annotated[int, Field(ge=3, le=3)] = 3
    out_channels: Annotated[int, AfterValidator(_grey_or_rgb)] = 3

    @property
    def multiple_px(self) -> int:
        """Images must be a multiple of this on each side."""
        return 1 << (self.downs + (self.kind == "enhancer"))

    @property
    def smallest_px(self) -> int:
        """Images must have at least this on each side: residual blocks reflect their border."""
        return self.multiple_px * (1 if self.kind == "unet" else 2)


GENERATORS = {
    "resnet_9blocks": GeneratorSpec(),
    "unet_256": GeneratorSpec(kind="unet", downs=8, blocks=0),
    "cyclegan": GeneratorSpec(norm="instance", dropout=None, conv_bias=True),
    "pix2pixhd": GeneratorSpec(downs=4, norm="instance", dropout=None, conv_bias=True),
    "pix2pixhd_enhancer": GeneratorSpec(
        kind="enhancer", width=32, downs=4, norm="instance", dropout=None, conv_bias=True
    ),
}


def build_generator(spec: GeneratorSpec) -> nn.Module:
    """Return the generator that ``spec`` describes, with PyTorch's own initial weights."""
    if spec.kind == "unet":
        return UnetGenerator(spec)
    if spec.kind == "enhancer":
        return LocalEnhancer(spec)
    return ResnetGenerator(spec)


def initialise(network: nn.Module, *, zero_bias: bool = True) -> None:
    """Draw convolution weights from N(0, 0.02) and BatchNorm weights from N(1, 0.02), in place.

    pix2pix and CycleGAN also set convolution biases to zero; pix2pixHD leaves them
    (``zero_bias=False``).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, INITIAL_STD)
            if module.bias is not None and zero_bias:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, INITIAL_STD)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, STAIN_STD)


class ResnetGenerator(nn.Module):
    """``resnet_9blocks`` of pix2pix and CycleGAN, and pix2pixHD's global generator (``downs=4``)."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        layers = _stem(spec, spec.width)
        for level in range(spec.downs):
            layers += _down(spec, spec.width * 2**level)
        layers += [ResnetBlock(spec, spec.width * 2**spec.downs) for _ in range(spec.blocks)]
        for level in reversed(range(spec.downs)):
            layers += _up(spec, spec.width * 2**level)
        self.model = nn.Sequential(*layers, *_head(spec, spec.width))

    def forward(self, image: Tensor, stain: Tensor | None = None) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 3, H, W)``; sides are multiples of ``spec.multiple_px``.

        ``stain`` ``(N,)`` are places in ``spec.stains``; without it the first one is made.
        """
        for layer in self.model:
            image = layer(image, stain) if isinstance(layer, ResnetBlock) else layer(image)
        return image


class LocalEnhancer(nn.Module):
    """pix2pixHD's second stage: a half-resolution global generator inside a full-resolution one.

    ``spec.downs`` and ``spec.blocks`` are those of the global generator, ``spec.width`` is the
    full-resolution width (the global generator has twice as many channels).
    """

    LOCAL_BLOCKS = 3

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        inner = ResnetGenerator(replace(spec, kind="resnet", width=2 * spec.width))
        self.model = inner.model[:-3]
        self.model1_1 = nn.Sequential(*_stem(spec, spec.width), *_down(spec, spec.width))
        blocks = [ResnetBlock(spec, 2 * spec.width) for _ in range(self.LOCAL_BLOCKS)]
        self.model1_2 = nn.Sequential(*blocks, *_up(spec, spec.width), *_head(spec, spec.width))
        self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 3, H, W)``."""
        coarse = self.model(self.downsample(image))
        generated: Tensor = self.model1_2(self.model1_1(image) + coarse)
        return generated


class ResnetBlock(nn.Module):
    """Two reflected 3 x 3 convolutions and a skip connection.

    In a generator of several stains each has a factor and an offset of its own for every channel that
    is added (FiLM, Perez et al. 2018).
    """

    def __init__(self, spec: GeneratorSpec, channels: int) -> None:
        super().__init__()
        self.recompute = False
        dropout = [] if spec.dropout is None else [nn.Dropout(spec.dropout)]
        self.conv_block = nn.Sequential(
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3, bias=spec.conv_bias),
            norm_layer(spec.norm, channels),
            nn.ReLU(inplace=True),
            *dropout,
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3, bias=spec.conv_bias),
            norm_layer(spec.norm, channels),
        )
        if spec.stains:
            self.film = nn.Embedding(len(spec.stains), 2 * channels)

    def forward(self, x: Tensor, stain: Tensor | None = None) -> Tensor:
        """Return ``x`` plus what the block adds to it, for the stains ``(N,)`` of the images."""
        added: Tensor
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            added = self.conv_block(x)
        elif torch.compiler.is_compiling():
            # The compiler moves BatchNorm's statistics in the first pass only, by itself.
            added = checkpoint(self.conv_block, x, use_reentrant=False)
        else:
            added = checkpoint(
                self.conv_block, x, use_reentrant=False, context_fn=self._recompute_contexts
            )
        return x + (self._as_stained(added, stain) if hasattr(self, "film") else added)

    def _as_stained(self, added: Tensor, stain: Tensor | None) -> Tensor:
        """Return what is added ``(N, C, H, W)``, with the factors and offsets of the stains."""
        rows = self.film.weight[:1] if stain is None else self.film(stain)
        factor, offset = rows.to(added.dtype)[..., None, None].chunk(2, dim=1)
        return added * (1 + factor) + offset

    def _recompute_contexts(
        self,
    ) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return the contexts of both passes; only the first one moves BatchNorm's statistics."""
        return nullcontext(), frozen_statistics(self)


class UnetGenerator(nn.Module):
    """``unet_256``: eight levels of 4 x 4 convolutions with skip connections."""

    WIDEST = 8

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        if spec.downs < 5:
            raise ValueError(f"this U-Net has at least five levels, not {spec.downs}")
        widths = [spec.width * min(2**level, self.WIDEST) for level in range(spec.downs)]
        block = UnetLevel(spec, widths[-1], widths[-1], None)
        for level in reversed(range(spec.downs - 1)):
            outer = spec.out_channels if level == 0 else widths[level - 1]
            widest = 3 < level < spec.downs - 1
            block = UnetLevel(
                spec, outer, widths[level], block, outermost=level == 0, dropout=widest
            )
        self.model = block

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 3, H, W)``; sides are multiples of ``2 ** downs``."""
        generated: Tensor = self.model(image)
        return generated


class UnetLevel(nn.Module):
    """One level of the U-Net: down, what lies below, up; all but the outermost pass their input on.

    The leaky ReLU works in place, so that the skip connection carries activated values: a quirk of
    the original that its weights have learnt to live with.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        outer: int,
        inner: int,
        below: UnetLevel | None,
        *,
        outermost: bool = False,
        dropout: bool = False,
    ) -> None:
        super().__init__()
        self.outermost = outermost
        entering = spec.in_channels if outermost else outer
        down = nn.Conv2d(entering, inner, 4, 2, 1, bias=spec.conv_bias)
        returning = inner if below is None else 2 * inner
        up = UpConvolution(returning, outer, 4, 2, 1, bias=spec.conv_bias or outermost)
        layers: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2, inplace=True)]
        layers.append(down)
        if below is not None:
            layers += [] if outermost else [norm_layer(spec.norm, inner)]
            layers.append(below)
        layers += [nn.ReLU(inplace=True), up]
        layers.append(nn.Tanh() if outermost else norm_layer(spec.norm, outer))
        if dropout and spec.dropout is not None:
            layers.append(nn.Dropout(spec.dropout))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the level's output, beside its input unless this is the outermost level."""
        result: Tensor = self.model(x)
        return result if self.outermost else torch.cat([x, result], dim=1)


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics as they are, while it still uses those of the batch.

    The momentum is zero meanwhile: turning tracking off would save other tensors for the way back
    than the first pass did, which recomputed activations must not.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    counts = [_batch_count(norm).clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            _batch_count(norm).copy_(count)


def recompute_activations(network: nn.Module) -> None:
    """Trade time for memory: residual blocks compute their activations again on the way back."""
    for module in network.modules():
        if isinstance(module, ResnetBlock):
            module.recompute = True


@torch.no_grad()
def of_one_stain(network: nn.Module, spec: GeneratorSpec, stain: str) -> nn.Module:
    """Return a generator of one of several stains: its factors and offsets become BatchNorm's own.

    Computes what ``network`` computes for this stain, and is an ordinary generator.
    """
    alone = replace(spec, stains=())
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    place = spec.stains.index(stain)
    for name in [name for name in weights if name.endswith(FILM)]:
        factor, offset = weights.pop(name)[place].chunk(2)
        norm = f"{name.removesuffix(FILM)}conv_block.{7 if spec.dropout is not None else 6}."
        weights[f"{norm}weight"] *= 1 + factor
        weights[f"{norm}bias"] = weights[f"{norm}bias"] * (1 + factor) + offset
    made = build_generator(alone)
    made.load_state_dict(weights)
    return made.to(next(network.parameters()).device).train(network.training)


def _batch_count(norm: nn.BatchNorm2d) -> Tensor:
    """Return how many batches the running statistics have seen, as a scalar that can be set."""
    if norm.num_batches_tracked is None:
        raise ValueError("this BatchNorm keeps no running statistics")
    return norm.num_batches_tracked


def _stem(spec: GeneratorSpec, channels: int) -> list[nn.Module]:
    """Return the first, full-resolution layers."""
    return [
        ReflectionPad(3),
        nn.Conv2d(spec.in_channels, channels, 7, bias=spec.conv_bias),
        norm_layer(spec.norm, channels),
        nn.ReLU(inplace=True),
    ]


def _down(spec: GeneratorSpec, channels: int) -> list[nn.Module]:
    """Return layers that halve the image and double ``channels``."""
    return [
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=spec.conv_bias),
        norm_layer(spec.norm, 2 * channels),
        nn.ReLU(inplace=True),
    ]


def _up(spec: GeneratorSpec, channels: int) -> list[nn.Module]:
    """Return layers that double the image and halve the channels to ``channels``."""
    return [
        UpConvolution(
            2 * channels, channels, 3, stride=2, padding=1, output_padding=1, bias=spec.conv_bias
        ),
        norm_layer(spec.norm, channels),
        nn.ReLU(inplace=True),
    ]


def _head(spec: GeneratorSpec, channels: int) -> list[nn.Module]:
    """Return the last layers, down to an image in [-1, 1]."""
    return [ReflectionPad(3), nn.Conv2d(channels, spec.out_channels, 7), nn.Tanh()]
