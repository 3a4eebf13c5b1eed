"""Which pieces a person's landmarks belong to, with a column and without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from registration.landmarks.landmarks import Landmarks
from registration.pieces.find import LEFT_OUT, Pieces
from registration.pieces.picked import picked_pieces

COLUMNS = {1: 5, 2: 25, 3: 45}
"""Where each piece begins; each is 10 px wide."""


def slide(*numbers: int) -> Pieces:
    """Return a slide with pieces of these numbers side by side."""
    labels = np.zeros((30, 60), np.uint8)
    for column, number in zip(COLUMNS.values(), numbers, strict=False):
        labels[5:25, column : column + 10] = number
    return Pieces(labels, 1.0, 1.0)


def pairs(*where: tuple[int, int], column: Sequence[str] | None = None) -> Landmarks:
    """Return a pair of points for each pair of pieces."""
    rng = np.random.default_rng(3)
    he, ihc = (
        np.array([[COLUMNS[both[side]] + 1, 6] for both in where])
        + rng.uniform(0, 8, (len(where), 2))
        for side in (1, 0)
    )
    names = tuple(f"p{k}" for k in range(len(where)))
    return Landmarks(
        names, he, ihc, np.ones(len(where), bool), None if column is None else tuple(column)
    )


def found(landmarks: Landmarks, fixed: Pieces, moving: Pieces) -> dict:
    picked = picked_pieces(landmarks, fixed, moving, "he")
    return {pieces: own.names for pieces, own in picked.items()}


def test_points_are_told_apart_by_the_pieces_they_lie_on() -> None:
    given = pairs(*[(1, 2)] * 4, *[(2, 1)] * 5, *[(3, 3)] * 3)

    assert found(given, slide(1, 2, 3), slide(1, 2, 3)) == {
        ((1,), (2,)): ("p0", "p1", "p2", "p3"),
        ((2,), (1,)): ("p4", "p5", "p6", "p7", "p8"),
    }


def test_a_column_gathers_what_is_torn_apart_and_a_stray_point_joins_nothing() -> None:
    given = pairs(*[(1, 1)] * 4, *[(1, 2)] * 3, (3, 2), column=["a"] * 8)

    assert list(found(given, slide(1, 2, 3), slide(1, 2, 3))) == [((1,), (1, 2))]


def test_a_piece_in_two_parts_on_the_other_slide_gets_all_its_points_at_once() -> None:
    given = pairs(*[(1, 1)] * 4, *[(1, 2)] * 4, *[(2, 3)] * 4)

    assert found(given, slide(1, 2), slide(1, 2, 3)) == {
        ((1,), (1, 2)): tuple(f"p{k}" for k in range(8)),
        ((2,), (3,)): ("p8", "p9", "p10", "p11"),
    }


@pytest.mark.parametrize("column", [None, ["a"] * 4 + ["b"] * 4])
def test_points_on_tissue_that_was_left_out_start_no_piece(column: list[str] | None) -> None:
    given = pairs(*[(1, 1)] * 4, *[(2, 2)] * 4, column=column)

    assert list(found(given, slide(1, LEFT_OUT), slide(1, 2))) == [((1,), (1,))]
