"""Nuclei: found where they were drawn, whatever the resolution; paired one to one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from registration.nuclei import COARSEST_MPP, can_show_nuclei, find_nuclei, paired

PINK, PURPLE, BROWN, GLASS = (225, 150, 190), (95, 65, 140), (150, 95, 60), (245, 245, 245)


def drawn(mpp: float, ground: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of 240 x 180 µm with nuclei 12 µm apart, and their middles in its pixels."""
    rng = np.random.default_rng(2)
    xs, ys = np.meshgrid(np.arange(12, 230, 12.0), np.arange(12, 170, 12.0))
    middles = np.stack([xs.ravel(), ys.ravel()], axis=1) + rng.uniform(-2, 2, (xs.size, 2))
    fine = 0.1
    canvas = np.full((round(180 / fine), round(240 / fine), 3), ground, np.uint8)
    for x, y in middles:
        center = (round(x / fine), round(y / fine))
        axes = (round(rng.uniform(2.6, 4) / fine), round(rng.uniform(2.4, 3.4) / fine))
        cv2.ellipse(canvas, center, axes, float(rng.uniform(0, 180)), 0, 360, PURPLE, -1)
    size = (round(240 / mpp), round(180 / mpp))
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    noisy = image + rng.normal(0, 2, image.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8), middles / mpp - 0.5


@pytest.mark.parametrize("mpp", [0.25, 0.46, 0.92])
@pytest.mark.parametrize("ground", [PINK, BROWN, GLASS])
def test_nuclei_are_found_where_they_were_drawn(mpp: float, ground: tuple[int, int, int]) -> None:
    image, middles = drawn(mpp, ground)

    found = find_nuclei(image, mpp)

    away, _ = cKDTree(found.points).query(middles)
    assert np.mean(away * mpp < 1.0) > 0.97
    assert found.sure.sum() == pytest.approx(len(middles), rel=0.03)
    assert 2.4 <= np.median(found.radii_um[found.sure]) <= 4.3


@pytest.mark.parametrize("ground", [PINK, BROWN, GLASS])
def test_there_are_none_where_nothing_but_noise_is(ground: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(1).normal(0, 3, (300, 400, 3))
    image = np.asarray(np.clip(np.array(ground) + noise, 0, 255), np.uint8)

    assert len(find_nuclei(image, 0.5)) == 0


def test_a_coarse_image_shows_none() -> None:
    assert can_show_nuclei(COARSEST_MPP)
    assert not can_show_nuclei(2.0)


def test_pairs_are_one_to_one_and_each_others_nearest() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.uniform(0, 60, (80, 2)), rng.uniform(0, 60, (110, 2))

    of_a, of_b, distance = paired(a, b, 4.0)

    far = cdist(a, b)
    assert len(set(of_a)) == len(of_a)
    assert len(set(of_b)) == len(of_b)
    assert distance == pytest.approx(far[of_a, of_b])
    expected = [
        (i, j)
        for i, j in np.argwhere(far <= 4.0).tolist()
        if far[i].argmin() == j and far[:, j].argmin() == i
    ]
    assert sorted(zip(of_a.tolist(), of_b.tolist(), strict=True)) == sorted(expected)


def test_pairing_finds_no_more_than_the_best_assignment_has() -> None:
    rng = np.random.default_rng(5)
    a = rng.uniform(0, 200, (120, 2))
    b = np.concatenate([a[:90] + rng.normal(0, 0.3, (90, 2)), rng.uniform(0, 200, (30, 2))])

    of_a, _, _ = paired(a, b, 4.8)

    rows, columns = linear_sum_assignment(np.minimum(cdist(a, b), 9))
    best = (cdist(a, b)[rows, columns] <= 4.8).sum()
    assert 0.93 * best <= len(of_a) <= best


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_pairs_with_nothing(first: int, second: int) -> None:
    assert not len(paired(np.zeros((first, 2)), np.zeros((second, 2)), 3.0)[0])
