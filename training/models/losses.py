"""Adversarial, feature-matching and perceptual losses. The pyramid loss is in ``pyramid``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import CheckpointError

GanLoss = Literal["vanilla", "lsgan"]

VGG19_LAYERS = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", 512)
VGG19_TAPS = (1, 6, 11, 20, 29)
"""Index of relu1_1, relu2_1, ... relu5_1 among the layers of ``vgg19.features``."""
VGG19_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def adversarial_loss(logits: Tensor, *, real: bool, kind: GanLoss) -> Tensor:
    """Return how far a discriminator's logits are from saying "real" or "generated".

    ``vanilla`` is the cross-entropy of Goodfellow et al. 2014 (pix2pix), ``lsgan`` the squared
    distance of Mao et al. 2017 (CycleGAN, pix2pixHD).
    """
    logits = logits.float()
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    if kind == "vanilla":
        return F.binary_cross_entropy_with_logits(logits, target)
    return F.mse_loss(logits, target)


def multiscale_adversarial_loss(found: Sequence[Sequence[Tensor]], *, real: bool) -> Tensor:
    """Return the sum over scales of the LSGAN loss of pix2pixHD's discriminators."""
    return torch.stack(
        [adversarial_loss(stages[-1], real=real, kind="lsgan") for stages in found]
    ).sum()


def feature_matching_loss(
    fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]
) -> Tensor:
    """Return the distance between what the discriminators saw (Wang et al. 2018, equation 4).

    Scales and stages are weighted as in the released code: ``4 / stages`` and ``1 / scales``.
    """
    terms = [
        F.l1_loss(a.float(), b.detach().float()) * 4.0 / (len(fake_stages) - 1)
        for fake_stages, real_stages in zip(fake, real, strict=True)
        for a, b in zip(fake_stages[:-1], real_stages[:-1], strict=True)
    ]
    return torch.stack(terms).sum() / len(fake)


class VGGLoss(nn.Module):
    """Distance between VGG-19 features of two images in [-1, 1], as pix2pixHD uses it."""

    def __init__(self, weights: Path) -> None:
        """Load ImageNet weights in torchvision's layout (``vgg19-dcbb9e9d.pth``).

        Raises :class:`CheckpointError` when the file is missing or holds something else.
        """
        super().__init__()
        self.features = nn.Sequential(*_vgg19_features())
        self.features.load_state_dict(_read_vgg19(weights, self.features))
        self.requires_grad_(False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the weighted L1 distance over five layers of ``(N, 3, H, W)`` images."""
        total = fake.new_zeros((), dtype=torch.float32)
        for number, layer in enumerate(self.features):
            fake = layer(fake)
            with torch.no_grad():
                real = layer(real)
            if number in VGG19_TAPS:
                weight = VGG19_WEIGHTS[VGG19_TAPS.index(number)]
                total = total + weight * F.l1_loss(fake.float(), real.float())
        return total


def _vgg19_features() -> list[nn.Module]:
    """Return the layers of VGG-19 up to relu5_1."""
    layers: list[nn.Module] = []
    channels = 3
    for entry in VGG19_LAYERS:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
            channels = entry
    return layers


def _read_vgg19(path: Path, features: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a torchvision VGG-19 file that ``features`` needs."""
    advice = (
        "Fetch vgg19-dcbb9e9d.pth from download.pytorch.org on a machine with a network and give "
        "its path, or train without the VGG loss."
    )
    if not path.is_file():
        raise CheckpointError(f"VGG-19 weights not found: {path}. {advice}")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        return {name: stored[f"features.{name}"] for name in features.state_dict()}
    except (KeyError, TypeError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise CheckpointError(f"not torchvision's VGG-19 weights: {path}. {advice}") from error
