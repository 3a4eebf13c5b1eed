"""Shift-tolerant scores against a search over every offset, one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.textures import smooth_noise
from training.data.images import read_image, to_batch
from training.metrics.published import Windows, mean_similarity, psnr, ssim
from training.metrics.shift import ShiftSearch, shift_scores

Array = np.ndarray


def texture(seed: int, shape: tuple[int, int] = (60, 83)) -> Array:
    """Return a smooth random colour image."""
    blobs = smooth_noise(np.random.default_rng(seed), (*shape, 3), 2.0)
    return np.clip(128 + 60 * blobs, 0, 255).astype(np.uint8)


def every_offset(
    real: Array, fake: Array, reach: int
) -> dict[tuple[int, int], tuple[float, float]]:
    """PSNR and SSIM of scikit-image at each (dx, dy), on the same real pixels."""
    height, width = real.shape[:2]
    middle = real[reach : height - reach, reach : width - reach]
    found = {}
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            part = fake[reach + dy : height - reach + dy, reach + dx : width - reach + dx]
            found[dx, dy] = (
                peak_signal_noise_ratio(middle, part, data_range=255),
                structural_similarity(middle, part, channel_axis=2, data_range=255),
            )
    return found


def test_a_shifted_noisy_copy_is_found_and_scored_as_by_exhaustive_search() -> None:
    real = texture(1)
    noise = np.random.default_rng(9).normal(0, 12, real.shape)
    fake = np.clip(np.roll(real, (2, -3), axis=(0, 1)) + noise, 0, 255).astype(np.uint8)

    scores = shift_scores(to_batch(real), to_batch(fake), reach=4)

    expected = every_offset(real, fake, 4)
    assert scores.shift_px.tolist() == [[-3, 2]]
    assert scores.psnr.item() == pytest.approx(expected[-3, 2][0], abs=1e-9)
    assert scores.ssim.item() == pytest.approx(max(s for _, s in expected.values()), abs=1e-7)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_unrelated_images_get_the_best_score_of_all_offsets(seed: int) -> None:
    real, fake = texture(seed), texture(seed + 50)

    scores = shift_scores(to_batch(real), to_batch(fake), reach=3)

    expected = every_offset(real, fake, 3)
    assert scores.psnr.item() == pytest.approx(max(p for p, _ in expected.values()), abs=1e-9)
    best = max(s for _, s in expected.values())
    assert best - 0.005 <= scores.ssim.item() <= best + 1e-7
    assert scores.ssim.item() >= expected[0, 0][1] - 1e-7


def test_a_reach_of_zero_is_the_plain_score() -> None:
    real, fake = to_batch(texture(5)), to_batch(texture(6))

    scores = shift_scores(real, fake, reach=0)

    assert torch.allclose(scores.psnr, psnr(real, fake), atol=1e-9)
    assert torch.equal(scores.ssim, ssim(real, fake))


def test_a_shifted_copy_without_noise_is_identical() -> None:
    real = texture(7)
    fake = np.roll(real, (-1, 2), axis=(0, 1))

    scores = shift_scores(to_batch(real), to_batch(fake), reach=2)

    assert scores.psnr.item() == float("inf")
    assert scores.ssim.item() == pytest.approx(1.0)


def test_on_real_pairs_of_full_size_the_best_offset_is_found(real_data: Path) -> None:
    folder = real_data / "patches" / "bci"
    name = "00361_test_2+.png"
    real, fake = (read_image(folder / stain / "test" / name) for stain in ("IHC", "HE"))
    crop = np.s_[100:700, 200:820]

    scores = shift_scores(to_batch(real[crop]), to_batch(fake[crop]), reach=1)

    expected = every_offset(real[crop], fake[crop], 1)
    assert scores.psnr.item() == pytest.approx(max(p for p, _ in expected.values()), abs=1e-9)
    assert scores.ssim.item() == pytest.approx(max(s for _, s in expected.values()), abs=2e-3)


def test_too_large_a_reach_is_refused() -> None:
    small = to_batch(texture(1, (20, 40)))

    with pytest.raises(ValueError, match="40 x 20 image is too small for shifts of 7 px"):
        shift_scores(small, small, reach=7)


def test_a_sampled_window_scores_at_every_offset_as_the_whole_image_does() -> None:
    real, fake = to_batch(texture(8, (40, 52)))[0], to_batch(texture(9, (40, 52)))[0]
    middle, around = Windows.of(real[:, 4:-4, 4:-4]), Windows.of(fake)

    # So small an image is sampled at every window.
    screened = ShiftSearch(Windows.of(real), 4).screened(around)

    expected = [
        [mean_similarity(middle, around.part(row, column, *middle.shape)) for column in range(9)]
        for row in range(9)
    ]
    assert torch.allclose(screened.double(), torch.tensor(expected).double(), atol=1e-6)


@pytest.mark.parametrize("seed", [10, 11])
def test_noisy_and_blurred_copies_get_the_best_ssim_of_all_offsets(seed: int) -> None:
    real = texture(seed, (110, 131))
    noise = np.random.default_rng(seed).normal(0, 25, real.shape)
    moved = np.roll(real, (3, -2), axis=(0, 1))
    noisy = np.clip(moved + noise, 0, 255).astype(np.uint8)
    blurred = ndimage.gaussian_filter(moved, (1.5, 1.5, 0))

    for fake in (noisy, blurred):
        found = shift_scores(to_batch(real), to_batch(fake), reach=5).ssim.item()
        best = max(similarity for _, similarity in every_offset(real, fake, 5).values())
        assert found == pytest.approx(best, abs=1e-7)
