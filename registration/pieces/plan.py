"""Which pieces of a pair are registered, each from a start of its own, and which are left out.

A pair with one piece on each slide is no matter of this module's: it has one start for the whole
slide. So has a section in several parts that one alignment serves: each part must be confirmed under
it on its own. Otherwise pieces are matched; those that one alignment serves equally well are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from registration.errors import StartError
from registration.geometry import Box, Points, mesh, to_level0
from registration.landmarks.landmarks import Landmarks
from registration.pair import Pair
from registration.pieces.find import Pieces, find_pieces
from registration.pieces.match import Match, Matching, match_pieces
from registration.pieces.part import PiecePart, SlidePart, aligned, piece_part
from registration.result import StartRecord
from registration.start.check import FEWEST_POINTS, LARGEST_OFFSET, check
from registration.start.choose import InitialAlignment, choose_alignment
from registration.start.propose import ProposedAlignment
from registration.start.views import piece_mpp, piece_view
from registration.tissue import TissueMap
from registration.transforms import Projective, Transform

SERVED_SHARE = 0.5
"""One alignment serves a piece when at least this share of it lands on tissue."""

SAME_START_SHARE = 0.005
"""Two alignments are one when they differ by less than this share of the pieces' joint extent."""

PIECE_POINTS = 4000


@dataclass(frozen=True, eq=False)
class PlannedPiece:
    """A piece that was confirmed, and its initial alignment."""

    number: int
    fixed: PiecePart
    moving: PiecePart
    start: ProposedAlignment
    """In level-0 pixels of the two parts."""

    @property
    def transform(self) -> Projective:
        """The initial alignment in level-0 pixels of the slides."""
        return on_slides(self.start.transform, self.fixed.slide.box, self.moving.slide.box)

    @property
    def record(self) -> StartRecord:
        """How the start came about."""
        return StartRecord(
            "automatic", True, self.start.mirrored, self.start.reasons, self.start.evidence
        )

    @property
    def landmarks(self) -> tuple[Points, Points]:
        """The proposed landmarks in level-0 pixels of the slides, fixed and moving."""
        fixed, moving = self.start.landmarks
        return fixed + corner(self.fixed.slide.box), moving + corner(self.moving.slide.box)


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


def choose_starts(
    pair: Pair, landmarks: Landmarks | None, folder: Path, tissue: TissueMap
) -> InitialAlignment | PiecePlan:
    """Return the start of the whole slide, or of each of its pieces.

    ``tissue`` is that of the fixed slide. Raises :class:`StartError` where nothing is confirmed.
    """
    scene = _Scene(pair, tissue)
    if landmarks is not None or not scene.has_several:
        return choose_alignment(pair, landmarks, folder)
    matching = match_pieces(scene.fixed_parts, scene.moving_parts)
    if scene.may_move_together(matching.matches):
        whole, refused = _whole(pair, folder)
        if not matching.matches and refused is not None:
            raise refused
        if whole is not None and (not matching.matches or scene.serves(whole.transform)):
            return whole
    return scene.planned(matching)


def _whole(pair: Pair, folder: Path) -> tuple[InitialAlignment | None, StartError | None]:
    """Return the start of the whole slide, or why there is none."""
    try:
        return choose_alignment(pair, None, folder), None
    except StartError as error:
        return None, error


@dataclass(frozen=True, eq=False)
class _Scene:
    """Both slides of a pair and the pieces on them."""

    pair: Pair
    tissue: TissueMap

    @cached_property
    def fixed(self) -> Pieces:
        """The pieces of the fixed slide."""
        return find_pieces(self.tissue, self.pair.fixed_slide.mpp)

    @cached_property
    def moving(self) -> Pieces:
        """The pieces of the moving slide."""
        slide = self.pair.moving_slide
        return find_pieces(TissueMap.of(slide), slide.mpp)

    @property
    def has_several(self) -> bool:
        """Whether one of the slides shows more than one piece, and the other any."""
        return (
            min(len(self.fixed), len(self.moving)) > 0
            and max(len(self.fixed), len(self.moving)) > 1
        )

    @cached_property
    def fixed_parts(self) -> list[PiecePart]:
        """Each piece of the fixed slide."""
        slide = self.pair.fixed_slide
        return [piece_part(slide, self.fixed, (n,)) for n in self.fixed.numbers]

    @cached_property
    def moving_parts(self) -> list[PiecePart]:
        """Each piece of the moving slide."""
        slide = self.pair.moving_slide
        return [piece_part(slide, self.moving, (n,)) for n in self.moving.numbers]

    def serves(self, transform: Projective) -> bool:
        """Return whether one alignment of the slides holds for every piece on its own."""
        landed = all(
            _landed(self.fixed, n, transform, self.moving) >= SERVED_SHARE
            for n in self.fixed.numbers
        ) and all(
            _landed(self.moving, n, transform.inverse, self.fixed) >= SERVED_SHARE
            for n in self.moving.numbers
        )
        return landed and all(self._holds(part, transform) for part in self.fixed_parts)

    def _holds(self, part: PiecePart, transform: Projective) -> bool:
        """Return whether an alignment of the slides is confirmed on one piece alone.

        A piece too small to tell is taken to go with the others; the residual shift will tell.
        """
        slide = self.pair.moving_slide
        corners = mesh(*(np.array([0.0, side]) for side in part.slide.size.shape[::-1]))
        there = transform(corners + corner(part.slide.box))
        low, high = np.floor(there.min(axis=0)), np.ceil(there.max(axis=0))
        box = Box(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
        box = aligned(box).clipped(slide.size)
        if min(box.size.shape) < 2:
            return False
        moving = SlidePart(slide, box, None)
        mpp = piece_mpp(part.tissue_um2, max(part.slide.mpp, slide.mpp))
        own = between_parts(transform, part.slide.box, box)
        views = piece_view(part.slide, mpp), piece_view(moving, mpp)
        evidence = check(*views, own, part.slide.mpp)
        return evidence.verified or evidence.points < FEWEST_POINTS

    def may_move_together(self, matches: Sequence[Match]) -> bool:
        """Return whether all matches have nearly the same alignment, or there are none."""
        groups = [self._group(match) for match in matches]
        return all(self._apart(groups[0], group) <= LARGEST_OFFSET for group in groups[1:])

    def planned(self, matching: Matching) -> PiecePlan:
        """Join the matched pieces that move together and name those that are left out."""
        groups = self._with_fragments(self._joined(matching.matches))
        planned = [self._planned(number, group) for number, group in enumerate(groups, 1)]
        return PiecePlan(self.fixed, self.moving, tuple(planned), self._lone(planned, matching))

    def _joined(self, matches: Sequence[Match]) -> list[_Group]:
        """Join matches whose alignments are the same, in the order of their fixed pieces."""
        groups: list[_Group] = []
        for match in sorted(matches, key=lambda m: -self.fixed_parts[m.pair[0]].tissue_um2):
            own = self._group(match)
            same = (g for g in groups if self._apart(g, own) <= SAME_START_SHARE)
            home = next(same, None)
            if home is None:
                groups.append(own)
            else:
                home.fixed += own.fixed
                home.moving += own.moving
        return sorted(groups, key=lambda group: min(group.fixed))

    def _group(self, match: Match) -> _Group:
        """Return a group of one match."""
        i, j = match.pair
        boxes = self.fixed_parts[i].slide.box, self.moving_parts[j].slide.box
        return _Group([i], [j], match, on_slides(match.start.transform, *boxes))

    def _apart(self, one: _Group, other: _Group) -> float:
        """Return how far two alignments differ, as a share of the pieces' joint extent."""
        boxes = [self.fixed_parts[i].slide.box for i in (*one.fixed, *other.fixed)]
        corners = np.array([[b.x, b.y] for b in boxes] + [[b.right, b.bottom] for b in boxes])
        low, high = corners.min(axis=0), corners.max(axis=0)
        points = mesh(*(np.array([a, b], np.float64) for a, b in zip(low, high, strict=True)))
        apart = np.hypot(*(one.transform(points) - other.transform(points)).T).max()
        return float(apart / np.hypot(*(high - low)))

    def _with_fragments(self, groups: list[_Group]) -> list[_Group]:
        """Give small unmatched pieces to the group whose alignment lays them on each other."""
        for i, part in enumerate(self.fixed_parts):
            for j, other in enumerate(self.moving_parts):
                free = not any(i in group.fixed or j in group.moving for group in groups)
                home = next((g for g in groups if free and self._lays(g, i, j)), None)
                if home is not None and max(part.tissue_um2, other.tissue_um2) < sum(
                    self.fixed_parts[k].tissue_um2 for k in home.fixed
                ):
                    home.fixed.append(i)
                    home.moving.append(j)
        return groups

    def _lays(self, group: _Group, i: int, j: int) -> bool:
        """Return whether a group's alignment lays two pieces on each other."""
        forth = _landed(self.fixed, i + 1, group.transform, self.moving, j + 1)
        back = _landed(self.moving, j + 1, group.transform.inverse, self.fixed, i + 1)
        return min(forth, back) >= SERVED_SHARE

    def _planned(self, number: int, group: _Group) -> PlannedPiece:
        """Return a group as one piece with the start of its largest part."""
        i, j = group.match.pair
        if len(group.fixed) == 1:
            return PlannedPiece(
                number, self.fixed_parts[i], self.moving_parts[j], group.match.start
            )
        numbers = [tuple(sorted(k + 1 for k in side)) for side in (group.fixed, group.moving)]
        fixed = piece_part(self.pair.fixed_slide, self.fixed, numbers[0])
        moving = piece_part(self.pair.moving_slide, self.moving, numbers[1])
        return PlannedPiece(number, fixed, moving, self._moved(group, fixed, moving))

    def _moved(self, group: _Group, fixed: PiecePart, moving: PiecePart) -> ProposedAlignment:
        """Return the start of a group's largest part in pixels of the joint parts."""
        i, j = group.match.pair
        start = group.match.start
        points = [
            own + corner(old.slide.box) - corner(new.slide.box)
            for own, old, new in zip(
                start.landmarks,
                (self.fixed_parts[i], self.moving_parts[j]),
                (fixed, moving),
                strict=True,
            )
        ]
        transform = between_parts(group.transform, fixed.slide.box, moving.slide.box)
        return ProposedAlignment(
            transform,
            (points[0], points[1]),
            start.mirrored,
            start.evidence,
            start.verified,
            start.reasons,
        )

    def _lone(self, planned: Sequence[PlannedPiece], matching: Matching) -> tuple[LonePiece, ...]:
        """Name the pieces without a confirmed partner."""
        taken = [{n for piece in planned for n in piece.fixed.numbers}]
        taken.append({n for piece in planned for n in piece.moving.numbers})
        lone = [
            [part for part in parts if part.numbers[0] not in own]
            for parts, own in zip((self.fixed_parts, self.moving_parts), taken, strict=True)
        ]
        levels = _other_levels(planned, matching)
        spare = [
            [part for part in parts if (side, part.numbers[0]) not in levels]
            for side, parts in enumerate(lone)
        ]
        both = bool(spare[0]) and bool(spare[1])
        names = ("IHC", "H&E") if self.pair.moving == "he" else ("H&E", "IHC")
        found = []
        for side, parts in enumerate(lone):
            for part in parts:
                level = levels.get((side, part.numbers[0]))
                note = _note(names[side], names[1 - side], level, both)
                found.append(LonePiece(side == 0, part, note, both and level is None))
        return tuple(found)


@dataclass(eq=False)
class _Group:
    """Pieces that one alignment serves, by their places in the lists of parts."""

    fixed: list[int]
    moving: list[int]
    match: Match
    """Of the largest piece."""
    transform: Projective
    """In level-0 pixels of the slides."""


def on_slides(transform: Projective, fixed: Box, moving: Box) -> Projective:
    """Return an alignment of two parts, cut at these boxes, in level-0 pixels of the slides."""
    into = Projective.translation(-fixed.x, -fixed.y)
    return Projective.translation(moving.x, moving.y).after(transform).after(into)


def between_parts(transform: Projective, fixed: Box, moving: Box) -> Projective:
    """Return an alignment of the slides in level-0 pixels of two parts, cut at these boxes."""
    out = Projective.translation(fixed.x, fixed.y)
    return Projective.translation(-moving.x, -moving.y).after(transform).after(out)


def corner(box: Box) -> Points:
    """Return ``(x, y)`` of a box's first pixel."""
    return np.array([box.x, box.y], np.float64)


def _other_levels(
    planned: Sequence[PlannedPiece], matching: Matching
) -> dict[tuple[int, int], int]:
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


def _note(own: str, other: str, level: int | None, both: bool) -> str:
    """Say what a lone piece is."""
    if level is not None:
        return f"another level of piece {level} on the {own}"
    if both:
        return f"on the {own}: no partner on the {other} could be confirmed"
    return f"only on {own}" + (" (control tissue?)" if own == "IHC" else "")


def _landed(
    source: Pieces, number: int, transform: Transform, target: Pieces, onto: int | None = None
) -> float:
    """Return the share of a piece that a map lays on tissue of the other slide, or on one piece."""
    rows, columns = np.nonzero(source.mask(number))
    every = max(1, len(rows) // PIECE_POINTS)
    pixels = np.stack([columns, rows], axis=1)[::every].astype(np.float64)
    there = target.under(transform(to_level0(pixels, source.downsample)))
    return float((there > 0).mean() if onto is None else (there == onto).mean())
