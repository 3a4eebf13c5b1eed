"""The verdict of a slide whose pieces were registered one by one."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import pytest

from registration.figures import Quality
from registration.landmarks.landmarks import Landmarks
from registration.pieces.find import Pieces, find_pieces
from registration.pieces.join import PieceResult, verdict_of_pieces
from registration.pieces.part import PiecePart, SlidePart
from registration.pieces.planned import LonePiece, PiecePlan, PlannedPiece
from registration.residual_map import ResidualMap
from registration.result import StartRecord
from registration.start.choose import InitialAlignment
from registration.tissue import TissueMap
from registration.transforms import Chain, Projective


def crumbled(count: int) -> Pieces:
    """A section of 3.2 mm and so many crumbs of 0.2 mm far away from it, 8 µm per pixel."""
    mask = np.zeros((900, 1400), np.uint8)
    cv2.circle(mask, (300, 450), 200, 1, -1)
    for number in range(count):
        cv2.circle(mask, (1000 + 60 * (number % 6), 60 + 60 * (number // 6)), 12, 1, -1)
    return find_pieces(TissueMap(mask > 0, 16.0), 0.5)


def verdict(
    fixed: Pieces, moving: Pieces, lone: tuple[LonePiece, ...] = ()
) -> tuple[str, list[str]]:
    """The verdict where the section, a piece of both slides, passed."""
    start = InitialAlignment(
        Projective.identity(),
        Landmarks.of(np.zeros((0, 2)), np.zeros((0, 2))),
        StartRecord("automatic", True, False, (), {}),
    )
    part = PiecePart((1,), cast(SlidePart, None), 1.0)
    planned = PlannedPiece(1, part, part, start)
    result = PieceResult(
        planned,
        Chain((Projective.identity(),)),
        (),
        cast(Quality, None),
        cast(ResidualMap, None),
        "pass",
        ("all checks passed",),
    )
    return verdict_of_pieces([result], PiecePlan(fixed, moving, (planned,), lone), "he")


def test_nothing_is_said_of_fragments_where_there_are_none() -> None:
    assert verdict(crumbled(0), crumbled(0)) == ("pass", ["all checks passed"])


@pytest.mark.parametrize(("crumbs", "expected"), [(3, "pass"), (24, "review")])
@pytest.mark.parametrize("slide", ["H&E", "IHC"])
def test_fragments_of_no_piece_are_named_on_either_slide_and_much_of_them_needs_a_look(
    slide: str, crumbs: int, expected: str
) -> None:
    ihc, he = (crumbled(crumbs if name == slide else 0) for name in ("IHC", "H&E"))

    found, reasons = verdict(ihc, he)

    assert found == expected
    assert f"of tissue on the {slide} left out" in reasons[-1]
    assert "(limit 5 %)" in reasons[-1]


def test_each_piece_that_is_left_out_is_named_with_its_number_and_its_area() -> None:
    lone = tuple(
        LonePiece(True, PiecePart((n,), cast(SlidePart, None), area), "only on IHC", False)
        for n, area in ((2, 13_240_000.0), (3, 14_000.0))
    )

    _, reasons = verdict(crumbled(0), crumbled(0), lone)

    assert reasons[1:] == [
        "piece 2 left out, 13.2 mm² of tissue: only on IHC",
        "piece 3 left out, 0.01 mm² of tissue: only on IHC",
    ]
