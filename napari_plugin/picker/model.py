"""The landmark picker without a window: picks, undo and redo, autosave, judgement of the pairs.

Everything a person can do is a method; after each of them the listeners are told. What the widget
shows is read from here, so that a test without a window sees the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from napari_plugin.kept import Patient, free, rescue
from napari_plugin.picker.assessment import ADVISED_PAIRS, Assessment, assess_pieces
from napari_plugin.picker.journal import Journal
from napari_plugin.picker.picks import Picks, RefusedError, told
from napari_plugin.picker.pieces import Found, Tissue
from napari_plugin.picker.regions import RegionFiles, Regions, outline_paths
from napari_plugin.views import STAIN, XY, Frame, Side
from registration.files.words import reason, shortened

MOST_UNDO = 500
SAME_PLACE_UM = 40.0
"""A suggestion nearer than this to a pair says nothing new."""
HEADLINES = {
    "place": "Pair {} is proposed: accept it, or click the right IHC place",
    "guess": "Pair {}: no match found, its IHC place is a guess. Click the right place",
    "pair": "Pair {} is suggested: accept it, reject it, or drag it right",
    "unconfirmed": "Pair {} is suggested but NOT CONFIRMED: look closely before you accept it",
}


@dataclass(frozen=True)
class State:
    """What a person made, as undo takes it back: pairs, and outlines."""

    picks: Picks
    regions: Regions


class Picker:
    """State of one picking session."""

    def __init__(self, he: Frame, ihc: Frame, journal: Journal) -> None:
        self.frames: dict[Side, Frame] = {"he": he, "ihc": ihc}
        self.journal = journal
        self.listeners: list[Callable[[], None]] = []
        self.message = ""
        """What the last action has to say; empty where it went as expected."""
        self._past: list[State] = []
        self._future: list[State] = []
        restored = journal.restore()
        self._files = self._region_files(journal.path)
        self._disk = Patient()
        self._now = State(restored.picks, self._files.read())
        self._found: Found = {}
        self.message = self._store() or restored.message
        self._assessment = self._assess()

    @property
    def picks(self) -> Picks:
        """The pairs as they are now."""
        return self._now.picks

    @property
    def tissue(self) -> Tissue:
        """What was drawn on the slides, and the pieces that were found on them."""
        return Tissue(self._now.regions, self._found)

    @property
    def pieces_argument(self) -> str | None:
        """What ``register --pieces`` is to be given; ``None`` where nothing was drawn."""
        return self._files.argument(self._now.regions)

    @property
    def assessment(self) -> Assessment:
        """What the pairs are worth."""
        return self._assessment

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether something was taken back."""
        return bool(self._future)

    @property
    def is_saved(self) -> bool:
        """Whether pairs and outlines are in their files."""
        return self.journal.holds(self.picks) and self._files.holds(self._now.regions)

    @property
    def saved(self) -> str:
        """By what name the pairs are saved, or that they are not, in words."""
        name = shortened(self.journal.path.name)
        return f"Saved as you click: {name}" if self.is_saved else f"NOT SAVED: {name}"

    @property
    def headline(self) -> str:
        """What to do next, in one line."""
        picks = self.picks
        current = picks.current
        if picks.half is not None:
            return f"Now the same place on the {STAIN['ihc']} slide (pair {picks.half.name})"
        if current is not None and current.proposal:
            return HEADLINES[current.proposal].format(current.name)
        if picks.waiting_place is not None:
            return HEADLINES[picks.waiting_place.proposal].format(picks.waiting_place.name)
        return told("he")

    @property
    def progress(self) -> str:
        """How many pairs there are and how many are missing."""
        found = self._assessment
        pairs = f"{found.counted} pair{'s' if found.counted != 1 else ''}"
        if found.pieces:
            return f"{pairs} · {'; '.join(found.pieces)}. The program matches other pieces itself"
        if found.needed:
            more = f"{found.needed} more pair{'s' if found.needed != 1 else ''} needed"
            return f"{pairs} · {more}" if found.counted else more
        if found.problems:
            return f"{pairs} · not ready to register: see the notes under the table"
        if found.counted < ADVISED_PAIRS:
            return f"{pairs} · enough; {ADVISED_PAIRS} or more can reveal a wrong click"
        return f"{pairs} · ready to register"

    def click(self, side: Side, xy: XY) -> bool:
        """Take a click on a slide; return whether it became a point."""
        if not self.frames[side].holds(xy):
            return self.say(f"That is beside the {STAIN[side]} slide.")
        return self._try(lambda picks: picks.picked(side, xy))

    def move(self, name: str, side: Side, xy: XY) -> bool:
        """Put a point elsewhere; a point dropped beside its slide goes back."""
        if not self.frames[side].holds(xy):
            self.say(f"That is beside the {STAIN[side]} slide; the point is where it was.")
            return False
        return self._try(lambda picks: picks.moved(name, side, xy))

    def delete(self, name: str | None = None) -> None:
        """Delete a pair, by default the selected one."""
        name = name or self.picks.selected
        if name is None:
            self.say("Select a pair first.")
        else:
            self._try(lambda picks: picks.removed(name))

    def toggle(self, name: str | None = None) -> None:
        """Take a pair out of the fit, or back in."""
        name = name or self.picks.selected
        if name is None:
            self.say("Select a pair first.")
        else:
            self._try(lambda picks: picks.toggled(name))

    def give_up_half(self) -> None:
        """Drop the point that waits for its partner, or the one whose place is only proposed."""
        open_end = self.picks.half or self.picks.waiting_place
        if open_end is not None:
            self.delete(open_end.name)
        elif self.message:
            self.say("")

    def accept(self) -> None:
        """Accept the selected proposal. Where another pair is selected, select the first proposal.

        A pair is accepted by somebody who looks at it, and not from afar.
        """
        current = self.picks.current
        waiting = self.picks.proposals
        if current is not None and current.proposal:
            name = current.name
            self._try(lambda picks: picks.accepted([name]))
        elif waiting:
            self.select(waiting[0].name)
        else:
            self.say("Nothing is proposed.")

    def accept_all(self) -> None:
        """Accept every suggested pair of an alignment that was confirmed."""
        if any(pair.proposal == "unconfirmed" for pair in self.picks.proposals):
            self.say("These suggestions are not confirmed: look at them one by one.")
            return
        names = [pair.name for pair in self.picks.proposals if pair.proposal == "pair"]
        self._try(lambda picks: picks.accepted(names))

    def reject_suggestions(self) -> None:
        """Drop every suggested pair that nobody accepted."""
        self._try(Picks.without_suggestions)

    def suggest(
        self, places: Iterable[tuple[XY, XY]], note: str, *, confirmed: bool = True
    ) -> None:
        """Add a machine's pairs ``(H&E point, IHC point)``, to accept or reject one by one.

        Places where there is a pair already are left out.
        """
        places = [one for one in places if not self._has_pair_at(one[0])]
        if not places:
            self.say("Nothing new was found: there are pairs at all places that were suggested.")
            return
        self._try(lambda picks: picks.with_suggestions(places, note, confirmed=confirmed))
        if not confirmed:
            self.say(f"{note[:1].upper()}{note[1:]}")

    def propose_place(self, name: str, xy: XY, note: str, *, matched: bool = True) -> None:
        """Add a machine's IHC place for a half picked pair; undone together with its click."""
        if any(pair.name == name and not pair.is_whole for pair in self.picks.pairs):
            picks = self.picks.with_place(name, xy, note, matched=matched)
            self._set(replace(self._now, picks=picks))

    def _has_pair_at(self, he: XY) -> bool:
        """Return whether a pair that somebody picked or accepted is at a place."""
        least = SAME_PLACE_UM / self.frames["he"].mpp
        mine = (one.he for one in self.picks.pairs if not one.proposal and one.he is not None)
        return any(math.dist(he, xy) < least for xy in mine)

    def select(self, name: str | None) -> None:
        """Select a pair; not an action to undo."""
        if name != self.picks.selected:
            self._set(replace(self._now, picks=self.picks.with_selected(name)))

    def undo(self) -> None:
        """Take the last action back."""
        if self._past:
            self._future.append(self._now)
            self._set(self._past.pop())
        else:
            self.say("Nothing to undo.")

    def redo(self) -> None:
        """Do again what was taken back."""
        if self._future:
            self._past.append(self._now)
            self._set(self._future.pop())
        else:
            self.say("Nothing to redo.")

    def draw(self, change: Callable[[Tissue], Regions]) -> bool:
        """Change what is drawn on the slides, or say why the rules forbid it."""
        try:
            regions = change(self.tissue)
        except RefusedError as refusal:
            return self.say(str(refusal))
        self._remember()
        self._set(replace(self._now, regions=regions))
        return True

    def show_found(self, found: Found) -> None:
        """Show the pieces that were found on the slides, or none; not an action to undo."""
        self._found = found
        self._assessment = self._assess()
        self._tell()

    @property
    def shows_found(self) -> bool:
        """Whether the pieces that were found are shown."""
        return bool(self._found)

    def save_as(self, journal: Journal) -> None:
        """Keep pairs and outlines in other files from now on."""
        self._store(last=True)
        self.journal, self._disk = journal, Patient()
        self._files = self._region_files(journal.path)
        self._set(self._now)

    def poll(self) -> None:
        """Write what a drive that did not answer had no room for, as soon as it does; asked often."""
        if self._disk.came_back():
            self.say(self._store())

    def close(self) -> str:
        """Write everything down; no listener is told any more.

        Returns where pairs and outlines are, in words, if they could not be written where they belong.
        """
        self.listeners.clear()
        self._store(last=True)
        if self.is_saved:
            return ""
        kinds = (self.picks.pairs, "pairs"), (self._now.regions.are_there, "outlines")
        what, path = " and ".join(name for there, name in kinds if there), self.journal.path
        found = rescue(self._copied)
        if found is None:
            return f"{path} could not be written, nor any other file: its {what} are lost."
        places = " and ".join(str(one) for one in found)
        return f"{path} could not be written: its {what} are in {places}."

    def _copied(self, folder: Path) -> list[Path]:
        """Write pairs and outlines into a folder; return the files. Raises OSError."""
        path = free(folder / self.journal.path.name, outline_paths)
        copy, files = Journal(path, slides=self.journal.slides), self._region_files(path)
        copy.store(self.picks)
        files.store(self._now.regions)
        return [one for one in (path, *files.paths.values()) if one.exists()]

    def _try(self, change: Callable[[Picks], Picks]) -> bool:
        """Make a change that can be undone, or say why the rules forbid it."""
        try:
            changed = change(self.picks)
        except RefusedError as refusal:
            return self.say(str(refusal))
        if changed == self.picks:
            return False
        self._remember()
        self._set(replace(self._now, picks=changed))
        return True

    def _remember(self) -> None:
        """Keep the present state to be taken back to."""
        self._past = [*self._past[-MOST_UNDO:], self._now]
        self._future.clear()

    def _set(self, state: State) -> None:
        """Make ``state`` the present one: judge it, store it, tell everybody."""
        before, self._now = self._now, state
        same = (before.picks.counted, before.picks.proposals) == (
            state.picks.counted,
            state.picks.proposals,
        )
        if self._found or not same or state.regions is not before.regions:
            self._assessment = self._assess()
        self.message = self._store()
        self._tell()

    def _store(self, *, last: bool = False) -> str:
        """Write what is in no file yet; return what a person must know of it, in words, or nothing."""
        if self.is_saved and not last:
            return ""
        try:
            work = partial(_write, self.journal, self._files, self._now, last)
            return self._disk.do(work, last=last)
        except OSError as error:
            return f"Not saved, {self.journal.path}: {reason(error)}. Choose another file with “Save as”."

    def _assess(self) -> Assessment:
        """Judge the pairs, those of each piece on their own where one transform does not serve all."""
        return assess_pieces(self.picks, self.frames["he"], self.frames["ihc"], self.tissue)

    def _region_files(self, landmarks: Path) -> RegionFiles:
        origins = {side: frame.origin for side, frame in self.frames.items()}
        return RegionFiles(landmarks, origins)

    def say(self, message: str) -> bool:
        """Show a message until the next action; return that nothing was done."""
        self.message = message
        self._tell()
        return False

    def _tell(self) -> None:
        tell(self.listeners)


def _write(journal: Journal, files: RegionFiles, state: State, last: bool) -> str:
    """Write what is in no file yet, and at last what is left; return what a person must know of it."""
    message = journal.store(state.picks)
    theirs = files.changed(state.regions)
    if theirs is not None:
        message = journal.step_aside(theirs)
        journal.store(state.picks)
    if files.landmarks != journal.path:
        files.move(journal.path)
    files.store(state.regions)
    if last:
        journal.close(state.picks)
    return message


def tell(listeners: Sequence[Callable[[], None]]) -> None:
    """Tell every listener, also after one that fails; its error is raised when all were told."""
    with ExitStack() as told_all:
        for listener in reversed(listeners):
            told_all.callback(listener)
