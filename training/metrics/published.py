"""PSNR and SSIM exactly as the published evaluation computes them.

The official evaluation of BCI scores 8-bit RGB images: PSNR with a data range of 255 over all
channels, and ``skimage.metrics.structural_similarity(real, fake, channel_axis=2, data_range=255)``.
Other SSIMs (a Gaussian window, grey images, images scaled to [-1, 1]) give other numbers.

>>> real = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
>>> psnr(real, real + 5).item()
34.1514035...
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DATA_RANGE = 255
SSIM_WINDOW = 7
STRIP_ROWS = 64
_PIXELS = SSIM_WINDOW**2
_C1 = (0.01 * DATA_RANGE) ** 2
_C2 = (0.03 * DATA_RANGE) ** 2


def psnr(real: Tensor, fake: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of each image, ``(N,)`` float64.

    ``real`` and ``fake`` are uint8 ``(N, 3, H, W)``; identical images give ``inf``. Raises
    ``ValueError`` for other types and for unequal shapes.
    """
    check_images(real, fake)
    difference = real.to(torch.int32) - fake.to(torch.int32)
    error = (difference * difference).flatten(1).sum(dim=1, dtype=torch.int64)
    return decibels(error.double() / difference[0].numel())


def decibels(mean_squared_error: Tensor) -> Tensor:
    """Return the PSNR in dB of mean squared errors of 8-bit images."""
    return 10 * torch.log10(DATA_RANGE**2 / mean_squared_error)


def ssim(real: Tensor, fake: Tensor) -> Tensor:
    """Return the structural similarity of each image, ``(N,)`` float64.

    Wang et al., IEEE TIP 2004, in scikit-image's default form: 7 x 7 uniform windows that lie
    wholly inside the image, sample covariance, the mean over windows, then channels. ``real`` and
    ``fake`` are uint8 ``(N, 3, H, W)`` of at least 7 x 7 pixels; raises ``ValueError`` otherwise.
    """
    check_images(real, fake)
    if min(real.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs at least 7 x 7 pixels, got {tuple(real.shape[-2:])}")
    return torch.stack([_mean_ssim(a, b) for a, b in zip(real, fake, strict=True)])


def _mean_ssim(real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean SSIM of ``(3, H, W)`` images, float64."""

    def strip(start: int, stop: int) -> Tensor:
        rows = slice(start, stop + SSIM_WINDOW - 1)
        return ssim_map(real[:, rows], fake[:, rows])

    return mean_of_strips(real.shape[1] - SSIM_WINDOW + 1, strip, real.device)


def mean_of_strips(rows: int, strip: Callable[[int, int], Tensor], device: torch.device) -> Tensor:
    """Return the mean, float64, of a map of so many rows; ``strip(start, stop)`` makes some of them.

    A CPU makes few at a time, which stay in its cache: half the time for images of 1,024 px.
    """
    step = rows if device.type == "cuda" else STRIP_ROWS
    strips = [strip(start, min(start + step, rows)) for start in range(0, rows, step)]
    total = torch.stack([values.sum(dtype=torch.float64) for values in strips]).sum()
    return total / sum(values.numel() for values in strips)


def ssim_map(real: Tensor, fake: Tensor) -> Tensor:
    """Return the SSIM of every whole window, float32 ``(..., H - 6, W - 6)``.

    Window sums of 8-bit values and their products are whole numbers that fit int32, so that means
    and covariances carry no rounding error at all, on any device.
    """
    x, y = real.to(torch.int32), fake.to(torch.int32)
    return ssim_from_sums(
        window_sum(x), window_sum(y), window_sum(x * x + y * y), window_sum(x * y)
    )


def ssim_from_sums(sum_x: Tensor, sum_y: Tensor, sum_squares: Tensor, sum_xy: Tensor) -> Tensor:
    """Return the SSIM of windows of 49 pixels from int32 sums of x, y, x² + y² and x y."""
    xy = sum_x * sum_y
    squares = sum_x * sum_x + sum_y * sum_y
    unbiased = _PIXELS * (_PIXELS - 1)
    luminance, contrast = _C1 * _PIXELS**2, _C2 * unbiased
    top = (2 * xy).float().add_(luminance)
    top *= (2 * (_PIXELS * sum_xy - xy)).float().add_(contrast)
    bottom = squares.float().add_(luminance)
    bottom *= (_PIXELS * sum_squares - squares).float().add_(contrast)
    return top.div_(bottom)


def check_images(real: Tensor, fake: Tensor) -> None:
    """Raise ``ValueError`` unless both are uint8 ``(N, 3, H, W)`` of one shape, N at least 1."""
    if real.dtype != torch.uint8 or fake.dtype != torch.uint8:
        raise ValueError(f"expected uint8 images, got {real.dtype} and {fake.dtype}")
    if real.shape != fake.shape or real.ndim != 4 or real.shape[1] != 3 or not real.numel():
        raise ValueError(
            f"expected two batches (N, 3, H, W) of one shape, got {tuple(real.shape)} and "
            f"{tuple(fake.shape)}"
        )


def window_sum(values: Tensor) -> Tensor:
    """Return sums over every whole 7 x 7 window of the last two axes."""
    return _sum_of_seven(_sum_of_seven(values, -2), -1)


def _sum_of_seven(values: Tensor, axis: int) -> Tensor:
    """Return sums of seven neighbours along an axis, in four additions: 7 = 4 + 2 + 1."""
    length = values.shape[axis]
    pairs = values.narrow(axis, 0, length - 1) + values.narrow(axis, 1, length - 1)
    fours = pairs.narrow(axis, 0, length - 3) + pairs.narrow(axis, 2, length - 3)
    sums = fours.narrow(axis, 0, length - 6) + pairs.narrow(axis, 4, length - 6)
    sums += values.narrow(axis, 6, length - 6)
    return sums
