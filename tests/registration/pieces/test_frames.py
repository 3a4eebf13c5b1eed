"""How much of a piece a map lays on its partner."""

from __future__ import annotations

import numpy as np
import pytest

from registration.pieces.find import Pieces
from registration.pieces.frames import astray, landed
from registration.transforms import Projective


@pytest.fixture
def slides() -> tuple[Pieces, Pieces]:
    """A piece of 40 x 20 px beside another, and half of it alone, 4 level-0 px to a pixel."""
    whole, half = np.zeros((60, 120), np.uint8), np.zeros((60, 120), np.uint8)
    whole[10:30, 10:50], whole[10:30, 70:110] = 1, 2
    half[15:35, 15:35] = 1
    return Pieces(whole, 4.0, 1.0), Pieces(half, 4.0, 1.0)


def test_half_of_a_piece_has_no_place_on_a_slide_that_lost_it(
    slides: tuple[Pieces, Pieces],
) -> None:
    whole, half = slides
    onto = Projective.translation(20.0, 20.0)

    assert landed(whole, 1, onto, half) == pytest.approx(0.5)
    assert astray(whole, (1,), onto, half, (1,), 0.0) == pytest.approx(0.5)
    assert astray(whole, (1,), onto, half, (1,), 40.0) == pytest.approx(0.25)
    assert astray(half, (1,), onto.inverse, whole, (1,), 0.0) == pytest.approx(0.0)


def test_another_piece_s_tissue_is_none_of_its_own(slides: tuple[Pieces, Pieces]) -> None:
    whole, _ = slides

    assert astray(whole, (1,), Projective.translation(240.0, 0.0), whole, (1,), 0.0) == 1.0
    assert astray(whole, (1,), Projective.translation(240.0, 0.0), whole, (1, 2), 0.0) == 0.0
