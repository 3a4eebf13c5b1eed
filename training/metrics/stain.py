"""How well the brown stain is reproduced: optical density of DAB, by colour deconvolution.

PSNR and SSIM weigh every pixel alike; a pathologist reads HER2 from the brown (DAB) alone. The
stains are separated with scikit-image's ``rgb2hed`` (Ruifrok and Johnston, 2001), here in torch.
Densities are decadic (scikit-image's values times six), as in QuPath.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.metrics.published import check_images

DAB_MASK_DENSITY = 0.25
"""DAB density from which a pixel counts as stained: the value that QuPath's documentation suggests
for stained areas ("Measuring areas": densities lie around 0 to 2, a threshold around 0.25)."""

HIGHEST_DENSITY = 3.0
"""Densities above are set to this: an 8-bit value of 1 is a density of 2.4, black is infinite."""

_BINS_PER_UNIT = 256
_DARKEST = 1e-6
_HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Colours of hematoxylin, eosin and DAB (Ruifrok and Johnston, 2001), as scikit-image has them."""
_TO_DAB: tuple[float, ...] = tuple(np.linalg.inv(np.array(_HED))[:, 2].tolist())


@dataclass(frozen=True)
class StainScores:
    """Agreement of the DAB density of each pair, float64 ``(N,)`` each.

    ``error`` is the mean absolute difference per pixel, ``bias`` the mean of generated minus real
    and ``histogram`` the earth mover's distance between the two distributions of densities, all in
    units of optical density. ``correlation`` is Pearson's over pixels; NaN where an image has one
    density everywhere. ``dice`` is the overlap of the pixels denser than ``DAB_MASK_DENSITY``; NaN
    where neither image has any.
    """

    error: Tensor
    bias: Tensor
    correlation: Tensor
    histogram: Tensor
    dice: Tensor


def dab_density(images: Tensor) -> Tensor:
    """Return the optical density of DAB, float32 ``(N, H, W)``, of uint8 RGB ``(N, 3, H, W)``.

    Equal to ``6 * skimage.color.rgb2hed(image)[..., 2]``.
    """
    red, green, blue = (images.float() / 255).clamp_min_(_DARKEST).log10_().neg_().unbind(dim=1)
    density = red * _TO_DAB[0] + green * _TO_DAB[1] + blue * _TO_DAB[2]
    return density.clamp_min_(0)


def stain_scores(real: Tensor, fake: Tensor) -> StainScores:
    """Compare the DAB of real and generated images, uint8 ``(N, 3, H, W)``.

    Raises ``ValueError`` for other types and for unequal shapes.
    """
    check_images(real, fake)
    return density_scores(dab_density(real), dab_density(fake))


def density_scores(real: Tensor, fake: Tensor) -> StainScores:
    """Compare densities of DAB, ``(N, H, W)``."""
    x, y = (density.clamp_max(HIGHEST_DENSITY).flatten(1) for density in (real, fake))
    difference = y - x
    return StainScores(
        error=difference.abs().mean(dim=1, dtype=torch.float64),
        bias=difference.mean(dim=1, dtype=torch.float64),
        correlation=_correlation(x, y),
        histogram=_earth_movers_distance(x, y),
        dice=_dice(x > DAB_MASK_DENSITY, y > DAB_MASK_DENSITY),
    )


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return Pearson's correlation of rows, NaN for a constant row."""
    x, y = x.double(), y.double()
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    spread = x.norm(dim=1) * y.norm(dim=1)
    constant = (x.std(dim=1) < 1e-6) | (y.std(dim=1) < 1e-6)
    return torch.where(constant, torch.nan, (x * y).sum(dim=1) / spread)


def _earth_movers_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the area between the cumulative histograms of each pair of rows, in densities."""
    rows = []
    for a, b in zip(x, y, strict=True):
        excess = _counts(b) - _counts(a)
        rows.append(excess.cumsum(0).abs().sum() / (a.numel() * _BINS_PER_UNIT))
    return torch.stack(rows)


def _counts(density: Tensor) -> Tensor:
    """Return the histogram of one image's densities, float64."""
    bins = round(HIGHEST_DENSITY * _BINS_PER_UNIT)
    return torch.histc(density, bins=bins, min=0, max=HIGHEST_DENSITY).double()


def _dice(x: Tensor, y: Tensor) -> Tensor:
    """Return the Dice overlap of each pair of masks, NaN where both are empty."""
    both = (x & y).sum(dim=1)
    return (2 * both).double() / (x.sum(dim=1) + y.sum(dim=1)).double()
