"""The pyramid loss against the steps of the paper, written out one after the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.pyramid import PyramidLoss, octave


def literal_octave(image: Tensor) -> Tensor:
    """Four 3 x 3 Gaussian blurs, sigma 1, reflected borders; then every second pixel."""
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=image.dtype)
    gauss = torch.exp(-(x**2) / 2)
    gauss = gauss / gauss.sum()
    channels = image.shape[1]
    kernel = torch.outer(gauss, gauss).expand(channels, 1, 3, 3)
    for _ in range(4):
        image = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel, groups=channels)
    return image[..., ::2, ::2]


def literal_loss(fake: Tensor, real: Tensor, weights: list[float]) -> Tensor:
    """Sum of the weighted L1 distances between the first layers of all octaves."""
    total = weights[0] * F.l1_loss(fake, real)
    for weight in weights[1:]:
        fake, real = literal_octave(fake), literal_octave(real)
        total = total + weight * F.l1_loss(fake, real)
    return total


def images(height: int, width: int, count: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    shape = (count, 3, height, width)
    fake = torch.rand(shape, generator=generator, dtype=torch.float64)
    real = torch.rand(shape, generator=generator, dtype=torch.float64)
    return fake.requires_grad_(), real


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (5, 8), (4, 3), (2, 7)])
def test_octave_equals_four_blurs_and_decimation(size: tuple[int, int]) -> None:
    image, _ = images(*size)

    assert torch.allclose(octave(image), literal_octave(image), atol=1e-12)


@pytest.mark.parametrize("size", [(64, 96), (37, 51)])
@pytest.mark.parametrize("weights", [[25.0], [25.0, 25.0], [25.0, 10.0, 5.0, 40.0]])
def test_values_and_gradients_equal_the_literal_steps(
    size: tuple[int, int], weights: list[float]
) -> None:
    fake, real = images(*size)

    ours = PyramidLoss(weights)(fake, real).sum()
    (gradient,) = torch.autograd.grad(ours, fake)
    expected = literal_loss(fake, real, weights)
    (expected_gradient,) = torch.autograd.grad(expected, fake)

    assert ours.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(gradient, expected_gradient, atol=1e-13)


def test_gradient_reaches_border_and_corner_pixels_exactly() -> None:
    fake, real = images(16, 20)

    (gradient,) = torch.autograd.grad(PyramidLoss([0.0, 1.0])(fake, real).sum(), fake)
    (expected,) = torch.autograd.grad(F.l1_loss(literal_octave(fake), literal_octave(real)), fake)

    assert torch.allclose(gradient[..., 0, 0], expected[..., 0, 0], atol=1e-14)
    assert torch.allclose(gradient[..., -1, -1], expected[..., -1, -1], atol=1e-14)


def test_sample_weights_scale_each_sample() -> None:
    fake, real = images(24, 40)
    weights = [3.0, 2.0]

    weighted = PyramidLoss(weights)(fake, real, torch.tensor([0.25, 1.0])).sum()
    alone = [literal_loss(fake[i : i + 1], real[i : i + 1], weights) for i in (0, 1)]

    assert weighted.item() == pytest.approx((0.25 * alone[0] + alone[1]).item() / 2, rel=1e-6)


def test_sample_weights_per_scale() -> None:
    fake, real = images(24, 40)
    per_scale = torch.tensor([[0.0, 1.0], [1.0, 0.5]], dtype=torch.float64)

    terms = PyramidLoss([4.0, 2.0])(fake, real, per_scale)
    fine = F.l1_loss(fake[1], real[1])
    coarse = [F.l1_loss(literal_octave(fake)[i], literal_octave(real)[i]) for i in (0, 1)]

    assert terms[0].item() == pytest.approx(4.0 * fine.item() / 2, rel=1e-12)
    assert terms[1].item() == pytest.approx(
        (2.0 * (coarse[0] + 0.5 * coarse[1]) / 2).item(), rel=1e-12
    )


def test_stays_in_float32_under_autocast() -> None:
    fake, real = images(64, 64)
    loss = PyramidLoss([25.0, 25.0])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = loss(fake.bfloat16(), real.float())

    assert narrow.dtype == torch.float32
    assert narrow.sum().item() == pytest.approx(
        loss(fake.bfloat16().double(), real).sum().item(), rel=1e-5
    )


def test_refuses_images_too_small_for_the_scales() -> None:
    with pytest.raises(ValueError, match=r"1 x 2 px cannot be halved again"):
        PyramidLoss([1.0, 1.0, 1.0])(*images(4, 2))
    with pytest.raises(ValueError, match="at least one scale"):
        PyramidLoss([])
