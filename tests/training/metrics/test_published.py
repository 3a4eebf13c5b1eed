"""PSNR and SSIM against scikit-image, and against a literal sum over windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from training.metrics.published import psnr, ssim

Array = np.ndarray


def batch(*images: Array) -> torch.Tensor:
    """Stack (H, W, 3) images into (N, 3, H, W)."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def noisy_pair(seed: int, shape: tuple[int, int] = (45, 70)) -> tuple[Array, Array]:
    """Return two related colour images, not square and with different channels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = np.stack([rows * 3, columns * 2, 200 - rows - columns], axis=2)
    real = np.clip(ramp + rng.normal(0, 20, (*shape, 3)), 0, 255).astype(np.uint8)
    fake = np.clip(real + rng.normal(0, 5 + 30 * seed, real.shape), 0, 255).astype(np.uint8)
    return real, fake


def literal_ssim(real: Array, fake: Array) -> float:
    """Wang et al. 2004, equation 13, window by window, with NumPy's own covariance."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    windows = [
        np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (7, 7), axis=(0, 1))
        for image in (real, fake)
    ]
    x, y = (w.reshape(-1, 49) for w in windows)
    mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
    var_x, var_y = x.var(axis=1, ddof=1), y.var(axis=1, ddof=1)
    covariance = ((x - mean_x[:, None]) * (y - mean_y[:, None])).sum(axis=1) / 48
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def test_psnr_and_ssim_of_a_batch_equal_scikit_image() -> None:
    pairs = [noisy_pair(seed) for seed in range(3)]
    reals, fakes = (batch(*images) for images in zip(*pairs, strict=True))

    peak, structure = psnr(reals, fakes), ssim(reals, fakes)

    for number, (real, fake) in enumerate(pairs):
        expected = peak_signal_noise_ratio(real, fake, data_range=255)
        assert peak[number].item() == pytest.approx(expected, abs=1e-9)
        expected = structural_similarity(real, fake, channel_axis=2, data_range=255)
        assert structure[number].item() == pytest.approx(expected, abs=1e-7)


def test_ssim_equals_the_definition_summed_window_by_window() -> None:
    real, fake = noisy_pair(1, (20, 33))

    value = ssim(batch(real), batch(fake)).item()

    assert value == pytest.approx(literal_ssim(real, fake), abs=1e-7)


def test_both_equal_independent_implementations_on_real_pairs(real_data: Path) -> None:
    folder = real_data / "patches" / "bci"
    for name in ("00007_test_1+.png", "00011_test_3+.png"):
        real, fake = (
            np.array(Image.open(folder / stain / "test" / name).convert("RGB"))
            for stain in ("IHC", "HE")
        )

        peak, structure = psnr(batch(real), batch(fake)), ssim(batch(real), batch(fake))

        reference = structural_similarity(real, fake, channel_axis=2, data_range=255)
        assert structure.item() == pytest.approx(reference, abs=1e-6)
        crop = np.s_[:200, 300:560]
        definition = literal_ssim(real[crop], fake[crop])
        cropped = ssim(batch(real[crop]), batch(fake[crop])).item()
        assert cropped == pytest.approx(definition, abs=1e-6)
        error = np.mean((real.astype(np.float64) - fake) ** 2)
        assert peak.item() == pytest.approx(20 * np.log10(255) - 10 * np.log10(error), abs=1e-6)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_and_extreme_images_do_not_overflow(value: int) -> None:
    flat = np.full((16, 24, 3), value, np.uint8)
    checks = (np.indices((16, 24)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)

    same, other = ssim(batch(flat), batch(flat)), ssim(batch(flat), batch(checks))

    expected = structural_similarity(flat, checks, channel_axis=2, data_range=255)
    assert same.item() == 1.0
    assert other.item() == pytest.approx(expected, abs=1e-7)
    assert psnr(batch(flat), batch(flat)).item() == float("inf")


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), "uint8"),
        (
            torch.zeros(1, 3, 8, 9, dtype=torch.uint8),
            torch.zeros(1, 3, 9, 8, dtype=torch.uint8),
            "one shape",
        ),
        (
            torch.zeros(8, 9, 3, dtype=torch.uint8),
            torch.zeros(8, 9, 3, dtype=torch.uint8),
            "N, 3, H, W",
        ),
    ],
)
def test_other_types_and_shapes_are_refused(metric, real, fake, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        metric(real, fake)


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    small = torch.zeros(1, 3, 6, 20, dtype=torch.uint8)

    with pytest.raises(ValueError, match="7 x 7"):
        ssim(small, small)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_values() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    real, fake = (batch(image) for image in noisy_pair(1))

    assert torch.allclose(ssim(real.cuda(), fake.cuda()).cpu(), ssim(real, fake), atol=1e-7)
    assert torch.equal(psnr(real.cuda(), fake.cuda()).cpu(), psnr(real, fake))
