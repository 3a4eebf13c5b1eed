"""One partner each, no partner without evidence, and nobody drags another along."""

from __future__ import annotations

import numpy as np

from registration.pieces.match import Match, concluded
from registration.start.propose import ProposedAlignment
from registration.transforms import Projective


def tried(i: int, j: int, share: float, *, verified: bool = True, mirrored: bool = False) -> Match:
    """Return a match with this evidence."""
    none = np.zeros((0, 2))
    start = ProposedAlignment(
        transform=Projective.identity(),
        landmarks=(none, none),
        mirrored=mirrored,
        evidence={"share": share},
        verified=verified,
        reasons=() if verified else ("too little",),
    )
    return Match((i, j), start)


def pairs(matches: tuple[Match, ...]) -> list[tuple[int, int]]:
    return sorted(match.pair for match in matches)


def test_each_piece_gets_one_partner_with_the_most_evidence_in_all() -> None:
    found = concluded([tried(0, 0, 0.5), tried(0, 1, 0.6), tried(1, 1, 0.9), tried(2, 2, 0.7)])

    assert pairs(found.matches) == [(0, 0), (1, 1), (2, 2)]


def test_another_level_of_a_core_is_named_and_does_not_take_its_place() -> None:
    found = concluded([tried(0, 0, 0.9), tried(0, 1, 0.5), tried(1, 2, 0.8)])

    assert pairs(found.matches) == [(0, 0), (1, 2)]
    assert pairs(found.others) == [(0, 1)]


def test_what_is_not_verified_is_left_out_and_leaves_the_others_alone() -> None:
    found = concluded([tried(0, 0, 0.9), tried(1, 1, 0.12, verified=False)])

    assert pairs(found.matches) == [(0, 0)]
    assert pairs(found.refused) == [(1, 1)]


def test_a_partner_hardly_better_than_an_unconfirmed_one_is_none() -> None:
    close = concluded([tried(0, 0, 0.20), tried(0, 1, 0.18, verified=False)])
    clear = concluded([tried(0, 0, 0.40), tried(0, 1, 0.18, verified=False)])

    assert pairs(close.matches) == []
    assert pairs(clear.matches) == [(0, 0)]


def test_a_piece_cannot_be_turned_over_on_a_slide_that_was_not() -> None:
    found = concluded([tried(0, 0, 0.9), tried(1, 1, 0.8), tried(2, 2, 0.5, mirrored=True)])

    assert pairs(found.matches) == [(0, 0), (1, 1)]
