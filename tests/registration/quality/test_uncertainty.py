"""Bounds of the expected error: where they are stated, what they cover, and where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from registration.geometry import mesh
from registration.quality.uncertainty import bounds_um, uncertainty_of
from registration.residual_map import ResidualMap

MPP = 0.5
STEP_PX = 300.0


def measured(shift_um: tuple[float, float], lost_below: float = np.inf) -> ResidualMap:
    """Return places that are off by a shift, give or take; those below a row match anywhere."""
    rng = np.random.default_rng(1)
    points = mesh(STEP_PX * (np.arange(24) + 0.5), STEP_PX * (np.arange(16) + 0.5))
    shifts = np.array(shift_um) + rng.normal(0, 0.3, points.shape)
    lost = points[:, 1] > lost_below
    shifts[lost] = rng.uniform(-40, 40, (int(lost.sum()), 2))
    count = len(points)
    return ResidualMap(points, shifts, np.ones(count), np.zeros(count), np.full(count, 40.0))


@pytest.mark.parametrize("length", [0.0, 3.0, 8.0])
def test_a_bound_covers_the_shift_that_matches_agree_on(length: float) -> None:
    bounds = bounds_um(measured((0.6 * length, -0.8 * length)))

    assert (bounds >= length).mean() > 0.9
    assert (bounds < length + 1.5).all()


def test_no_bound_is_stated_where_matches_lie_anywhere() -> None:
    places = measured((1.0, 0.0), lost_below=10 * STEP_PX)

    found = uncertainty_of(places, MPP)

    assert found is not None
    whole, gone = (found.at(np.array([[3600.0, y]]))[0] for y in (700.0, 4400.0))
    assert whole < 3
    assert np.isnan(gone)
    assert 0.4 < found.known_fraction < 0.75
    assert found.median_um == pytest.approx(1.3, abs=0.7)


def test_the_map_stays_small_and_answers_nothing_outside() -> None:
    found = uncertainty_of(measured((0.0, 0.0)), MPP)

    assert found is not None
    assert len(found.places) <= 400
    assert np.isnan(found.at(np.array([[-9000.0, 100.0]]))).all()
    assert {int(place.x // found.cell_px) for place in found.places} == set(range(12))


def test_nothing_measured_is_no_map() -> None:
    assert uncertainty_of(ResidualMap.joined([]), MPP) is None
