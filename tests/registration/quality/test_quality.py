"""Folding, seams and errors, against fields whose figures follow from their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from registration.bspline import BSpline
from registration.geometry import Size
from registration.nonrigid.grid import BlockGrid
from registration.quality.quality import folding
from registration.quality.quality import target_errors as errors_of
from registration.quality.seams import seams
from registration.transforms import DisplacementField, Projective, SplicedField

SIZE = Size(1400, 900)
GRID = BlockGrid(SIZE, rows=2, columns=3)


def linear_field(along_x: float, along_y: float) -> DisplacementField:
    """Return ``u = (along_x * x, along_y * y)``, whose Jacobian is ``(1 + ax)(1 + ay)``."""
    y, x = np.mgrid[-400:1801:100, -400:2301:100].astype(float)
    return DisplacementField.from_nodes(
        (-400.0, -400.0), 100.0, np.stack([along_x * x, along_y * y], axis=-1)
    )


def shifted(dx: float, dy: float) -> BSpline:
    """Return a spline that moves everything inside the slide by ``(dx, dy)``."""
    coefficients = np.empty((12, 16, 2))
    coefficients[:] = dx, dy
    return BSpline((-300.0, -300.0), (150.0, 150.0), coefficients)


def test_jacobian_of_a_linear_field() -> None:
    found = folding(linear_field(0.1, -0.2), SIZE)

    assert found.jacobian_min == pytest.approx(1.1 * 0.8, abs=0.01)
    assert found.jacobian_max == pytest.approx(1.1 * 0.8, abs=0.01)
    assert found.folded_fraction == 0


def test_a_field_that_turns_tissue_over_folds_everywhere() -> None:
    assert folding(linear_field(-1.5, 0.1), SIZE).folded_fraction > 0.99


def test_a_jump_between_blocks_is_its_size() -> None:
    splines = tuple(shifted(3.0, 4.0) if b.column == 1 else shifted(0.0, 0.0) for b in GRID)
    field = SplicedField(tuple(b.core for b in GRID), splines)

    found = seams(field, GRID)

    assert found is not None
    assert found.jump_max_px == pytest.approx(5.0, abs=1e-6)
    assert found.jump_median_px == pytest.approx(5.0, abs=1e-6)


def test_a_slope_is_no_jump() -> None:
    found = seams(linear_field(0.3, -0.2), GRID)

    assert found is not None
    assert found.jump_max_px < 0.01


def test_a_single_block_has_no_seam() -> None:
    assert seams(linear_field(0.1, 0.1), BlockGrid(SIZE, 1, 1)) is None


def test_errors_are_distances_on_the_moving_slide() -> None:
    fixed = np.array([[10.0, 20.0], [200.0, 50.0]])

    errors = errors_of(
        Projective.translation(5, 1), fixed, fixed + np.array([[2.0, 5.0], [5.0, 1.0]])
    )

    assert errors == pytest.approx([5.0, 0.0])
