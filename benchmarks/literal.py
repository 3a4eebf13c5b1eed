"""The released training step of pyramid pix2pix and its loader, written out step by step.

A yardstick, not part of the program: 24 separate blurs, one image at a time from side-by-side PNGs,
default memory layout, default Adam.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from training.models.discriminators import PatchGAN
from training.models.generators import GENERATORS, GeneratorSpec, build_generator, initialise


def blur(image: Tensor) -> Tensor:
    """Return the image blurred with a 3 x 3 Gaussian of sigma 1, one axis after the other."""
    taps = torch.exp(-(torch.arange(-1.0, 2.0, device=image.device) ** 2) / 2)
    taps = (taps / taps.sum()).expand(3, 1, 3)
    across = F.conv2d(F.pad(image, (1, 1, 0, 0), mode="reflect"), taps[:, :, None], groups=3)
    return F.conv2d(F.pad(across, (0, 0, 1, 1), mode="reflect"), taps[..., None], groups=3)


def octave(image: Tensor) -> Tensor:
    """Return the image after four blurs, every second pixel."""
    for _ in range(4):
        image = blur(image)
    return image[..., ::2, ::2]


def pyramid_terms(fake: Tensor, real: Tensor, weight: float = 25.0, scales: int = 3) -> Tensor:
    """Return the pyramid loss, both images blurred."""
    total = fake.new_zeros(())
    for _ in range(scales):
        fake, real = octave(fake), octave(real)
        total = total + weight * F.l1_loss(fake, real)
    return total


class LiteralTrainer:
    """Generator, discriminator and the released step."""

    def __init__(self, spec: GeneratorSpec = GENERATORS["resnet_9blocks"], ndf: int = 64) -> None:
        self.g: nn.Module = build_generator(spec)
        self.d: nn.Module = PatchGAN(width=ndf)
        initialise(self.g)
        initialise(self.d)
        self._bce = nn.BCEWithLogitsLoss()
        self.prepare()

    def prepare(self) -> None:
        """Make the optimisers."""
        self._opt_g = torch.optim.Adam(self.g.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self._opt_d = torch.optim.Adam(self.d.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def to(self, device: str) -> LiteralTrainer:
        """Move both networks."""
        self.g.to(device)
        self.d.to(device)
        self.prepare()
        return self

    def step(self, he: Tensor, ihc: Tensor) -> float:
        """Take one step and return the generator's loss."""
        fake = self.g(he)
        self.d.requires_grad_(True)
        self._opt_d.zero_grad()
        judged_fake = self.d(torch.cat((he, fake), 1).detach())
        judged_real = self.d(torch.cat((he, ihc), 1))
        loss_d = self._loss(judged_fake, real=False) + self._loss(judged_real, real=True)
        (0.5 * loss_d).backward()
        self._opt_d.step()
        self.d.requires_grad_(False)
        self._opt_g.zero_grad()
        judged = self.d(torch.cat((he, fake), 1))
        loss_g = self._loss(judged, real=True) + 25.0 * F.l1_loss(fake, ihc)
        loss_g = loss_g + pyramid_terms(fake, ihc)
        loss_g.backward()
        self._opt_g.step()
        return float(loss_g.detach())

    def _loss(self, logits: Tensor, *, real: bool) -> Tensor:
        target = torch.tensor(float(real), device=logits.device).expand_as(logits)
        loss: Tensor = self._bce(logits, target)
        return loss


def load_side_by_side(path: Path) -> tuple[Tensor, Tensor]:
    """Return H&E and IHC in [-1, 1], ``(3, H, W)``, decoded, halved, converted, normalised."""
    with Image.open(path) as image:
        both = image.convert("RGB")
    middle = both.width // 2
    halves = both.crop((0, 0, middle, both.height)), both.crop((middle, 0, both.width, both.height))
    he, ihc = (
        (torch.from_numpy(np.array(half)).permute(2, 0, 1).contiguous().float() / 255 - 0.5) / 0.5
        for half in halves
    )
    return he, ihc
