"""What the table of pieces says of each, and what it tells a person to do."""

from __future__ import annotations

from typing import Literal

import pytest

from pipeline.report.pieces import LEFT_OUT_COLOUR, row_of
from registration.pieces.planned import note_on
from registration.result import PieceRecord, StartRecord

RING = (((0.0, 0.0), (9.0, 0.0), (9.0, 9.0)),)


@pytest.mark.parametrize(
    ("level", "both", "says", "advises"),
    [
        (None, False, "only on IHC (control tissue?)", "else pick four landmarks"),
        (None, True, "no partner on the H&E could be confirmed", "pick four landmarks"),
        (2, True, "another level of piece 2 on the IHC", "Nothing: that piece shows the same"),
    ],
)
def test_what_was_left_out_is_said(level: int | None, both: bool, says: str, advises: str) -> None:
    note = note_on("IHC", "H&E", level, both)

    row = row_of(PieceRecord(3, "only on IHC", note, 0.62, RING, ()))

    assert (row.verdict, row.tissue, row.shift, row.error) == ("left out", "0.6", "–", "–")
    assert row.colour == LEFT_OUT_COLOUR
    assert says in " ".join(row.reasons)
    assert advises in row.advice


def test_a_doubt_is_named_with_its_piece_and_a_pass_needs_no_words() -> None:
    doubted = PieceRecord(1, "registered", "", 0.6, RING, RING, "review", ("torn along 1 mm",))
    passed = PieceRecord(2, "registered", "", 0.6, RING, RING, "pass", ("all checks passed",))

    assert row_of(doubted).reasons == ("torn along 1 mm",)
    assert row_of(passed).reasons == ()
    assert row_of(doubted).colour != row_of(passed).colour


@pytest.mark.parametrize(
    ("source", "advises"), [("landmarks", "Check its landmarks"), ("automatic", "pick four")]
)
def test_who_picked_wrong_landmarks_is_told_to_check_them(
    source: Literal["landmarks", "automatic"], advises: str
) -> None:
    start = StartRecord(source, False, False, (), {})

    row = row_of(PieceRecord(1, "registered", "", 0.6, RING, RING, "fail", ("lost",), start))

    assert advises in row.advice
