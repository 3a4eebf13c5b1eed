"""Which landmarks belong together, and to which pieces: by their column, or by where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from registration.landmarks.landmarks import Landmarks, Moving
from registration.landmarks.problems import MINIMUM_PAIRS
from registration.pieces.find import LEFT_OUT, Pieces

HELD_SHARE = 0.25
"""A piece is among those of a group of landmarks when it holds at least this share of them."""

Numbers = tuple[int, ...]
PickedPieces = dict[tuple[Numbers, Numbers], Landmarks]
"""Landmarks by the numbers of the fixed and the moving pieces that they lie on."""


def picked_pieces(
    landmarks: Landmarks, fixed: Pieces, moving: Pieces, stain: Moving
) -> PickedPieces:
    """Return the landmarks of each pair of pieces that has enough of them.

    Where several have a piece in common, as one that is whole on one slide and in two on the other,
    all of theirs go together. ``stain`` is that of the moving slide.
    """
    active = landmarks.active()
    points = active.oriented(stain)
    owners = fixed.owner(points[0]), moving.owner(points[1])
    groups = [
        own
        for group in _grouped(active, *owners)
        if len(own := group[_on_pieces(group, *owners)]) >= MINIMUM_PAIRS
    ]
    held = [(_held(owners[0][own]), _held(owners[1][own])) for own in groups]
    found: PickedPieces = {}
    for together in _connected(held):
        on_fixed, on_moving = (
            tuple(sorted({number for k in together for number in held[k][side]})) for side in (0, 1)
        )
        own = np.sort(np.concatenate([groups[k] for k in together]))
        found[on_fixed, on_moving] = active.take(own)
    return found


def _grouped(
    landmarks: Landmarks, fixed: NDArray[np.int64], moving: NDArray[np.int64]
) -> list[NDArray[np.intp]]:
    """Return the places of landmarks that belong together, by their column or by their pieces."""
    if landmarks.pieces is not None:
        names = np.array(landmarks.pieces)
        return [np.flatnonzero(names == name) for name in dict.fromkeys(landmarks.pieces) if name]
    both = np.stack([fixed, moving], axis=1)
    return [np.flatnonzero((both == pieces).all(axis=1)) for pieces in np.unique(both, axis=0)]


def _on_pieces(
    group: NDArray[np.intp], fixed: NDArray[np.int64], moving: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which pairs of a group lie off the tissue that a person left out."""
    return np.asarray((fixed[group] < LEFT_OUT) & (moving[group] < LEFT_OUT))


def _held(numbers: NDArray[np.int64]) -> Numbers:
    """Return the pieces that hold enough of a group's points; a stray one joins no piece to it."""
    counts = np.bincount(numbers)
    enough = np.flatnonzero(counts >= max(1.0, HELD_SHARE * len(numbers)))
    return tuple(int(number) for number in enough)


def _connected(held: Sequence[tuple[Numbers, Numbers]]) -> list[list[int]]:
    """Return the places of groups that have pieces in common, one list for each lot."""
    lots: list[list[int]] = []
    for k, pieces in enumerate(held):
        touching = [
            lot
            for lot in lots
            if any(
                set(own) & set(held[other][side])
                for other in lot
                for side, own in enumerate(pieces)
            )
        ]
        lots = [lot for lot in lots if lot not in touching]
        lots.append([place for lot in touching for place in lot] + [k])
    return lots
