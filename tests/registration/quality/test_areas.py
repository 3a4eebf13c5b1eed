"""An area without evidence is found where it lies, and none is where evidence is thin all over."""

from __future__ import annotations

import numpy as np
import pytest

from registration.geometry import mesh
from registration.quality.areas import lost_area
from registration.residual_map import ResidualMap


def places_of(good: np.ndarray, shift_um: float = 1.0, seed: int = 1) -> ResidualMap:
    """Return a grid of places of which some match."""
    rng = np.random.default_rng(seed)
    points = mesh(np.arange(0.0, 3000, 150), np.arange(0.0, 2000, 150))
    count = len(points)
    shift = np.tile([shift_um, 0.0], (count, 1))
    return ResidualMap(points, shift, np.where(good, 0.8, 0.1), rng.uniform(0.15, 0.3, count))


GRID = mesh(np.arange(0.0, 3000, 150), np.arange(0.0, 2000, 150))


def test_half_of_a_section_that_matches_nothing_is_found() -> None:
    lost = lost_area(places_of(GRID[:, 0] < 1500))

    assert lost is not None
    assert lost.share == pytest.approx(0.5, abs=0.06)
    assert lost.x == pytest.approx(2175, abs=100)
    assert lost.y == pytest.approx(975, abs=60)


def test_a_corner_is_found_too_and_a_speck_is_not() -> None:
    corner = (GRID[:, 0] > 2000) & (GRID[:, 1] > 900)
    speck = np.hypot(*(GRID - [1500, 900]).T) < 200

    assert lost_area(places_of(~corner)) is not None
    assert lost_area(places_of(~speck)) is None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 1.0])
def test_places_that_fail_here_and_there_are_no_area(share: float) -> None:
    for seed in range(5):
        good = np.random.default_rng(seed).random(len(GRID)) < share
        assert lost_area(places_of(good, seed=seed)) is None


def test_matching_places_that_lie_off_are_lost_as_well() -> None:
    places = places_of(np.ones(len(GRID), bool))
    places.shift_um[GRID[:, 0] > 1800] = [30.0, 0.0]

    lost = lost_area(places)

    assert lost is not None
    assert lost.x > 2000


def test_few_places_tell_nothing() -> None:
    few = places_of(GRID[:, 0] < 1500)
    some = slice(0, 30)

    assert (
        lost_area(
            ResidualMap(few.points[some], few.shift_um[some], few.score[some], few.chance[some])
        )
        is None
    )
