"""The coarse field against warps that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.textures import smooth_noise
from registration.nonrigid.coarse import LEVELS, MatchLevel, smooth_field, unfolded
from registration.stain import Mask, Plane

SHAPE = (360, 470)


def texture(seed: int, sigma: float = 3.0) -> Plane:
    return np.asarray(
        0.5 + 0.15 * smooth_noise(np.random.default_rng(seed), SHAPE, sigma), np.float32
    )


def disc() -> Mask:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.asarray(((x - 220) / 190) ** 2 + ((y - 190) / 150) ** 2 < 1)


def smooth_warp(largest: float) -> NDArray[np.float64]:
    """Return a shift with waves of a few hundred pixels, different along x and y."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    along_x = np.sin(x / 70 + 0.3) * np.cos(y / 90)
    along_y = np.cos(x / 110 - 0.5) * np.sin(y / 60 + 1)
    return largest * np.stack([0.8 * along_x + 0.2, along_y - 0.1], axis=-1)


def moved_back(fixed: Plane, shift: NDArray[np.float64]) -> Plane:
    """Return the moving image whose content at ``p + shift(p)`` is that of ``fixed`` at ``p``."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    source_x, source_y = x.copy(), y.copy()
    for _ in range(60):
        at = [source_y, source_x]
        source_x = x - ndimage.map_coordinates(shift[..., 0], at, order=1, mode="nearest")
        source_y = y - ndimage.map_coordinates(shift[..., 1], at, order=1, mode="nearest")
    moved = ndimage.map_coordinates(
        fixed.astype(float), [source_y, source_x], order=3, mode="mirror"
    )
    return np.asarray(moved, np.float32)


def test_smooth_warp_is_recovered() -> None:
    planes, shift, tissue = [texture(1), texture(2)], smooth_warp(14.0), disc()
    moving = [moved_back(plane, shift) for plane in planes]

    field = smooth_field(planes, moving, tissue)

    error = np.hypot(*np.moveaxis(field - shift, 2, 0))[tissue]
    assert field.shape == (*SHAPE, 2)
    assert np.median(error) < 0.15
    assert np.percentile(error, 99) < 1.0


def test_changed_cells_and_noise_cost_little() -> None:
    shift, tissue, random = smooth_warp(10.0), disc(), np.random.default_rng(4)
    planes = [texture(1), texture(2)]
    moving = []
    for plane in planes:
        changed = ndimage.gaussian_filter((random.random(SHAPE) < 0.002).astype(float), 3.0) > 0.004
        other = np.where(changed, texture(9), moved_back(plane, shift))
        moving.append(np.asarray(other + random.normal(0, 0.03, SHAPE), np.float32))

    field = smooth_field(planes, moving, tissue)

    error = np.hypot(*np.moveaxis(field - shift, 2, 0))[tissue]
    assert np.median(error) < 0.4
    assert np.percentile(error, 99) < 2.5


def test_unrelated_images_do_not_fold() -> None:
    field = smooth_field([texture(1), texture(2)], [texture(3), texture(4)], disc())

    along_y, along_x = (np.gradient(field, axis=axis) for axis in (0, 1))
    determinant = (1 + along_x[..., 0]) * (1 + along_y[..., 1])
    determinant -= along_x[..., 1] * along_y[..., 0]
    assert determinant.min() > 0


def test_field_continues_smoothly_beyond_tissue() -> None:
    tissue = np.zeros(SHAPE, bool)
    tissue[120:260, 150:330] = True
    glass = np.where(tissue, 1, 0)
    planes = [np.asarray(0.1 + texture(k) * glass, np.float32) for k in (1, 2)]
    shift = np.broadcast_to(np.array([6.0, -4.0]), (*SHAPE, 2))

    field = smooth_field(planes, [moved_back(plane, shift) for plane in planes], tissue)

    np.testing.assert_allclose(field[tissue].mean(axis=0), (6, -4), atol=0.2)
    np.testing.assert_allclose(field[::80, ::80].reshape(-1, 2), [(6, -4)] * 30, atol=1.0)


def test_without_tissue_nothing_moves() -> None:
    field = smooth_field([texture(1)] * 2, [texture(2)] * 2, np.zeros(SHAPE, bool))

    assert not field.any()


def test_plane_without_weight_is_not_looked_at() -> None:
    shift = smooth_warp(5.0)
    level = (MatchLevel(1, 4, 7, 8, (1.0, 0.0)),)
    good = texture(1)

    field = smooth_field([good, texture(2)], [moved_back(good, shift), texture(7)], disc(), level)

    assert np.median(np.hypot(*np.moveaxis(field - shift, 2, 0))[disc()]) < 0.3


def test_a_fold_is_smoothed_and_the_rest_left_alone() -> None:
    field = smooth_warp(2.0).astype(np.float32)
    field[150:170, 200:220, 0] -= 30

    mended = unfolded(field)

    steps = 1 + np.diff(mended[::4, ::4, 0], axis=1) / 4
    assert steps.min() > 0
    assert (1 + np.diff(field[::4, ::4, 0], axis=1) / 4).min() < 0
    np.testing.assert_array_equal(mended[:, :100], field[:, :100])


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_usable(level: MatchLevel) -> None:
    assert level.blocks % 2 == 1
    assert sum(level.weights) == pytest.approx(1)
