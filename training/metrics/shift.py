"""PSNR and SSIM that forgive a small misalignment of the whole pair.

Consecutive sections never match to the pixel, and a pair that is off by a few pixels scores like a
bad image. Here the generated image may move by whole pixels, up to ``reach`` in each direction,
before it is compared: the real image's middle, ``reach`` pixels cropped on every side, against the
equally large part of the generated image at offset ``(dx, dy)``. Each score is the best one over
all ``(2 reach + 1) ** 2`` offsets; a reach of 0 is the plain score. Every offset is scored on the
same real pixels. What is wrong *within* a pair (rotation, stretching) stays wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from training.metrics.published import (
    SSIM_WINDOW,
    Summed,
    Windows,
    check_images,
    decibels,
    mean_similarity,
)

_FINALISTS = 3
_SCREENED_WINDOWS = 6000


@dataclass(frozen=True)
class ShiftScores:
    """Best scores over all offsets, float64 ``(N,)`` each; ``shift_px`` is where PSNR is best.

    ``shift_px`` is int64 ``(N, 2)``, ``(dx, dy)``: generated pixel ``(x + dx, y + dy)`` matches
    real pixel ``(x, y)``.
    """

    psnr: Tensor
    ssim: Tensor
    shift_px: Tensor


def shift_scores(real: Tensor, fake: Tensor, reach: int) -> ShiftScores:
    """Score uint8 ``(N, 3, H, W)`` images at the best offset of up to ``reach`` pixels.

    PSNR is exact over all offsets. SSIM is the published one at the best of five finalists: no
    offset, the offset of the best PSNR, and the three at which an even sample of about 6,000
    windows has the best SSIM. Raises ``ValueError`` for
    other types, unequal shapes, and images that ``reach`` leaves less than 7 pixels of.
    """
    check_images(real, fake)
    if reach < 0 or min(real.shape[-2:]) - 2 * reach < SSIM_WINDOW:
        height, width = real.shape[-2:]
        raise ValueError(f"a {width} x {height} image is too small for shifts of {reach} px")
    pairs = zip(real, fake, strict=True)
    scores = [ShiftSearch(Windows.of(a), reach).best(Windows.of(b)) for a, b in pairs]
    psnrs, ssims, shifts = zip(*scores, strict=True)
    return ShiftScores(torch.stack(psnrs), torch.stack(ssims), torch.stack(shifts))


class ShiftSearch:
    """A real image ``(3, H, W)``, with all that comparing others at every offset needs of it."""

    def __init__(self, real: Windows, reach: int) -> None:
        self.reach, self.side = reach, 2 * reach + 1
        rows, columns = real.shape
        self._middle = real.part(reach, reach, rows - 2 * reach, columns - 2 * reach)
        values = self._middle.pixels.double()
        self._size = (real.pixels.shape[1], real.pixels.shape[2])
        self._spectrum = torch.fft.rfft2(values, s=self._size).conj()
        self._energy = (values * values).sum()
        self._stride = max(1, math.isqrt(values.numel() // _SCREENED_WINDOWS))
        self._sample = _sampled(self._middle.pixels, SSIM_WINDOW, self._stride).float()
        self._sample_summed = Summed(
            *(sums[:, :: self._stride, :: self._stride, None, None] for sums in self._middle.summed)
        )

    def best(self, fake: Windows) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best PSNR, the best SSIM and the shift of the best PSNR of a generated image."""
        reach, side = self.reach, self.side
        errors = self._mean_squared_errors(fake.pixels)
        best, unmoved = int(errors.argmin()), reach * side + reach
        screened = self.screened(fake).flatten()
        finalists = {best, unmoved, *screened.topk(min(_FINALISTS, len(screened))).indices.tolist()}
        height, width = self._middle.shape
        moved = [fake.part(k // side, k % side, height, width) for k in sorted(finalists)]
        similarity = torch.stack([mean_similarity(self._middle, one) for one in moved]).max()
        row, column = divmod(best, side)
        shift = torch.tensor([column - reach, row - reach], device=errors.device)
        return decibels(errors.flatten()[best]), similarity, shift

    def _mean_squared_errors(self, fake: Tensor) -> Tensor:
        """Return the mean squared error at every offset, float64 ``(side, side)``.

        ``sum (a - b)^2 = sum a^2 + sum b^2 - 2 sum a b``; the last term at all offsets at once is a
        correlation, by FFT. All are sums of whole numbers, which rounding restores.
        """
        side = self.side
        spectrum = torch.fft.rfft2(fake.double()).mul_(self._spectrum).sum(dim=0)
        product = torch.fft.irfft2(spectrum, s=self._size)[:side, :side].round()
        sums = pad((fake * fake).sum(dim=0).cumsum(0).cumsum(1), (1, 0, 1, 0))
        height, width = self._middle.pixels.shape[1:]
        energy = (
            sums[height:, width:] - sums[:side, width:] - sums[height:, :side] + sums[:side, :side]
        )
        errors: Tensor = self._energy + energy - 2 * product
        return errors / self._middle.pixels.numel()

    def screened(self, fake: Windows) -> Tensor:
        """Return the mean SSIM over a sample of windows at ``(side, side)`` offsets, float32.

        The products of a window with its surroundings at all offsets are one convolution, in whole
        numbers below 2^24, which float32 holds exactly. A row of windows at a time stays in a CPU's
        cache.
        """
        side, stride = self.side, self._stride
        channels, rows, columns = self._sample.shape[:3]
        found = self._sample.new_empty((channels, rows, columns, side, side))
        pixels, reach = fake.pixels.float(), side + SSIM_WINDOW - 1
        for row in range(rows):
            top = row * stride
            windows = self._sample[:, row].reshape(-1, 1, SSIM_WINDOW, SSIM_WINDOW)
            around = _sampled(pixels[:, top : top + reach], reach, stride)
            products = conv2d(
                around.reshape(1, -1, reach, reach), windows, groups=len(windows)
            ).reshape(channels, columns, side, side)
            here = Summed(*(sums[:, row] for sums in self._sample_summed))
            there = Summed(
                *(
                    _sampled(sums[:, top : top + side], side, stride)[:, 0].contiguous()
                    for sums in fake.summed
                )
            )
            found[:, row] = here.similarity(there, products.int())
        return found.flatten(0, 2).mean(dim=0)


def _sampled(image: Tensor, side: int, stride: int) -> Tensor:
    """Return squares at every ``stride`` pixels of ``(3, H, W)``: ``(3, rows, columns, side, side)``."""
    return image.unfold(1, side, stride).unfold(2, side, stride)
