"""Which pieces of a pair are registered, each from a start of its own, and which are left out.

A pair with one piece on each slide is no matter of this module's: it has one start for the whole
slide. So has a section in several parts that one alignment serves: each part must be confirmed under
it on its own. Otherwise pieces are matched; those that one alignment serves equally well are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from registration.errors import LandmarkError, StartError
from registration.geometry import Box, mesh
from registration.landmarks.landmarks import Landmarks, Moving, check_inside
from registration.pair import SlidePair
from registration.pieces.drawn import DrawnPair, DrawnPieces
from registration.pieces.find import Pieces, find_pieces
from registration.pieces.frames import between_parts, corner, landed, on_slides
from registration.pieces.match import Match, Matching, match_pieces
from registration.pieces.part import PiecePart, SlidePart, aligned, piece_part
from registration.pieces.picked import Numbers, PickedPieces, picked_pieces
from registration.pieces.planned import LonePiece, PiecePlan, PlannedPiece, note_on, other_levels
from registration.result import StartRecord
from registration.slides.slide import Slide
from registration.start.check import FEWEST_POINTS, LARGEST_OFFSET, check
from registration.start.choose import InitialAlignment, choose_alignment, faint, picked_alignment
from registration.start.propose import ProposedAlignment
from registration.start.views import piece_mpp, piece_view
from registration.tissue import TissueMap
from registration.transforms import Projective

SERVED_SHARE = 0.5
"""One alignment serves a piece when at least this share of it lands on tissue."""

SAME_START_SHARE = 0.005
"""Two alignments are one when they differ by less than this share of the pieces' joint extent."""


def choose_starts(
    pair: SlidePair,
    landmarks: Landmarks | None,
    folder: Path,
    tissue: TissueMap,
    drawn: DrawnPair | None = None,
) -> InitialAlignment | PiecePlan:
    """Return the start of the whole slide, or of each of its pieces.

    ``tissue`` is that of the fixed slide; what a person drew is always a matter of pieces. Raises
    :class:`StartError` where nothing is confirmed.
    """
    scene = _Scene(pair, tissue, drawn)
    if not scene.has_several:
        return choose_alignment(pair, landmarks, folder)
    if landmarks is not None:
        return _picked(scene, landmarks, folder)
    matching = match_pieces(scene.fixed_parts, scene.moving_parts)
    if drawn is None and scene.may_move_together(matching.matches):
        whole, refused = _whole(pair, None, folder)
        if not matching.matches and refused is not None:
            raise refused
        if whole is not None and (not matching.matches or scene.serves(whole.transform)):
            return whole
    if not matching.matches:
        found = faint(pair) or (r for m in matching.refused for r in m.start.reasons)
        reasons = "; ".join(dict.fromkeys(found))
        raise StartError(
            f"no piece could be confirmed on both slides: {reasons or 'none is alike'}"
        )
    return scene.planned(matching)


def _picked(scene: _Scene, landmarks: Landmarks, folder: Path) -> InitialAlignment | PiecePlan:
    """Return the start from picked landmarks: of the whole slide where they fit it, or of pieces.

    Pieces with four pairs or more start from these, the others are matched.
    """
    pair = scene.pair
    check_inside(landmarks, pair.he.size, pair.ihc.size)
    groups = picked_pieces(landmarks, scene.fixed, scene.moving, pair.moving)
    if landmarks.pieces is None or not groups:
        whole, refused = _whole(pair, landmarks, folder)
        if whole is not None and (not groups or scene.serves(whole.transform)):
            if scene.drawn is None:
                return whole
            if not scene.has_named:
                return scene.as_one(landmarks)
        if refused is not None and not groups:
            raise refused
    taken = [{number for pieces in groups for number in pieces[side]} for side in (0, 1)]
    free = [
        [part for part in parts if part.numbers[0] not in own]
        for parts, own in zip((scene.fixed_parts, scene.moving_parts), taken, strict=True)
    ]
    rest = match_pieces(*free)
    renumbered = replace(
        rest,
        **{
            name: tuple(scene.renumbered(match, *free) for match in getattr(rest, name))
            for name in ("matches", "others", "refused")
        },
    )
    return scene.planned(renumbered, groups)


def _whole(
    pair: SlidePair, landmarks: Landmarks | None, folder: Path
) -> tuple[InitialAlignment | None, StartError | LandmarkError | None]:
    """Return the start of the whole slide, or why there is none."""
    try:
        return choose_alignment(pair, landmarks, folder), None
    except (StartError, LandmarkError) as error:
        return None, error


@dataclass(frozen=True, eq=False)
class _Scene:
    """Both slides of a pair and the pieces on them."""

    pair: SlidePair
    tissue: TissueMap
    drawn: DrawnPair | None = None

    def _drawn_on(self, fixed: bool) -> DrawnPieces | None:
        """Return what was drawn on one of the slides."""
        if self.drawn is None:
            return None
        return self.drawn.ihc if fixed == (self.pair.moving == "he") else self.drawn.he

    @cached_property
    def fixed(self) -> Pieces:
        """The pieces of the fixed slide."""
        return find_pieces(self.tissue, self.pair.fixed_slide.mpp, self._drawn_on(fixed=True))

    @cached_property
    def moving(self) -> Pieces:
        """The pieces of the moving slide."""
        slide = self.pair.moving_slide
        return find_pieces(TissueMap.of(slide), slide.mpp, self._drawn_on(fixed=False))

    @property
    def has_several(self) -> bool:
        """Whether one of the slides shows more than one piece, and the other any."""
        if self.drawn is not None:
            return True
        return (
            min(len(self.fixed), len(self.moving)) > 0
            and max(len(self.fixed), len(self.moving)) > 1
        )

    @property
    def has_named(self) -> bool:
        """Whether a person said what the pieces are, not only what is none."""
        return bool(self.fixed.names or self.moving.names)

    def as_one(self, landmarks: Landmarks) -> PiecePlan:
        """Return all that a person did not leave out as one piece that starts from landmarks."""
        every = tuple(self.fixed.numbers), tuple(self.moving.numbers)
        return self.planned(Matching((), (), ()), {every: landmarks.active()})

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
        there, back = (self.moving, self.pair.moving_slide), (self.fixed, self.pair.fixed_slide)
        return all(
            self._holds(part, self.fixed, transform, *there) for part in self.fixed_parts
        ) and all(
            landed(self.moving, part.numbers[0], transform.inverse, self.fixed) >= SERVED_SHARE
            or self._holds(part, self.moving, transform.inverse, *back)
            for part in self.moving_parts
        )

    @staticmethod
    def _holds(
        part: PiecePart, own: Pieces, transform: Projective, other: Pieces, slide: Slide
    ) -> bool:
        """Return whether an alignment, to another slide, is confirmed on one piece alone.

        What is confirmed needs no tissue found around it there: of smears and faint stains little
        is. A piece too small to tell is taken to go with the others where it lands on tissue; the
        residual shift will tell.
        """
        corners = mesh(*(np.array([0.0, side]) for side in part.slide.size.shape[::-1]))
        there = transform(corners + corner(part.slide.box))
        low, high = np.floor(there.min(axis=0)), np.ceil(there.max(axis=0))
        box = Box(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
        box = aligned(box).clipped(slide.size)
        if min(box.size.shape) < 2:
            return False
        mpp = piece_mpp(part.tissue_um2, max(part.slide.mpp, slide.mpp))
        views = piece_view(part.slide, mpp), piece_view(SlidePart(slide, box, None), mpp)
        evidence = check(*views, between_parts(transform, part.slide.box, box), part.slide.mpp)
        lands = landed(own, part.numbers[0], transform, other) >= SERVED_SHARE
        return evidence.verified or (evidence.points < FEWEST_POINTS and lands)

    def may_move_together(self, matches: Sequence[Match]) -> bool:
        """Return whether all matches have nearly the same alignment, or there are none."""
        groups = [self._group(match) for match in matches]
        return all(self._apart(groups[0], group) <= LARGEST_OFFSET for group in groups[1:])

    @staticmethod
    def renumbered(match: Match, fixed: Sequence[PiecePart], moving: Sequence[PiecePart]) -> Match:
        """Return a match of some of the pieces by the places of these among all."""
        i, j = match.pair
        return replace(match, pair=(fixed[i].numbers[0] - 1, moving[j].numbers[0] - 1))

    def planned(self, matching: Matching, picked: PickedPieces | None = None) -> PiecePlan:
        """Join the matched pieces that move together and name those that are left out.

        Landmarks that determine no alignment leave out their own piece; raises
        :class:`LandmarkError` where that leaves none.
        """
        groups = self._with_fragments(self._joined(matching.matches))
        starts = [self._planned(group) for group in groups]
        unusable: dict[tuple[int, int], str] = {}
        for pieces, own in (picked or {}).items():
            try:
                starts.append(self._from_picks(*pieces, own))
            except LandmarkError as error:
                note = f"its landmarks {', '.join(own.names)} cannot be used: {error}"
                unusable |= {(side, n): note for side in (0, 1) for n in pieces[side]}
        if not starts:
            raise LandmarkError("; ".join(dict.fromkeys(unusable.values())))
        starts.sort(key=lambda piece: piece.fixed.numbers)
        planned = tuple(replace(piece, number=k) for k, piece in enumerate(starts, 1))
        return PiecePlan(self.fixed, self.moving, planned, self._lone(planned, matching, unusable))

    def _from_picks(self, on_fixed: Numbers, on_moving: Numbers, own: Landmarks) -> PlannedPiece:
        """Return a piece that starts from picked landmarks."""
        fixed = piece_part(self.pair.fixed_slide, self.fixed, on_fixed)
        moving = piece_part(self.pair.moving_slide, self.moving, on_moving)
        he, ihc = (moving, fixed) if self.pair.moving == "he" else (fixed, moving)
        own = replace(
            own, he=own.he - corner(he.slide.box), ihc=own.ihc - corner(ihc.slide.box), pieces=None
        )
        parts = SlidePair(he.slide, ihc.slide, self.pair.moving)
        return PlannedPiece(0, fixed, moving, picked_alignment(parts, own))

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
        """Give small unmatched pieces to the group whose alignment lays them on each other.

        It must be confirmed there, unless they are too small to tell: control tissue may lie where
        the other slide has a piece that is lost.
        """
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
        """Return whether a group's alignment lays two pieces on each other, and holds there."""
        forth = landed(self.fixed, i + 1, group.transform, self.moving, j + 1)
        back = landed(self.moving, j + 1, group.transform.inverse, self.fixed, i + 1)
        there = self.moving, self.pair.moving_slide
        return min(forth, back) >= SERVED_SHARE and self._holds(
            self.fixed_parts[i], self.fixed, group.transform, *there
        )

    def _planned(self, group: _Group) -> PlannedPiece:
        """Return a group as one piece with the start of its largest part."""
        i, j = group.match.pair
        fixed, moving = self.fixed_parts[i], self.moving_parts[j]
        start = _alignment(group.match.start, self.pair.moving)
        if len(group.fixed) == 1:
            return PlannedPiece(0, fixed, moving, start)
        numbers = [tuple(sorted(k + 1 for k in side)) for side in (group.fixed, group.moving)]
        joint = (
            piece_part(self.pair.fixed_slide, self.fixed, numbers[0]),
            piece_part(self.pair.moving_slide, self.moving, numbers[1]),
        )
        own = [corner(part.slide.box) for part in (fixed, moving)]
        new = [corner(part.slide.box) for part in joint]
        offsets = [a - b for a, b in zip(own, new, strict=True)]
        he, ihc = offsets[::-1] if self.pair.moving == "he" else offsets
        boxes = [part.slide.box for part in joint]
        return PlannedPiece(
            0,
            *joint,
            replace(
                start,
                transform=between_parts(group.transform, *boxes),
                landmarks=replace(
                    start.landmarks, he=start.landmarks.he + he, ihc=start.landmarks.ihc + ihc
                ),
            ),
        )

    def _lone(
        self,
        planned: Sequence[PlannedPiece],
        matching: Matching,
        unusable: dict[tuple[int, int], str],
    ) -> tuple[LonePiece, ...]:
        """Name the pieces without a confirmed partner; some have a note already."""
        taken = [{n for piece in planned for n in piece.fixed.numbers}]
        taken.append({n for piece in planned for n in piece.moving.numbers})
        lone = [
            [part for part in parts if part.numbers[0] not in own]
            for parts, own in zip((self.fixed_parts, self.moving_parts), taken, strict=True)
        ]
        levels = other_levels(planned, matching)
        # Another level excuses nobody: what lies in a lone piece's place may be its wrong partner.
        both = bool(lone[0]) and bool(lone[1])
        names = ("IHC", "H&E") if self.pair.moving == "he" else ("H&E", "IHC")
        found = []
        for side, parts in enumerate(lone):
            for part in parts:
                place = side, part.numbers[0]
                level = levels.get(place)
                note = unusable.get(place) or note_on(names[side], names[1 - side], level, both)
                doubt = place in unusable or (both and level is None)
                found.append(LonePiece(side == 0, part, note, doubt))
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


def _alignment(start: ProposedAlignment, moving: Moving) -> InitialAlignment:
    """Return a confirmed proposal as the start of a piece."""
    fixed, there = start.landmarks
    he, ihc = (there, fixed) if moving == "he" else (fixed, there)
    record = StartRecord("automatic", True, start.mirrored, start.reasons, start.evidence)
    return InitialAlignment(start.transform, Landmarks.of(he, ihc), record)
