"""Tissue that a field bends too far, against fields whose strain is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registration.figures import Folding, Quality, Torn
from registration.geometry import Size
from registration.quality.torn import strain, torn
from registration.quality.verdict import MUCH_TORN, verdict_of
from registration.tissue import TissueMap
from registration.transforms import DisplacementField

SIZE = Size(1200, 800)
TISSUE = TissueMap(np.ones((100, 150), bool), 8.0)
QUALITY = Quality(Folding(0.9, 0.95, 1.05, 1.1, 0.0), None, None, 0.0, {})


def field(shift: np.ndarray) -> DisplacementField:
    """Return a field of ``(rows, columns, 2)`` shifts at nodes 20 px apart."""
    return DisplacementField.from_nodes((0.0, 0.0), 20.0, shift)


def half_moved(distance: float) -> DisplacementField:
    """Return a field that moves what lies beyond 600 px, over a band of 100 px."""
    columns, rows = SIZE.width // 20 + 1, SIZE.height // 20 + 1
    along = np.clip((20.0 * np.arange(columns) - 550) / 100, 0, 1)
    shift = np.zeros((rows, columns, 2))
    shift[..., 1] = distance * along
    return field(shift)


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
    assert found.fraction == pytest.approx(100 / 1200, rel=0.3)
    assert found.area_mm2 == pytest.approx(found.fraction * 1200 * 800 * 0.25e-6, rel=0.02)
    assert (found.x, found.y) == pytest.approx((600, 400), abs=30)
    verdict, reasons = verdict_of(replace(QUALITY, torn=found), [], start_verified=True)
    assert verdict == "review"
    assert any("lies elsewhere on the other slide" in reason for reason in reasons)


def test_what_tissue_does_by_itself_is_no_tear() -> None:
    found = torn(half_moved(20.0), SIZE, TISSUE, 0.5)

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

    assert torn(half_moved(80.0), SIZE, TissueMap(mask, 8.0), 0.5) == Torn(
        0.0, 0.0, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True)
    )
    assert torn(half_moved(80.0), SIZE, TissueMap(mask & False, 8.0), 0.5) is None


def test_a_little_torn_tissue_needs_no_look() -> None:
    little = replace(QUALITY, torn=Torn(MUCH_TORN, 0.1, 5.0, 5.0))

    _, reasons = verdict_of(little, [], start_verified=True)

    assert not any("stretched" in reason for reason in reasons)
