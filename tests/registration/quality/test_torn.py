"""Tissue that a field bends too far, against fields whose strain is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registration.figures import Folding, Quality
from registration.geometry import Size
from registration.quality.torn import strain, torn
from registration.quality.verdict import verdict_of
from registration.tissue import TissueMap
from registration.transforms import DisplacementField

SIZE = Size(1200, 800)
TISSUE = TissueMap(np.ones((100, 150), bool), 8.0)
QUALITY = Quality(Folding(0.9, 0.95, 1.05, 1.1, 0.0), None, None, 0.0, {})


def field(shift: np.ndarray, spacing: float = 20.0) -> DisplacementField:
    """Return a field of ``(rows, columns, 2)`` shifts at nodes so many px apart."""
    return DisplacementField.from_nodes((0.0, 0.0), spacing, shift)


def half_moved(distance: float, spacing: float = 20.0) -> DisplacementField:
    """Return a field that moves the right half of 60 x 40 nodes, over a band five nodes wide."""
    along = np.clip((np.arange(61) - 27.5) / 5, 0, 1)
    shift = np.zeros((41, 61, 2))
    shift[..., 1] = distance * along
    return field(shift, spacing)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.diag([1.2, 1.0]), np.log(1.2)),
        (np.diag([1.0, 0.5]), np.log(2.0)),
        (np.array([[0.6, -0.8], [0.8, 0.6]]), 0.0),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), np.arcsinh(0.25)),
        (np.diag([-1.5, 1.0]), np.log(1.5)),
    ],
)
def test_strain_of_a_linear_map(matrix: np.ndarray, expected: float) -> None:
    x, y = np.meshgrid(np.arange(0, 30, 3.0), np.arange(0, 21, 3.0))
    mapped = np.stack([x, y], axis=-1) @ matrix.T

    np.testing.assert_allclose(strain(mapped, 3.0), expected, atol=1e-12)


def test_a_half_that_was_moved_back_leaves_a_band_where_it_was_cut() -> None:
    found = torn(half_moved(80.0), SIZE, TISSUE, 0.5)

    assert found is not None
    assert found.fraction == pytest.approx(120 / 1200, rel=0.3)
    assert found.area_mm2 == pytest.approx(found.fraction * 1200 * 800 * 0.25e-6, rel=0.02)
    assert found.length_mm == pytest.approx(0.4, rel=0.1)
    assert (found.x, found.y) == pytest.approx((600, 400), abs=40)
    verdict, reasons = verdict_of(replace(QUALITY, torn=found), [], start_verified=True)
    assert verdict == "review"
    assert any("along 0.4 mm around" in reason for reason in reasons)


def test_on_a_large_section_the_band_is_a_small_share_and_seen() -> None:
    shift = np.zeros((101, 101, 2))
    shift[:, 51:, 1] = 100.0
    size, tissue = Size(30_000, 30_000), TissueMap(np.ones((300, 300), bool), 100.0)

    found = torn(field(shift, 300.0), size, tissue, 0.5)

    assert found is not None
    assert 0 < found.fraction < 0.02
    assert found.length_mm == pytest.approx(15.0, rel=0.1)


def test_what_tissue_does_by_itself_is_no_tear() -> None:
    found = torn(half_moved(12.0), SIZE, TISSUE, 0.5)

    assert found is not None
    assert found.fraction == 0


def test_a_spot_that_is_bent_is_no_tear() -> None:
    shift = np.zeros((41, 61, 2))
    shift[20, 30] = 15.0

    assert np.max(strain(field(shift).on_grid(*grid()), 4.0)) > 0.3
    found = torn(field(shift), SIZE, TISSUE, 0.5)
    assert found is not None
    assert found.fraction == 0


def test_soft_tissue_gives_way_all_over() -> None:
    columns, rows = SIZE.width // 20 + 1, SIZE.height // 20 + 1
    shift = np.zeros((rows, columns, 2))
    shift[..., 1] = 150 * np.sin(np.arange(columns) / 5)

    found = torn(field(shift), SIZE, TISSUE, 0.5)

    assert np.median(strain(field(shift).on_grid(*grid()), 4.0)) > 0.3
    assert found is not None
    assert found.fraction == 0


def grid() -> tuple[np.ndarray, np.ndarray]:
    return np.arange(0.0, SIZE.width, 4.0), np.arange(0.0, SIZE.height, 4.0)


def test_only_tissue_counts() -> None:
    mask = np.zeros((100, 150), bool)
    mask[:, :55] = True

    beside = torn(half_moved(80.0), SIZE, TissueMap(mask, 8.0), 0.5)
    assert beside is not None
    assert (beside.fraction, beside.length_mm) == (0.0, 0.0)
    assert torn(half_moved(80.0), SIZE, TissueMap(mask & False, 8.0), 0.5) is None
