"""What was decided for the pieces of a pair: which are registered, and what the others are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registration.landmarks.landmarks import Landmarks, Moving
from registration.pieces.find import Pieces
from registration.pieces.frames import corner
from registration.pieces.match import Matching
from registration.pieces.part import PiecePart
from registration.start.choose import InitialAlignment

ANOTHER_LEVEL = "another level of piece"


@dataclass(frozen=True, eq=False)
class PlannedPiece:
    """A piece that is registered, and its initial alignment."""

    number: int
    fixed: PiecePart
    moving: PiecePart
    start: InitialAlignment
    """In level-0 pixels of the two parts."""

    def landmarks(self, moving: Moving) -> Landmarks:
        """Return the landmarks in level-0 pixels of the slides, named after the piece."""
        own = self.start.landmarks
        parts = (self.moving, self.fixed) if moving == "he" else (self.fixed, self.moving)
        he, ihc = (corner(part.slide.box) for part in parts)
        names = tuple(f"{self.number}-{name}" for name in own.names)
        return Landmarks(names, own.he + he, own.ihc + ihc, own.enabled)


@dataclass(frozen=True, eq=False)
class LonePiece:
    """A piece that is not registered, and why."""

    on_fixed: bool
    part: PiecePart
    note: str
    is_doubt: bool
    """Whether a person should look: it may have a partner that could not be confirmed."""


@dataclass(frozen=True, eq=False)
class PiecePlan:
    """What becomes of every piece of a pair."""

    fixed: Pieces
    moving: Pieces
    planned: tuple[PlannedPiece, ...]
    lone: tuple[LonePiece, ...]


def other_levels(planned: Sequence[PlannedPiece], matching: Matching) -> dict[tuple[int, int], int]:
    """Return which lone pieces show the tissue of a planned one: side and number to its number."""
    home = [
        {n: piece.number for piece in planned for n in piece.fixed.numbers},
        {n: piece.number for piece in planned for n in piece.moving.numbers},
    ]
    levels = {}
    for match in matching.others:
        i, j = (place + 1 for place in match.pair)
        if i not in home[0] and j in home[1]:
            levels[0, i] = home[1][j]
        if j not in home[1] and i in home[0]:
            levels[1, j] = home[0][i]
    return levels


def note_on(own: str, other: str, level: int | None, both: bool) -> str:
    """Say what a lone piece is."""
    if level is not None:
        return f"{ANOTHER_LEVEL} {level} on the {own}"
    if both:
        return f"on the {own}: no partner on the {other} could be confirmed"
    return f"only on {own}" + (" (control tissue?)" if own == "IHC" else "")
