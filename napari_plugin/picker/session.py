"""One picking session in a napari window: the model, the canvas, and what happens between them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from napari import Viewer

from napari_plugin.jobs import Job, RunRequest, suggestion_command
from napari_plugin.levels import WHAT_NOW
from napari_plugin.parts import load_later
from napari_plugin.picker.canvas import PairCanvas
from napari_plugin.picker.journal import PairOfSlides
from napari_plugin.picker.marks import marks_of
from napari_plugin.picker.model import Picker, tell
from napari_plugin.picker.outlining import Outlining
from napari_plugin.picker.preview import Preview
from napari_plugin.picker.proposals import CONFIRMED, Place, Proposer, read_suggestions
from napari_plugin.picker.request import PairRequest
from napari_plugin.views import XY, Frame, Side, Views
from registration.errors import SlideError

PAUSED = "The slides are hidden, so nothing is picked. Close the review, or show both slides again."
PREVIEWING = "Preview: X shows both slides side by side, V the next kind, or none"
UNFINISHED = "What was being drawn is kept as it stood; look at it when you open the slides again."
TURN_DEG = 15.0
ZOOM_STEP = 1.25
SHARE_STEP = 0.1


class Session:
    """Both slides open in a viewer, ready to pick. Raises registration errors where that fails."""

    def __init__(self, viewer: Viewer, request: PairRequest) -> None:
        self.request = request
        self.he, self.ihc = request.slides
        he, ihc = (Frame(one.size, one.mpp, one.origin) for one in request.slides)
        with ExitStack() as opened:
            for slide in request.slides:
                opened.enter_context(slide)
            journal = request.journal(PairOfSlides.of(self.he, self.ihc))
            self.picker = Picker(he, ihc, journal)
            odd = (*self.he.warnings, *self.ihc.warnings)
            self.picker.message = "\n".join(filter(None, (*odd, self.picker.message)))
            opened.pop_all()
        self.views = Views.of(he, ihc)
        self.suggesting: Job | None = None
        self.listeners: list[Callable[[], None]] = []
        self.has_loupe = True
        self._trouble = ""
        self.canvas = PairCanvas(viewer, self.he, self.ihc)
        self._proposer = Proposer(self.he, self.ihc)
        self._place: tuple[str, Future[Place | None]] | None = None
        self._threads = ThreadPoolExecutor(1, "place proposals")
        self.preview = Preview(self.picker, self.canvas, self.he, self._tell)
        self.outlining = Outlining(
            self.picker, self.canvas, lambda: self._threads.submit(self._proposer.pieces)
        )
        self._connect()
        self._threads.submit(load_later)

    @property
    def is_working(self) -> bool:
        """Whether a proposal or suggestions are on their way."""
        return self._place is not None or self.suggesting is not None

    def go_to(self, name: str | None = None) -> None:
        """Select a pair and show it in the middle of both views."""
        name = name or self.picker.picks.selected
        if name is None:
            return
        self.picker.select(name)
        pair = self.picker.picks.pair(name)
        if pair.he is None:
            return
        if pair.ihc is not None and not self._follows_now:
            self._show_views(self.views.brought_together(pair.he, pair.ihc))
        x, y = self.views.he([pair.he])[0].tolist()
        self.canvas.look_at((x, y))

    def show_place(self, he: XY) -> None:
        """Show a place of the H&E slide in the middle, ready for a click there."""
        self.picker.select(None)
        x, y = self.views.he([he])[0].tolist()
        self.canvas.look_at((x, y))
        self.picker.say("This is the place: click it on the H&E slide, then on the IHC slide.")

    def step(self, step: int) -> None:
        """Go to the next pair (1) or the one before (-1)."""
        self.go_to(self.picker.picks.neighbour(step))

    def while_picking(self, run: Callable[[], object]) -> None:
        """Do something, unless the slides are hidden, behind a review for instance."""
        if self.canvas.is_picking:
            run()

    def while_shown(self, run: Callable[[], object]) -> None:
        """Do something, also while one slide, with the other over it, has the whole window."""
        if self.canvas.is_picking or self.canvas.is_whole:
            run()

    @property
    def headline(self) -> str:
        """What to do next, in one line."""
        if self.outlining.prompt:
            return self.outlining.prompt
        if self.canvas.is_whole:
            return PREVIEWING
        return self.picker.headline if self.canvas.is_picking else PAUSED

    def escape(self) -> None:
        """Put the tool away, or else drop what is half picked."""
        if self.outlining.put_away():
            self.picker.say("")
        else:
            self.picker.give_up_half()

    def accept(self) -> None:
        """Accept the selected proposal, and go to the next one."""
        self.picker.accept()
        self._go_to_proposal()

    def delete(self) -> None:
        """Delete the selected pair; after a rejected proposal, go to the next one."""
        current = self.picker.picks.current
        self.picker.delete()
        if current is not None and current.proposal:
            self._go_to_proposal()

    def match_here(self) -> None:
        """Move the IHC point of the selected pair to where the images match it best."""
        pair, follow = self.picker.picks.current, self.picker.assessment.follow
        if pair is None or pair.he is None:
            self.picker.say("Select a pair first.")
        elif follow is None:
            self.picker.say("Matching needs three pairs that tell how the slides lie.")
        elif self._place is None:
            found = self._threads.submit(self._proposer.place, follow, pair.he, pair.ihc)
            self._place = pair.name, found
            self._tell()

    def toggle_marks(self) -> None:
        """Hide all marks, to see what lies under them, or show them again."""
        self.canvas.set_marks_shown(not self.canvas.shows_marks)

    def toggle_loupe(self) -> None:
        """Show the loupe, or not."""
        self.has_loupe = not self.has_loupe
        self._tell()

    def fit(self) -> None:
        """Show both slides whole, turned as they are."""
        self.canvas.fit()

    def _go_to_proposal(self) -> None:
        current = self.picker.picks.current
        if current is not None and current.proposal:
            self.go_to(current.name)

    def turn(self, side: Side, degrees: float) -> None:
        """Turn one view clockwise about the middle of its cell."""
        self._show_views(self.views.turned(side, degrees, self.canvas.center))

    def flip(self, side: Side) -> None:
        """Mirror one view about the middle of its cell."""
        self._show_views(self.views.flipped(side, self.canvas.center))

    def zoom(self, side: Side, factor: float) -> None:
        """Enlarge one view about the middle of its cell."""
        self._show_views(self.views.zoomed(side, factor, self.canvas.center))

    def set_following(self, follows: bool) -> None:
        """Let the IHC view follow the H&E view, or go its own way from where it is."""
        self._show_views(replace(self.views, follows=follows))

    def toggle_following(self) -> None:
        """Let the IHC view follow, or not."""
        self.set_following(not self.views.follows)

    def upright(self) -> None:
        """Show both slides whole, H&E as it was scanned; the IHC view goes on following, if it does."""
        frames, follows = self.picker.frames, self.views.follows
        self._show_views(replace(Views.of(frames["he"], frames["ihc"]), follows=follows))
        self.canvas.fit()

    def suggest(self) -> None:
        """Start looking for pairs automatically, in a process of its own."""
        if self.suggesting is None:
            given = self.request
            self.suggesting = Job(
                suggestion_command(given.he, given.ihc, given.mpp_he, given.mpp_ihc)
            )
            self._tell()

    def run_request(self, out: Path) -> RunRequest:
        """Return the registration with the present pairs; without enough, an automatic one."""
        given, enough = self.request, self.picker.assessment.has_enough
        return RunRequest(
            he=given.he,
            ihc=given.ihc,
            landmarks=self.picker.journal.path if enough else None,
            out=out,
            mpp_he=given.mpp_he,
            mpp_ihc=given.mpp_ihc,
            pieces=self.picker.pieces_argument,
        )

    def poll(self) -> None:
        """Take up what has arrived from other threads and processes; called a few times a second."""
        self.picker.poll()
        try:
            self._take_up()
        except SlideError as error:
            self.picker.say(f"{error}. {WHAT_NOW}")
        trouble = self.canvas.trouble
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell()

    @property
    def message(self) -> str:
        """What the last action has to say, and as long as it lasts that a slide is gone."""
        both = dict.fromkeys((self.picker.message, self._trouble))
        return "\n".join(filter(None, both))

    def _take_up(self) -> None:
        """Take up what has arrived. Raises :class:`SlideError` where a slide is gone."""
        if self._place is not None and self._place[1].done():
            name, future = self._place
            self._place = None
            self._take_place(name, future.result())
            self._tell()
        self.preview.follow_view()
        self.outlining.poll()
        if self.suggesting is not None and not self.suggesting.is_running:
            job, self.suggesting = self.suggesting, None
            self._take_suggestions(job)

    def close(self) -> str:
        """Write everything down and leave nothing behind: layers, threads, processes, open files.

        Returns what a person must know of it, in words, or nothing.
        """
        self.picker.listeners.clear()
        self.listeners.clear()
        if self.suggesting is not None:
            self.suggesting.close(grace_s=0.5)
        self._threads.shutdown(wait=True, cancel_futures=True)
        before = self.picker.tissue.regions
        self.outlining.put_away()
        unfinished = "" if self.picker.tissue.regions is before else UNFINISHED
        message = "\n".join(filter(None, (self.picker.close(), unfinished)))
        self.preview.close()
        self.canvas.close()
        self.he.close()
        self.ihc.close()
        return message

    @property
    def _follows_now(self) -> bool:
        return self.views.follows and self.picker.assessment.follow is not None

    def _connect(self) -> None:
        """Wire canvas and model, and show the state that was restored."""
        self.canvas.clicked = self._clicked
        self.canvas.dropped = self.picker.move
        self.canvas.touched = self._touched
        self.canvas.changed = self._tell
        self.picker.listeners.append(self._refresh)
        self._refresh()
        self.canvas.fit()

    def _clicked(self, side: Side, xy: XY) -> None:
        if self.outlining.clicked(side, xy):
            return
        if not self.picker.click(side, xy):
            return
        half, follow = self.picker.picks.half, self.picker.assessment.follow
        if half is not None and half.he is not None and follow is not None:
            self._place = half.name, self._threads.submit(self._proposer.place, follow, half.he)

    def _take_place(self, name: str, place: Place | None) -> None:
        """Propose the IHC place that was found for a pair, or move its point there."""
        picker = self.picker
        pair = next((one for one in picker.picks.pairs if one.name == name), None)
        if pair is None:
            return
        if place is None or not picker.frames["ihc"].holds(place.xy):
            if not pair.is_whole:
                picker.say("No tissue there: click the same place on the IHC slide, or press Esc.")
        elif not pair.is_whole:
            picker.propose_place(name, place.xy, place.note, matched=place.matched)
        elif place.matched:
            picker.move(name, "ihc", place.xy)
        else:
            picker.say("The images show no clear match here; the point stays where it is.")

    def _touched(self, name: str, side: Side, xy: XY) -> None:
        """Select the point that was clicked on, unless an IHC place was asked for: that is meant."""
        picks = self.picker.picks
        if self.outlining.clicked(side, xy):
            return
        if side == "ihc" and picks.half is None and picks.pair(name).proposal in ("place", "guess"):
            self.picker.select(name)
        elif side != "ihc" or picks.half is None:
            self.picker.select(name)
            return
        self._clicked(side, xy)

    def _take_suggestions(self, job: Job) -> None:
        job.news()
        if job.exit_code == 0:
            places, note = read_suggestions(job.output)
            self.picker.suggest(places, note, confirmed=note == CONFIRMED)
            self._go_to_proposal()
        elif not job.was_cancelled:
            self.picker.message = "\n".join(job.said) or "The search for pairs ended unexpectedly."
        self._tell()

    def _refresh(self) -> None:
        """Show the model's state."""
        if not self.canvas.is_alive:
            return
        self.canvas.show_marks(marks_of(self.picker.picks, self.picker.assessment))
        self.outlining.refresh()
        self._show_views(self.views)
        self.preview.refresh()

    def _show_views(self, views: Views) -> None:
        self.views = views.following(self.picker.assessment.follow)
        self.canvas.show_views(self.views)
        self._tell()

    def _tell(self) -> None:
        tell(self.listeners)
