"""Local shifts against known ones, and correlations against their definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.textures import smooth_noise
from registration.matching import (
    correlation_surfaces,
    match_points,
    refined_peaks,
    structure,
)
from registration.stain import HED_VECTORS, Plane

SHIFT = (5.3, -7.8)


def texture(seed: int, height: int = 320, width: int = 410) -> Plane:
    blobs = smooth_noise(np.random.default_rng(seed), (height, width), 2.5)
    return np.asarray(0.5 + 0.15 * blobs, np.float32)


def shifted(plane: Plane, dx: float, dy: float) -> Plane:
    """Return the plane with its content moved by ``(dx, dy)``, by a fifth-order spline."""
    moved = ndimage.shift(plane.astype(float), (dy, dx), order=5, mode="mirror")
    return np.asarray(moved, np.float32)


def inner_points(count: int = 60) -> NDArray[np.float64]:
    return np.random.default_rng(5).uniform((70, 70), (340, 250), (count, 2))


def stained(amount: Plane, stain: int) -> NDArray[np.uint8]:
    density = amount[..., None] * HED_VECTORS[stain]
    return np.rint(245 * np.exp(-density)).astype(np.uint8)


def test_subpixel_shift_is_found() -> None:
    fixed = texture(1)

    matches = match_points(fixed, shifted(fixed, *SHIFT), inner_points(), 48, 12)

    error = np.abs(matches.shifts - SHIFT)
    assert error.max() < 0.15
    assert np.median(error) < 0.05
    assert matches.score.min() > 0.95
    assert matches.bounded.all()
    np.testing.assert_allclose(matches.targets, np.rint(inner_points()) + matches.shifts)


def test_scores_equal_the_correlation_of_the_patches() -> None:
    fixed, moving = texture(1), texture(2, 300, 380)
    points = np.array([[100.0, 60.0], [201.0, 155.0]])

    surfaces = correlation_surfaces(fixed, moving, points, 31, 9, noise=0.0)

    for surface, (x, y) in zip(surfaces, points.astype(int), strict=True):
        patch = fixed[y - 15 : y + 16, x - 15 : x + 16]
        for dx, dy in [(0, 0), (-9, 4), (7, -8)]:
            other = moving[y + dy - 15 : y + dy + 16, x + dx - 15 : x + dx + 16]
            expected = np.corrcoef(patch.ravel(), other.ravel())[0, 1]
            assert surface[dy + 9, dx + 9] == pytest.approx(expected, abs=2e-4)


def test_stain_does_not_matter() -> None:
    amount = np.maximum(texture(3), 0)
    he, dab = stained(amount, 0), stained(0.5 * shifted(amount, *SHIFT), 2)

    matches = match_points(structure(he), structure(dab), inner_points(), 64, 12)

    assert np.abs(matches.shifts - SHIFT).max() < 0.3
    assert matches.score.min() > 0.8


def test_unrelated_patches_score_low_and_indistinct() -> None:
    fixed, moving = texture(1), texture(2)

    true = match_points(fixed, shifted(fixed, *SHIFT), inner_points(), 48, 12)
    false = match_points(fixed, moving, inner_points(), 48, 12)

    assert false.score.max() < true.score.min()
    assert np.median(false.distinctness) < 0.2 < np.median(true.distinctness)


def test_noise_on_bare_glass_scores_near_zero() -> None:
    random = np.random.default_rng(7)
    fixed, moving = (
        np.asarray(0.1 + 0.004 * random.standard_normal((200, 260)), np.float32) for _ in range(2)
    )

    matches = match_points(fixed, moving, np.array([[130.0, 90.0]]), 48, 8)

    assert abs(matches.score[0]) < 0.05


def test_shift_beyond_the_search_is_on_its_rim_or_scores_low() -> None:
    fixed = texture(4)

    matches = match_points(fixed, shifted(fixed, 14.0, 0.0), inner_points(), 48, 8)

    assert not (matches.bounded & (matches.score > 0.7)).any()


def test_points_near_the_edge_and_images_of_different_size() -> None:
    fixed = texture(1)
    moving = shifted(fixed, 3.0, 2.0)[:290, :380]

    matches = match_points(fixed, moving, np.array([[2.0, 3.0], [409.0, 319.0]]), 48, 8)

    assert np.isfinite(matches.score).all()
    assert matches.shifts.shape == (2, 2)


def test_no_points() -> None:
    matches = match_points(texture(1), texture(1), np.zeros((0, 2)), 32, 4)

    assert len(matches) == 0


def test_chosen_matches() -> None:
    matches = match_points(texture(1), texture(1), inner_points(), 32, 4)

    best = matches.take(matches.score > 2)

    assert len(best) == 0
    assert len(matches.take(np.array([3, 1]))) == 2


def test_peak_of_a_drawn_parabola() -> None:
    y, x = np.mgrid[-4:5, -4:5]
    surface = 1 - 0.01 * (x - 1.3) ** 2 - 0.02 * (y + 2.2) ** 2

    peak, score, bounded = refined_peaks(surface[None].astype(np.float32))

    np.testing.assert_allclose(peak, [[1.3, -2.2]], atol=1e-4)
    assert bounded.all()
    assert score[0] == pytest.approx(surface.max(), abs=1e-6)


def test_structure_is_the_root_of_darkness() -> None:
    image = cv2.merge([np.full((3, 4), v, np.uint8) for v in (200, 120, 90)])

    expected = np.sqrt(-np.log(np.array([200, 120, 90]) / 255).mean())

    np.testing.assert_allclose(structure(image), expected, rtol=1e-5)
