"""DAB metrics against scikit-image, SciPy and NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from skimage.color import hed2rgb, rgb2hed

from training.data.images import read_image, to_batch
from training.metrics.stain import DAB_MASK_DENSITY, dab_density, stain_scores

Array = np.ndarray


def stained(dab: Array) -> Array:
    """Return an image whose DAB density is ``dab`` (H, W), on a weak haematoxylin background."""
    hed = np.stack([np.full_like(dab, 0.02), np.zeros_like(dab), dab / 6], axis=2)
    return np.rint(255 * hed2rgb(hed)).astype(np.uint8)


def spots(seed: int, strength: float = 0.6) -> Array:
    """Return densities: a gradient, with dark spots where a random field is high."""
    rng = np.random.default_rng(seed)
    field = rng.random((40, 56))
    return np.linspace(0, 0.15, 56)[None] + strength * (field > 0.8)


def test_density_equals_scikit_image_on_all_kinds_of_colours() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    pixels[0, :5] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [1, 2, 3], [0, 255, 0]]

    density = dab_density(to_batch(pixels))[0].numpy()

    np.testing.assert_allclose(density, 6 * rgb2hed(pixels)[..., 2], atol=2e-5)


def test_density_equals_scikit_image_on_a_real_patch(real_data: Path) -> None:
    pixels = read_image(real_data / "patches" / "bci" / "IHC" / "test" / "00057_test_3+.png")[
        :300, -450:
    ]

    density = dab_density(to_batch(pixels))[0].numpy()

    np.testing.assert_allclose(density, 6 * rgb2hed(pixels)[..., 2], atol=2e-5)


def test_a_known_density_is_measured() -> None:
    truth = np.full((16, 24), 0.5)

    density = dab_density(to_batch(stained(truth)))

    assert density.mean().item() == pytest.approx(0.5, abs=0.01)


def test_scores_equal_their_definitions() -> None:
    real, fake = stained(spots(1)), stained(spots(2, strength=0.4))

    scores = stain_scores(to_batch(real), to_batch(fake))

    x, y = (np.minimum(6 * rgb2hed(image)[..., 2], 3).ravel() for image in (real, fake))
    masks = x > DAB_MASK_DENSITY, y > DAB_MASK_DENSITY
    assert scores.error.item() == pytest.approx(np.abs(x - y).mean(), abs=1e-5)
    assert scores.bias.item() == pytest.approx((y - x).mean(), abs=1e-5)
    assert scores.bias.item() < -0.02
    assert scores.correlation.item() == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-5)
    assert scores.histogram.item() == pytest.approx(wasserstein_distance(x, y), abs=1 / 256)
    overlap = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    assert scores.dice.item() == pytest.approx(overlap)


def test_a_batch_scores_each_pair_for_itself() -> None:
    pairs = [(stained(spots(seed)), stained(spots(seed + 9))) for seed in range(2)]
    together = stain_scores(
        torch.cat([to_batch(real) for real, _ in pairs]),
        torch.cat([to_batch(fake) for _, fake in pairs]),
    )

    for number, (real, fake) in enumerate(pairs):
        alone = stain_scores(to_batch(real), to_batch(fake))
        for name in ("error", "bias", "correlation", "histogram", "dice"):
            assert getattr(together, name)[number].item() == pytest.approx(
                getattr(alone, name).item()
            )


def test_what_is_undefined_is_nan_and_what_is_perfect_is_one() -> None:
    white = np.full((12, 18, 3), 255, np.uint8)
    brown = stained(spots(3)[:12, :18])

    empty, same = stain_scores(*[to_batch(white)] * 2), stain_scores(*[to_batch(brown)] * 2)
    missed = stain_scores(to_batch(brown), to_batch(white))

    assert np.isnan(empty.dice.item())
    assert np.isnan(empty.correlation.item())
    assert (same.dice.item(), same.error.item(), same.histogram.item()) == (1, 0, 0)
    assert same.correlation.item() == pytest.approx(1)
    assert missed.dice.item() == 0
