"""Stained areas, amounts and nuclei against SciPy, scikit-image and counts by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.metrics import hausdorff_distance

from benchmarks.textures import smooth_noise
from training.metrics.agreement import kappa_interval
from training.metrics.pathology import (
    PARTNER_UM,
    Density,
    FoundNuclei,
    PathologyCounts,
    Stained,
    distance_to,
    partners,
    pathology_scores,
)
from training.metrics.stain import DAB_MASK_DENSITY

MPP = 0.5


def density(seed: int, shape: tuple[int, int] = (60, 84)) -> Density:
    """Return patches of brown between 0 and 1."""
    blobs = smooth_noise(np.random.default_rng(seed), shape, 4)
    return np.asarray(np.clip(0.25 + 0.25 * blobs, 0, 1), np.float32)


def nuclei(seed: int, count: int, side: float = 100.0) -> FoundNuclei:
    rng = np.random.default_rng(seed)
    return FoundNuclei(rng.uniform(0, side, (count, 2)), rng.random(count) > 0.3)


def test_areas_and_distances_are_those_of_scikit_image_and_scipy() -> None:
    a, b = density(1), density(2)

    found = pathology_scores(Stained.of(a), Stained.of(b), MPP)

    x, y = a > DAB_MASK_DENSITY, b > DAB_MASK_DENSITY
    assert found.counts.iou == pytest.approx((x & y).sum() / (x | y).sum())
    assert found.hausdorff_um == pytest.approx(MPP * hausdorff_distance(x, y), rel=1e-5)
    places = [np.argwhere(mask) for mask in (x, y)]
    directed = [cKDTree(places[1]).query(places[0])[0], cKDTree(places[0]).query(places[1])[0]]
    far = max(np.percentile(distances, 95) for distances in directed)
    assert found.hausdorff95_um == pytest.approx(MPP * far, rel=1e-5)


def test_distances_are_exact_to_the_last_bit() -> None:
    mask = np.zeros((63, 61), bool)
    mask[[0, 30, 50], [1, 40, 9]] = True

    squared = np.rint(ndimage.distance_transform_edt(~mask) ** 2).astype(np.float32)

    np.testing.assert_array_equal(distance_to(mask), np.sqrt(squared))


def test_an_image_without_stain_has_no_distance() -> None:
    none = np.zeros((20, 30), np.float32)

    found = pathology_scores(Stained.of(none), Stained.of(density(1, (20, 30))), MPP)
    nothing = pathology_scores(Stained.of(none), Stained.of(none), MPP)

    assert math.isnan(found.hausdorff_um)
    assert found.counts.iou == 0
    assert math.isnan(nothing.counts.iou)


def test_h_score_positive_area_and_level_count_pixels() -> None:
    image = np.zeros((10, 20), np.float32)
    image[:4], image[4:6], image[6] = 0.25, 0.45, 0.7

    counts = pathology_scores(Stained.of(image), Stained.of(image), MPP).counts

    assert counts.h_score == pytest.approx(1 * 40 + 2 * 20 + 3 * 10)
    assert counts.positive == pytest.approx(70)
    assert counts.level == 3


@pytest.mark.parametrize(("share", "level"), [(0.04, 0), (0.06, 1)])
def test_a_level_needs_a_twentieth_of_the_area(share: float, level: int) -> None:
    assert PathologyCounts(1000, weak=round(1000 * share)).level == level


def test_counts_of_images_add_up_to_those_of_one_large_image() -> None:
    parts = [(density(1), density(2)), (density(3), density(4))]
    both = [np.concatenate(images, axis=1) for images in zip(*parts, strict=True)]

    one, other = (pathology_scores(Stained.of(a), Stained.of(b), MPP).counts for a, b in parts)
    whole = pathology_scores(Stained.of(both[0]), Stained.of(both[1]), MPP).counts

    assert one + other == whole
    assert sum([one, other], PathologyCounts()) == whole


def test_partners_are_each_others_nearest() -> None:
    a, b = nuclei(1, 150), nuclei(2, 170)

    found, apart = partners(a, b)

    to_b = cKDTree(b.points_um).query(a.points_um)
    to_a = cKDTree(a.points_um).query(b.points_um)[1]
    mutual = (to_a[to_b[1]] == np.arange(150)) & (to_b[0] <= PARTNER_UM)
    assert found.tolist() == mutual.tolist()
    np.testing.assert_allclose(apart, to_b[0][mutual])
    assert 10 < found.sum() < 140


def test_lost_and_invented_nuclei_are_counted() -> None:
    grid = np.stack(np.meshgrid(np.arange(10) * 12.0, np.arange(8) * 12.0), -1).reshape(-1, 2)
    sure = np.ones(80, bool)
    image = np.zeros((8, 8), np.float32)
    real = FoundNuclei(grid, sure)
    shown = np.r_[grid[:60] + np.array([1.0, 0.0]), grid[:15] + 6.0]
    # Five of those that are kept are faint, and still partners.
    fake = FoundNuclei(shown, np.r_[np.zeros(5, bool), np.ones(70, bool)])

    found = pathology_scores(Stained.of(image, real), Stained.of(image, fake), MPP)

    assert (found.counts.nuclei_real, found.counts.nuclei_kept) == (80, 60)
    assert (found.counts.nuclei_made, found.counts.nuclei_invented) == (70, 15)
    assert found.nuclei_offset_um == pytest.approx(1.0)


def test_nuclei_that_were_not_looked_for_have_no_figures() -> None:
    image = density(1)

    found = pathology_scores(Stained.of(image, nuclei(1, 10)), Stained.of(image), MPP)

    assert math.isnan(found.counts.kept)
    assert math.isnan(found.nuclei_offset_um)


def test_kappa_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, 60).tolist()
    levels = [min(3, max(0, label + int(rng.integers(-1, 2)))) for label in labels]

    found = kappa_interval(labels, levels, [f"p{n // 3}" for n in range(60)])

    observed = np.mean([(a - b) ** 2 for a, b in zip(labels, levels, strict=True)])
    shares = [Counter(values) for values in (labels, levels)]
    chance = sum(shares[0][a] * shares[1][b] * (a - b) ** 2 for a in range(4) for b in range(4)) / (
        60 * 60
    )
    assert found.mean == pytest.approx(1 - observed / chance)
    assert found.low < found.mean < found.high
    assert found.units == 20
    assert math.isnan(kappa_interval([], [], []).mean)
