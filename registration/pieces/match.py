"""Which piece of one slide is which of the other: any arrangement, any rotation, turned over or not.

Every piece is compared with every other at very low resolution; the most promising pairs are fitted
and must hold by the independent measure, each on its own tissue and against chance on that tissue.
Then each piece gets at most one partner, so that the evidence is largest in all, and a partner that
is hardly better than the next best is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from registration.pieces.part import PiecePart, SlidePart
from registration.start.propose import CANDIDATES, ProposedAlignment, start_from
from registration.start.search import ALL_TURNS, ANGLE_STEP_DEG, SCALES, Candidate, Turns, search
from registration.start.views import Overview, piece_mpp, piece_view, principal_axes

Pair = tuple[int, int]
"""Places of a fixed and a moving piece in the lists that are matched."""

RIVAL = 1.3
"""Partners that promise nearly as much as a piece's best, within this factor, are tried as well."""

KEPT = 3
LARGEST_AREA_RATIO = 2.5
"""Pieces whose tissue differs by more than this factor are not the same."""

MARGIN = 1.25
"""The evidence for a partner is at least so many times that for any other that was not confirmed."""

LONG_ELONGATION = 1.5
TURN_TOLERANCE_DEG = 25.0
"""Long pieces lie along each other to within this angle."""


@dataclass(frozen=True, eq=False)
class Match:
    """Two pieces and the alignment of them, in level-0 pixels of their parts."""

    pair: Pair
    start: ProposedAlignment

    @property
    def share(self) -> float:
        """Share of patches that agree on where the piece belongs."""
        return self.start.evidence["share"]


@dataclass(frozen=True)
class Matching:
    """What became of all pieces."""

    matches: tuple[Match, ...]
    """At most one for each piece."""
    others: tuple[Match, ...]
    """Confirmed too, but of pieces that have a better partner: other levels of the same tissue."""
    refused: tuple[Match, ...]
    """The best of each fixed piece that found no partner."""


def match_pieces(fixed: Sequence[PiecePart], moving: Sequence[PiecePart]) -> Matching:
    """Match the pieces of two slides."""
    promise = _promise(fixed, moving)
    tried: dict[Pair, Match] = {}
    for pair in _most_promising(promise):
        best = promise[pair][0].score
        rough = [found for found in promise[pair] if RIVAL * found.score >= best]
        tried[pair] = _examined(fixed, moving, pair, rough)
    for pair in _still_free(promise, tried):
        views = piece_views(fixed[pair[0]], moving[pair[1]])
        candidates = search(*views, CANDIDATES, SCALES, turns(*views))
        tried[pair] = _examined(fixed, moving, pair, candidates)
    return concluded(list(tried.values()))


def concluded(tried: Sequence[Match]) -> Matching:
    """Give each piece at most one of the partners that were tried."""
    verified = [match for match in tried if match.start.verified]
    verified = _turned_alike(verified)
    chosen = _assigned(verified)
    taken = {match.pair for match in chosen}
    others = tuple(match for match in verified if match.pair not in taken)
    rivals = [match for match in tried if match not in verified]
    clear = tuple(match for match in chosen if _is_clear(match, rivals))
    matched = {match.pair[0] for match in clear}
    refused: dict[int, Match] = {}
    for match in sorted(tried, key=lambda match: match.share):
        if match.pair[0] not in matched:
            refused[match.pair[0]] = match
    return Matching(clear, others, tuple(refused.values()))


def comparable(one: PiecePart, other: PiecePart) -> bool:
    """Return whether two pieces have about as much tissue."""
    low, high = sorted((one.tissue_um2, other.tissue_um2))
    return high <= LARGEST_AREA_RATIO * low


def piece_views(fixed: PiecePart, moving: PiecePart) -> tuple[Overview, Overview]:
    """Return both pieces at one scale that shows their tissue with enough pixels."""
    finest = fixed.slide.mpp
    mpp = max(piece_mpp(part.tissue_um2, max(finest, part.slide.mpp)) for part in (fixed, moving))
    return _view(fixed.slide, mpp), _view(moving.slide, mpp)


def turns(fixed: Overview, moving: Overview) -> Turns:
    """Return the rotations to try: all, or for long pieces those that lay them along each other."""
    if min(fixed.elongation, moving.elongation) < LONG_ELONGATION:
        return ALL_TURNS
    own, other = (_direction(view) for view in (fixed, moving))
    return {
        mirrored: [
            angle
            for angle in ALL_TURNS[mirrored]
            if abs((angle - between + 90) % 180 - 90) <= TURN_TOLERANCE_DEG + ANGLE_STEP_DEG / 2
        ]
        for mirrored, between in ((False, own - other), (True, own + other))
    }


@lru_cache(maxsize=128)
def _view(part: SlidePart, mpp: float) -> Overview:
    return piece_view(part, mpp)


def _direction(view: Overview) -> float:
    """Return the direction of a piece's long axis in degrees."""
    x, y = principal_axes(view.mask)[1][0]
    return float(np.degrees(np.arctan2(y, x)))


def _promise(
    fixed: Sequence[PiecePart], moving: Sequence[PiecePart]
) -> dict[Pair, list[Candidate]]:
    """Return rough alignments of all pairs that may be the same, best first."""
    found = {}
    paired = {part.name for part in fixed} & {part.name for part in moving} - {""}
    for i, one in enumerate(fixed):
        for j, other in enumerate(moving):
            named = one.name in paired or other.name in paired
            if one.name == other.name if named else comparable(one, other):
                views = piece_views(one, other)
                found[i, j] = search(*views, KEPT, (1.0,), turns(*views))
    return found


def _most_promising(promise: dict[Pair, list[Candidate]]) -> list[Pair]:
    """Return the pairs that are the best of one of their pieces, or nearly so."""
    score = {pair: candidates[0].score for pair, candidates in promise.items() if candidates}
    return [
        pair
        for pair in score
        if any(
            RIVAL * score[pair] >= max(score[other] for other in score if other[side] == pair[side])
            for side in (0, 1)
        )
    ]


def _still_free(promise: dict[Pair, list[Candidate]], tried: dict[Pair, Match]) -> list[Pair]:
    """Return the pairs of pieces that found no partner among the promising ones."""
    matched = concluded(list(tried.values())).matches
    fixed, moving = ({match.pair[side] for match in matched} for side in (0, 1))
    return [pair for pair in promise if pair[0] not in fixed and pair[1] not in moving]


def _examined(
    fixed: Sequence[PiecePart],
    moving: Sequence[PiecePart],
    pair: Pair,
    candidates: Sequence[Candidate],
) -> Match:
    """Fit and check the alignment of two pieces."""
    one, other = fixed[pair[0]], moving[pair[1]]
    return Match(pair, start_from(candidates, *piece_views(one, other), one.slide.mpp))


def _turned_alike(matches: list[Match]) -> list[Match]:
    """Drop matches that turn their piece over when most of the evidence says otherwise."""
    sides = [sum(m.share for m in matches if m.start.mirrored == side) for side in (False, True)]
    mirrored = sides[True] > sides[False]
    return [match for match in matches if match.start.mirrored == mirrored]


def _assigned(matches: Sequence[Match]) -> list[Match]:
    """Return the one-to-one choice of matches with the most evidence in all."""
    if not matches:
        return []
    by_pair = {match.pair: match for match in matches}
    rows, columns = (1 + max(pair[side] for pair in by_pair) for side in (0, 1))
    share: NDArray[np.float64] = np.zeros((rows, columns))
    for pair, match in by_pair.items():
        share[pair] = match.share
    chosen = zip(*linear_sum_assignment(-share), strict=True)
    return [by_pair[pair] for i, j in chosen if (pair := (int(i), int(j))) in by_pair]


def _is_clear(match: Match, rivals: Iterable[Match]) -> bool:
    """Return whether no other partner of either piece has nearly as much evidence."""
    return all(
        match.share >= MARGIN * rival.share
        for rival in rivals
        if (rival.pair[0] == match.pair[0]) != (rival.pair[1] == match.pair[1])
    )
