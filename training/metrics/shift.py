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
    check_images,
    decibels,
    mean_of_strips,
    ssim_from_sums,
    window_sum,
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
    scores = [_score_one(a, b, reach) for a, b in zip(real, fake, strict=True)]
    psnrs, ssims, shifts = zip(*scores, strict=True)
    return ShiftScores(torch.stack(psnrs), torch.stack(ssims), torch.stack(shifts))


def _score_one(real: Tensor, fake: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best PSNR, the best SSIM and the shift of the best PSNR of one pair."""
    middle = real[:, reach : real.shape[1] - reach, reach : real.shape[2] - reach]
    errors = _mean_squared_errors(middle, fake, reach)
    side = 2 * reach + 1
    best, unmoved = int(errors.argmin()), reach * side + reach
    sums = _Sums(middle, fake)
    screened = sums.screened(side).flatten()
    finalists = {best, unmoved, *screened.topk(min(_FINALISTS, len(screened))).indices.tolist()}
    similarity = torch.stack([sums.ssim(*divmod(k, side)) for k in sorted(finalists)]).max()
    row, column = divmod(best, side)
    shift = torch.tensor([column - reach, row - reach], device=real.device)
    return decibels(errors.flatten()[best]), similarity, shift


def _mean_squared_errors(middle: Tensor, fake: Tensor, reach: int) -> Tensor:
    """Return the mean squared error at every offset, float64 ``(2 reach + 1, 2 reach + 1)``.

    ``sum (a - b)^2 = sum a^2 + sum b^2 - 2 sum a b``; the last term at all offsets at once is a
    correlation, by FFT. All are sums of whole numbers, which rounding restores.
    """
    a, b = middle.double(), fake.double()
    size = (fake.shape[1], fake.shape[2])
    spectrum = torch.fft.rfft2(b) * torch.fft.rfft2(a, s=size).conj()
    side = 2 * reach + 1
    product = torch.fft.irfft2(spectrum.sum(dim=0), s=size)[:side, :side].round()
    sums = pad((b * b).sum(dim=0).cumsum(0).cumsum(1), (1, 0, 1, 0))
    height, width = middle.shape[1:]
    energy = sums[height:, width:] - sums[:side, width:] - sums[height:, :side] + sums[:side, :side]
    errors: Tensor = (a * a).sum() + energy - 2 * product
    return errors / middle.numel()


class _Sums:
    """Sums over all windows of both images, from which SSIM at any offset follows.

    Only the sum of products has to be taken anew at every offset.
    """

    def __init__(self, middle: Tensor, fake: Tensor) -> None:
        self.x, self.y = middle.int(), fake.int()
        self.sum_x, self.squares_x = window_sum(self.x), window_sum(self.x * self.x)
        self.sum_y, self.squares_y = window_sum(self.y), window_sum(self.y * self.y)

    def ssim(self, row: int, column: int) -> Tensor:
        """Return the SSIM, float64, of the part of the generated image that begins at an offset."""
        width = self.x.shape[2]

        def strip(start: int, stop: int) -> Tensor:
            rows = slice(start, stop + SSIM_WINDOW - 1)
            moved = self.y[:, row + rows.start : row + rows.stop, column : column + width]
            here = (
                slice(None),
                slice(row + start, row + stop),
                slice(column, column + width - SSIM_WINDOW + 1),
            )
            return ssim_from_sums(
                self.sum_x[:, start:stop],
                self.sum_y[here],
                self.squares_x[:, start:stop] + self.squares_y[here],
                window_sum(self.x[:, rows] * moved),
            )

        return mean_of_strips(self.sum_x.shape[1], strip, self.x.device)

    def screened(self, side: int) -> Tensor:
        """Return the mean SSIM over a sample of windows at ``(side, side)`` offsets, float32.

        The products of a window with its surroundings at all offsets are one convolution, in whole
        numbers below 2^24, which float32 holds exactly.
        """
        stride = max(1, math.isqrt(self.x.numel() // _SCREENED_WINDOWS))
        reach = SSIM_WINDOW + side - 1
        windows = _sampled(self.x, SSIM_WINDOW, stride).float()
        around = _sampled(self.y, reach, stride).float()
        products = conv2d(around[None, :, 0], windows, groups=len(windows))[0].int()
        sum_x, squares_x = (
            values[:, ::stride, ::stride].reshape(-1, 1, 1)
            for values in (self.sum_x, self.squares_x)
        )
        sum_y, squares_y = (
            _sampled(values, side, stride)[:, 0] for values in (self.sum_y, self.squares_y)
        )
        return ssim_from_sums(sum_x, sum_y, squares_x + squares_y, products).mean(dim=0)


def _sampled(image: Tensor, side: int, stride: int) -> Tensor:
    """Return squares of ``side`` at every ``stride`` pixels of ``(3, H, W)``, ``(N, 1, side, side)``."""
    squares = image.unfold(1, side, stride).unfold(2, side, stride)
    return squares.reshape(-1, 1, side, side)
