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
from torch.nn.functional import pad

from training.metrics.published import (
    SSIM_WINDOW,
    check_images,
    decibels,
    ssim,
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
    together = side if middle.is_cuda else 1
    screened = _screened_ssim(middle, fake, reach, together).flatten()
    finalists = {best, unmoved, *screened.topk(min(_FINALISTS, len(screened))).indices.tolist()}
    moved = torch.stack([_moved(fake, middle, *divmod(k, side)) for k in sorted(finalists)])
    similarity = ssim(middle.expand_as(moved), moved).max()
    row, column = divmod(best, side)
    shift = torch.tensor([column - reach, row - reach], device=real.device)
    return decibels(errors.flatten()[best]), similarity, shift


def _moved(fake: Tensor, middle: Tensor, row: int, column: int) -> Tensor:
    """Return the part of ``fake`` that lies over the middle at an offset."""
    return fake[:, row : row + middle.shape[1], column : column + middle.shape[2]]


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


def _screened_ssim(middle: Tensor, fake: Tensor, reach: int, together: int) -> Tensor:
    """Return the mean SSIM over a sample of windows at every offset, ``(2 reach + 1, ...)``.

    ``together`` offsets of a row are scored at once: a GPU waits for launches, a CPU for its caches.
    """
    side = 2 * reach + 1
    x, y = middle.int(), fake.int()
    stride = max(1, math.isqrt(x.numel() // _SCREENED_WINDOWS))
    sum_x, squares_x = (window_sum(v)[:, ::stride, ::stride] for v in (x, x * x))
    sum_y, squares_y = window_sum(y), window_sum(y * y)
    windows = _windows(x, stride).contiguous()
    height, width = x.shape[1:]
    rows = []
    for row in range(side):
        down = slice(row, row + height - SSIM_WINDOW + 1, stride)
        for start in range(0, side, together):
            columns = slice(start, start + width - 1 + min(together, side - start))
            within = slice(start, columns.stop - SSIM_WINDOW + 1)
            moved = _along(y[:, row : row + height, columns], width)
            rows.append(
                ssim_from_sums(
                    sum_x,
                    _along(sum_y[:, down, within], width - SSIM_WINDOW + 1)[..., ::stride],
                    squares_x
                    + _along(squares_y[:, down, within], width - SSIM_WINDOW + 1)[..., ::stride],
                    (windows * _windows(moved, stride)).sum(dim=(-2, -1), dtype=torch.int32),
                ).mean(dim=(1, 2, 3))
            )
    return torch.cat(rows).reshape(side, side)


def _along(image: Tensor, width: int) -> Tensor:
    """Return the parts of ``(3, rows, columns)`` that are ``width`` wide, ``(parts, 3, rows, width)``."""
    return image.unfold(2, width, 1).permute(2, 0, 1, 3)


def _windows(image: Tensor, stride: int) -> Tensor:
    """Return a 7 x 7 window at every ``stride`` pixels, ``(..., rows, columns, 7, 7)``."""
    return image.unfold(-2, SSIM_WINDOW, stride).unfold(-2, SSIM_WINDOW, stride)
