"""Channels against scikit-image; tissue masks on drawn slides whose truth is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2gray, rgb2hed

from benchmarks.textures import smooth_noise
from registration.stain import CHANNELS, HED_VECTORS, extract_channel, tissue_mask

MPP = 4.0
SHAPE = (420, 610)


def random_image(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_hematoxylin_equals_scikit_image() -> None:
    image = random_image(1100, 73)
    image[0, 0] = 0

    channel = extract_channel(image, "hematoxylin")

    assert channel.dtype == np.float32
    np.testing.assert_allclose(channel, rgb2hed(image)[..., 0], atol=2e-6)


def test_plain_channels() -> None:
    image = random_image(31, 47)

    assert np.array_equal(extract_channel(image, "red"), image[..., 0])
    assert np.array_equal(extract_channel(image, "blue"), image[..., 2])
    assert np.array_equal(
        extract_channel(image, "saturation"), image.max(axis=2) - image.min(axis=2)
    )
    # Rec. 601 weights here, Rec. 709 in scikit-image: equal on grey pixels only.
    grey = np.repeat(image[..., :1], 3, axis=2)
    np.testing.assert_allclose(extract_channel(grey, "grey"), rgb2gray(grey) * 255, atol=0.6)


def test_darkness_is_mean_optical_density() -> None:
    image = random_image(20, 30)

    expected = -np.log(np.maximum(image, 1) / 255).mean(axis=2)

    np.testing.assert_allclose(extract_channel(image, "darkness"), expected, atol=1e-5)


def test_unknown_channel_is_named() -> None:
    with pytest.raises(ValueError, match="unknown channel 'dab': choose one of hematoxylin"):
        extract_channel(random_image(4, 5), "dab")  # type: ignore[arg-type]
    assert "green" in CHANNELS


def painted_slide(
    amounts: tuple[float, float, float], glass: float = 240.0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a slide with one textured tissue of the given hematoxylin, eosin and DAB, and truth."""
    random = np.random.default_rng(11)
    truth = np.zeros(SHAPE, np.uint8)
    cv2.ellipse(truth, (330, 190), (200, 120), 20, 0, 360, 1, -1)
    texture = 1 + 0.3 * smooth_noise(random, SHAPE, 2.0)
    density = (texture * truth)[..., None] * (np.array(amounts) @ HED_VECTORS)
    light = glass * (1 - 0.08 * np.linspace(0, 1, SHAPE[1]))[None, :, None]
    image = light * np.exp(-density) + random.normal(0, 1.0, (*SHAPE, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), truth > 0


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize(
    ("amounts", "glass"),
    [
        ((0.35, 0.4, 0.0), 240.0),
        ((0.2, 0.0, 0.5), 250.0),
        ((0.09, 0.0, 0.0), 235.0),
        ((0.02, 0.0, 0.1), 228.0),
    ],
    ids=["HE", "HER2 3+", "faint hematoxylin", "faint DAB"],
)
def test_tissue_under_uneven_light(amounts: tuple[float, float, float], glass: float) -> None:
    image, truth = painted_slide(amounts, glass)

    assert overlap(tissue_mask(image, MPP), truth) > 0.93


@pytest.mark.parametrize(
    "ink", [(20, 120, 60), (30, 60, 180), (15, 15, 18)], ids=["green", "blue", "black"]
)
def test_pen_marks_are_no_tissue(ink: tuple[int, int, int]) -> None:
    image, truth = painted_slide((0.35, 0.4, 0.0))
    cv2.line(image, (30, 400), (120, 20), ink, 14)

    mask = tissue_mask(image, MPP)

    assert not mask[:, :100].any()
    assert overlap(mask, truth) > 0.93


def test_bubble_and_dirt_are_no_tissue() -> None:
    image, truth = painted_slide((0.12, 0.0, 0.05))
    cv2.circle(image, (90, 110), 60, (170, 170, 172), 5)
    cv2.circle(image, (560, 380), 14, (120, 121, 119), -1)

    mask = tissue_mask(image, MPP)

    assert overlap(mask, truth) > 0.93


def test_unscanned_white_beside_grey_glass() -> None:
    image, truth = painted_slide((0.3, 0.3, 0.0), glass=225.0)
    image[:, :90] = 255

    mask = tissue_mask(image, MPP)

    assert overlap(mask, truth) > 0.93


def test_mask_agrees_between_resolutions() -> None:
    image, truth = painted_slide((0.35, 0.4, 0.0))
    large = cv2.resize(image, None, fx=2.5, fy=2.5, interpolation=cv2.INTER_CUBIC)
    expected = cv2.resize(truth.astype(np.uint8), large.shape[1::-1]) > 0

    mask = tissue_mask(large, MPP / 2.5)

    assert mask.shape == large.shape[:2]
    assert overlap(mask, expected) > 0.93


@pytest.mark.parametrize("image", [np.full((50, 70, 3), v, np.uint8) for v in (255, 231)])
def test_empty_slide_has_no_tissue(image: NDArray[np.uint8]) -> None:
    assert not tissue_mask(image, MPP).any()


def test_a_slide_scanned_in_thin_strips_has_no_tissue() -> None:
    image = np.full((400, 400, 3), 255, np.uint8)
    image[[2, 6, 10, 14, 18, 22, 30, 34, 38, 42, 46, 55]] = (
        231  # none of the rows of a small picture
    )
    assert not tissue_mask(image, 8.0).any()


def test_real_tissue_fills_what_it_should(real_data: Path) -> None:
    folder = real_data / "landmarks" / "rat-kidney_7pc"

    shares = [
        tissue_mask(cv2.imread(str(folder / name))[..., ::-1].copy(), 10.0).mean()
        for name in ("HE.jpg", "PanCK.jpg")
    ]

    assert shares == pytest.approx([0.65, 0.65], abs=0.05)
