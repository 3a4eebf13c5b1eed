"""Scoring a generator on held-out pairs while training goes on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from training.data.cache import PixelCache
from training.data.images import Pixels, from_batch, to_batch
from training.devices import random_state, set_random_state
from training.inference.generate import generate
from training.metrics.published import psnr, ssim
from training.metrics.stain import stain_scores
from training.models.generators import GeneratorSpec

SHEET_ROWS = 6
LARGEST_PSNR = 100.0
SMALLEST_ERROR = 1e-6


def quality(scores: Mapping[str, float]) -> float:
    """Return the figure that the best generator has the highest of, in dB.

    PSNR minus twenty times the decadic logarithm of the DAB error: half the error of the brown counts
    as much as half the error of all colours. PSNR alone rewards blur, the brown alone a wrong picture.
    """
    return scores["psnr"] - 20 * math.log10(max(scores["dab_error"], SMALLEST_ERROR))


@dataclass(frozen=True)
class Validation:
    """Mean scores, and the first few results."""

    scores: dict[str, float]
    sheet: list[tuple[Pixels, Pixels, Pixels]]


def validate(
    networks: Sequence[nn.Module],
    spec: GeneratorSpec,
    cache: PixelCache,
    pairs: Sequence[int],
    *,
    batch_statistics: bool,
) -> Validation:
    """Score networks on some pairs of a cache, one for each, whole images, one at a time.

    ``batch_statistics`` leaves dropout and batch statistics on, as the released test script does.
    The networks stay as they are, and so do random numbers.
    """
    device = next(networks[0].parameters()).device
    state = random_state(device)
    if batch_statistics:
        copies = {id(network): copy.deepcopy(network).train() for network in networks}
        networks = [copies[id(network)] for network in networks]
    values: dict[str, list[float]] = {"psnr": [], "ssim": [], "dab_error": []}
    sheet: list[tuple[Pixels, Pixels, Pixels]] = []
    for network, (he, ihc) in zip(networks, _images(cache, pairs), strict=True):
        real = ihc.to(device)
        fake = generate(network, spec, he)
        values["psnr"].append(min(psnr(real, fake).item(), LARGEST_PSNR))
        values["ssim"].append(ssim(real, fake).item())
        values["dab_error"].append(stain_scores(real, fake).error.item())
        if len(sheet) < SHEET_ROWS:
            sheet.append((from_batch(he), from_batch(ihc), from_batch(fake)))
    set_random_state(state, device)
    return Validation({name: float(np.mean(found)) for name, found in values.items()}, sheet)


def _images(cache: PixelCache, pairs: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield H&E and IHC as ``(1, 3, H, W)`` uint8."""
    for pair in pairs:
        he, ihc = cache.pair(pair)
        yield to_batch(he), to_batch(ihc)
