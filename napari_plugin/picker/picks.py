"""Pairs of picked points as immutable values, and the rules of picking them. No window needed.

Pairing is strict: a point on the H&E slide, then its partner on the IHC slide, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from napari_plugin.views import STAIN, XY, Side
from registration.landmarks.landmarks import Landmarks

Proposal = Literal["", "place", "guess", "pair", "unconfirmed"]
"""What a machine proposed and nobody accepted: nothing; the IHC place of a picked point, as the images
show it or only as other pairs predict it; a whole pair, of an alignment that was confirmed or not."""
SUGGESTED = ("pair", "unconfirmed")


class RefusedError(Exception):
    """An action that the rules do not allow now; the message tells the user what to do instead."""


@dataclass(frozen=True, slots=True)
class PickedPair:
    """One pair, whole or half picked."""

    name: str
    he: XY | None
    ihc: XY | None
    enabled: bool = True
    proposal: Proposal = ""
    note: str = ""
    """What is to be said of a proposal."""
    piece: str = ""
    """The piece of tissue that the pair lies on, where its file says so."""

    @property
    def is_whole(self) -> bool:
        """Whether both points are there."""
        return self.he is not None and self.ihc is not None

    @property
    def counts(self) -> bool:
        """Whether the pair takes part in every fit."""
        return self.is_whole and self.enabled and not self.proposal

    def at(self, side: Side) -> XY | None:
        """Return the point on one slide."""
        return self.he if side == "he" else self.ihc

    def placed(self, side: Side, xy: XY) -> PickedPair:
        """Return the pair with its point on one slide at ``xy``."""
        return replace(self, he=xy) if side == "he" else replace(self, ihc=xy)


@dataclass(frozen=True, slots=True)
class Picks:
    """All pairs, in the order of picking; at most one of them is half picked."""

    pairs: tuple[PickedPair, ...] = ()
    selected: str | None = None

    @classmethod
    def of(cls, landmarks: Landmarks) -> Picks:
        """Return the pairs of a landmark file."""
        pieces = landmarks.pieces or ("",) * len(landmarks)
        rows = zip(
            *(landmarks.names, landmarks.he, landmarks.ihc, landmarks.enabled, pieces), strict=True
        )
        pairs = (
            PickedPair(name, _xy(he), _xy(ihc), bool(enabled), piece=piece)
            for name, he, ihc, enabled, piece in rows
        )
        return cls(tuple(pairs))

    def landmarks(self) -> Landmarks:
        """Return the whole pairs that a person picked or accepted, disabled ones included."""
        whole = [pair for pair in self.pairs if pair.is_whole and not pair.proposal]
        landmarks = Landmarks.of(
            np.array([pair.he for pair in whole], np.float64),
            np.array([pair.ihc for pair in whole], np.float64),
            [pair.name for pair in whole],
        )
        pieces = tuple(pair.piece for pair in whole)
        enabled = np.array([pair.enabled for pair in whole], bool)
        return replace(landmarks, enabled=enabled, pieces=pieces if any(pieces) else None)

    @property
    def counted(self) -> tuple[PickedPair, ...]:
        """The pairs that take part in fits."""
        return tuple(pair for pair in self.pairs if pair.counts)

    @property
    def proposals(self) -> tuple[PickedPair, ...]:
        """The pairs that wait for a yes or no."""
        return tuple(pair for pair in self.pairs if pair.proposal)

    @property
    def half(self) -> PickedPair | None:
        """The pair that waits for its second point."""
        return next((pair for pair in self.pairs if not pair.is_whole), None)

    @property
    def expected(self) -> Side:
        """The slide on which the next point belongs."""
        return "he" if self.half is None else "ihc"

    @property
    def waiting_place(self) -> PickedPair | None:
        """The pair whose IHC place a machine proposed and nobody answered."""
        return next((pair for pair in self.pairs if pair.proposal in ("place", "guess")), None)

    @property
    def current(self) -> PickedPair | None:
        """The selected pair."""
        return next((pair for pair in self.pairs if pair.name == self.selected), None)

    def pair(self, name: str) -> PickedPair:
        """Return a pair. Raises :class:`KeyError`."""
        for pair in self.pairs:
            if pair.name == name:
                return pair
        raise KeyError(name)

    def new_names(self, count: int) -> list[str]:
        """Return numbers that no pair has yet, after the highest one in use."""
        used = [int(pair.name) for pair in self.pairs if pair.name.isdecimal()]
        first = max(used, default=0) + 1
        return [str(first + index) for index in range(count)]

    def picked(self, side: Side, xy: XY) -> Picks:
        """Return the picks after a click. Raises :class:`RefusedError` where the pairing forbids it."""
        half, current = self.half, self.current
        if half is not None:
            if side == "he":
                raise RefusedError(
                    f"Pair {half.name} still needs its point on the IHC slide: click there, or press Esc."
                )
            return self._with(half.placed("ihc", xy))
        waiting = self.waiting_place
        if side == "he" and waiting is not None:
            raise RefusedError(
                f"Pair {waiting.name} waits for its IHC place: "
                f"{'' if waiting.proposal == 'guess' else 'press Enter to accept it, '}"
                "click the right place, or press Esc to drop it."
            )
        if side == "ihc":
            current = waiting if waiting is not None else current
            if current is None or not current.proposal:
                raise RefusedError(
                    "Click on the H&E slide first, then on the same place of the IHC slide."
                )
            return self._with(replace(current.placed("ihc", xy), proposal="", note=""))
        name = self.new_names(1)[0]
        return Picks((*self.pairs, PickedPair(name, xy, None)), name)

    def moved(self, name: str, side: Side, xy: XY) -> Picks:
        """Return the picks with one point elsewhere; putting a proposed place right accepts it."""
        pair = self.pair(name).placed(side, xy)
        if pair.proposal in ("place", "guess") and side == "ihc":
            pair = replace(pair, proposal="", note="")
        return self._with(pair)

    def toggled(self, name: str) -> Picks:
        """Return the picks with a pair taken out of, or back into, every fit."""
        pair = self.pair(name)
        return self._with(replace(pair, enabled=not pair.enabled))

    def removed(self, name: str) -> Picks:
        """Return the picks without a pair; the one after it (or before, at the end) is selected.

        After a rejected proposal that is the next proposal, as long as there is one.
        """
        names = [pair.name for pair in self.pairs]
        index = names.index(name)
        rest = self.pairs[:index] + self.pairs[index + 1 :]
        neighbour = rest[min(index, len(rest) - 1)].name if rest else None
        if self.pairs[index].proposal in SUGGESTED:
            following = (*rest[index:], *rest[:index])
            neighbour = next((pair.name for pair in following if pair.proposal), neighbour)
        return Picks(rest, neighbour)

    def with_place(self, name: str, xy: XY, note: str, *, matched: bool = True) -> Picks:
        """Return the picks with a machine's proposal for the IHC place of a half picked pair."""
        pair = self.pair(name)
        if pair.is_whole:
            return self
        kind: Proposal = "place" if matched else "guess"
        return self._with(replace(pair, ihc=xy, proposal=kind, note=note))

    def with_suggestions(
        self, places: Iterable[tuple[XY, XY]], note: str, *, confirmed: bool = True
    ) -> Picks:
        """Return the picks with a machine's pairs instead of those it suggested before."""
        kept = self.without_suggestions().with_selected(self.selected)
        places = list(places)
        named = zip(kept.new_names(len(places)), places, strict=True)
        kind: Proposal = "pair" if confirmed else "unconfirmed"
        fresh = [PickedPair(name, he, ihc, True, kind, note) for name, (he, ihc) in named]
        selected = fresh[0].name if fresh else kept.selected
        return Picks((*kept.pairs, *fresh), selected)

    def accepted(self, names: Iterable[str]) -> Picks:
        """Return the picks with proposals turned into pairs; the next proposal is selected.

        A guess stays one: nobody has seen its place. Raises :class:`RefusedError` for it alone.
        """
        wanted = set(names)
        guesses = [p for p in self.pairs if p.name in wanted and p.proposal == "guess"]
        if guesses and len(wanted) == len(guesses):
            raise RefusedError(
                f"The IHC place of pair {guesses[0].name} is only a guess, since the images show no "
                "match: click or drag it to the right place, or press Esc to drop the pair."
            )
        pairs = tuple(
            replace(pair, proposal="", note="")
            if pair.name in wanted and pair.proposal != "guess"
            else pair
            for pair in self.pairs
        )
        waiting = [pair.name for pair in pairs if pair.proposal]
        return Picks(pairs, waiting[0] if waiting else self.selected)

    def without_suggestions(self) -> Picks:
        """Return the picks without the machine's pairs that nobody accepted."""
        kept = tuple(pair for pair in self.pairs if pair.proposal not in SUGGESTED)
        return Picks(kept, kept[-1].name if kept else None)

    def with_selected(self, name: str | None) -> Picks:
        """Return the picks with another pair selected."""
        return replace(self, selected=name)

    def neighbour(self, step: int) -> str | None:
        """Return the pair ``step`` places after the selected one, round and round."""
        names = [pair.name for pair in self.pairs]
        if not names:
            return None
        if self.selected not in names:
            return names[0 if step > 0 else -1]
        return names[(names.index(self.selected) + step) % len(names)]

    def _with(self, changed: PickedPair) -> Picks:
        """Return the picks with one pair replaced, and selected."""
        pairs = tuple(changed if pair.name == changed.name else pair for pair in self.pairs)
        return Picks(pairs, changed.name)


def told(side: Side) -> str:
    """Return what to do next, in words."""
    return f"Click a point on the {STAIN[side]} slide"


def _xy(point: np.ndarray) -> XY:
    return float(point[0]), float(point[1])
