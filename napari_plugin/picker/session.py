"""One picking session in a napari window: the model, the canvas, and what happens between them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from napari import Viewer

from napari_plugin.jobs import Job, RunRequest, suggestion_command
from napari_plugin.levels import Source
from napari_plugin.overlay import MODES, Look, Mode, Overlay, seen, warped_tiles
from napari_plugin.picker.canvas import PairCanvas
from napari_plugin.picker.journal import Journal, PairOfSlides
from napari_plugin.picker.marks import marks_of
from napari_plugin.picker.model import Picker, tell
from napari_plugin.picker.outlines import draw_outline, show_outlines
from napari_plugin.picker.proposals import CONFIRMED, Place, Proposer, read_suggestions
from napari_plugin.picker.regions import Region, Regions
from napari_plugin.views import SIDES, STAIN, XY, Frame, Side, Views
from registration.errors import SlideError
from registration.geometry import Points
from registration.piece_map import Outlines
from registration.slides.slide import Slide, open_slide
from registration.transforms import Projective

TURN_DEG = 15.0
ZOOM_STEP = 1.25
SHARE_STEP = 0.1


@dataclass(frozen=True, slots=True)
class PairRequest:
    """What to open."""

    he: Path
    ihc: Path
    landmarks: str | None = None
    """What a user gives for ``--landmarks``; by default a file named after both slides."""
    mpp_he: float | None = None
    mpp_ihc: float | None = None
    folder: Path | None = None
    """Where that file lies by default; beside the H&E slide where nothing is said."""

    def journal(self, slides: PairOfSlides) -> Journal:
        """Return where the pairs are kept. Raises :class:`LandmarkError`."""
        if self.landmarks:
            return Journal.of_argument(self.landmarks, slides)
        return Journal.beside(self.he, self.ihc, slides, self.folder)


class Session:
    """Both slides open in a viewer, ready to pick. Raises registration errors where that fails."""

    def __init__(self, viewer: Viewer, request: PairRequest) -> None:
        if request.he.resolve() == request.ihc.resolve():
            raise SlideError(f"the H&E and the IHC slide are the same file: {request.he}")
        self.request = request
        with ExitStack() as opened:
            self.he: Slide = opened.enter_context(
                open_slide(request.he, request.mpp_he, "“µm per pixel” (--mpp-he)")
            )
            self.ihc: Slide = opened.enter_context(
                open_slide(request.ihc, request.mpp_ihc, "“µm per pixel” (--mpp-ihc)")
            )
            frames = Frame(self.he.size, self.he.mpp), Frame(self.ihc.size, self.ihc.mpp)
            journal = request.journal(PairOfSlides.of(self.he, self.ihc))
            self.picker = Picker(*frames, journal)
            origins: dict[Side, tuple[int, int]] = {"he": self.he.origin, "ihc": self.ihc.origin}
            self.regions = Regions(self.picker.journal.path, origins)
            opened.pop_all()
        self.views = Views.of(*frames)
        self.look = self._at_rest = Look()
        self.suggesting: Job | None = None
        self.listeners: list[Callable[[], None]] = []
        self.has_loupe = True
        self.canvas = PairCanvas(viewer, self.he, self.ihc)
        self._proposer = Proposer(self.he, self.ihc)
        self._place: tuple[str, Future[Place | None]] | None = None
        self._found: dict[Side, Outlines] = {}
        self._pieces: Future[dict[Side, Outlines]] | None = None
        self._threads = ThreadPoolExecutor(1, "place proposals")
        self._moved: tuple[Projective, Source] | None = None
        self._shown: Source = self.canvas.sources["ihc"]
        self._connect()

    @property
    def can_preview(self) -> bool:
        """Whether the pairs determine a transform to preview."""
        return self.picker.assessment.transform is not None

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

    def upright(self) -> None:
        """Show both slides whole, H&E as it was scanned; the IHC view goes on following, if it does."""
        frames, follows = self.picker.frames, self.views.follows
        self._show_views(replace(Views.of(frames["he"], frames["ihc"]), follows=follows))
        self.canvas.fit()

    def set_look(self, mode: Mode | None = None, share: float | None = None) -> None:
        """Change how the H&E slide is previewed over the IHC slide."""
        look = replace(
            self.look,
            mode=mode if mode is not None else self.look.mode,
            share=min(1.0, max(0.0, share if share is not None else self.look.share)),
        )
        self.look = self._seen(look)
        self._show_preview()
        self._tell()

    def _seen(self, look: Look) -> Look:
        """Return a look for what is in view now."""
        return seen(look, self.views.ihc, self.canvas.center, self.canvas.cell_width_um)

    def follow_view(self) -> None:
        """Let the edge of a swipe, or the squares, go along with the view once it has come to rest."""
        if self.look.mode not in ("swipe", "checkerboard"):
            return
        now = self._seen(self.look)
        if now == self._at_rest and now != self.look:
            self.set_look()
        self._at_rest = now

    def next_look(self) -> None:
        """Go from no preview to blend, checkerboard, swipe, and back."""
        self.set_look(MODES[(MODES.index(self.look.mode) + 1) % len(MODES)])

    def shift_look(self, step: float) -> None:
        """Move the swipe or change the blend."""
        self.set_look(share=round(self.look.share + step, 3))

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
        given, enough = self.request, self.picker.assessment.needed == 0
        return RunRequest(
            he=given.he,
            ihc=given.ihc,
            landmarks=self.picker.journal.path if enough else None,
            out=out,
            mpp_he=given.mpp_he,
            mpp_ihc=given.mpp_ihc,
            pieces=self.regions.argument,
        )

    def draw_region(self, side: Side, kind: str) -> None:
        """Let the next clicks outline a region of a slide."""

        def drawn(outline: Points) -> None:
            self.regions.add(side, Region(kind, outline))
            self.show_regions()

        draw_outline(self.canvas, side, drawn)
        self.picker.say(f"Click the corners on the {STAIN[side]} slide, then press Enter.")

    def remove_region(self, side: Side, index: int) -> None:
        """Remove an outline."""
        self.regions.remove(side, index)
        self.show_regions()

    def show_pieces(self) -> None:
        """Start looking for the pieces of tissue, as ``register`` does; they are shown as outlines."""
        if self._pieces is None:
            self._pieces = self._threads.submit(self._proposer.pieces)

    def show_regions(self) -> None:
        """Draw the outlines that a person drew, and those of pieces that were found."""
        shown: dict[Side, list[tuple[str, Points]]] = {}
        for side in SIDES:
            shown[side] = [(one.kind, one.outline) for one in self.regions.on(side)]
            shown[side] += [("found", ring) for ring in self._found.get(side, ())]
        show_outlines(self.canvas, shown)
        self._tell()

    def poll(self) -> None:
        """Take up what has arrived from other threads and processes; called a few times a second."""
        if self._place is not None and self._place[1].done():
            name, future = self._place
            self._place = None
            self._take_place(name, future.result())
            self._tell()
        self.follow_view()
        if self._pieces is not None and self._pieces.done():
            self._found, self._pieces = self._pieces.result(), None
            self.show_regions()
        if self.suggesting is not None and not self.suggesting.is_running:
            job, self.suggesting = self.suggesting, None
            self._take_suggestions(job)

    def close(self) -> None:
        """Write everything down and leave nothing behind: layers, threads, processes, open files."""
        self.picker.listeners.clear()
        self.listeners.clear()
        if self.suggesting is not None:
            self.suggesting.close(grace_s=0.5)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.picker.close()
        self.canvas.close()
        self.he.close()
        self.ihc.close()

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
        self.show_regions()
        self.canvas.fit()

    def _clicked(self, side: Side, xy: XY) -> None:
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
        self._show_views(self.views)
        self._show_preview()

    def _show_views(self, views: Views) -> None:
        self.views = views.following(self.picker.assessment.follow)
        self.canvas.show_views(self.views)
        self._tell()

    def _show_preview(self) -> None:
        """Show the overlay where one is wanted and possible, else the IHC slide alone."""
        transform = self.picker.assessment.transform
        plain = self.canvas.sources["ihc"]
        if self.look.mode == "off" or transform is None:
            source = plain
        else:
            if self._moved is None or self._moved[0] is not transform:
                self._moved = transform, warped_tiles(self.he, transform, self.ihc.size)
            source = Overlay(plain, self._moved[1], self.look)
        if source is plain and self._shown is plain:
            return
        if isinstance(source, Overlay) and isinstance(self._shown, Overlay):
            same = source.moved is self._shown.moved and source.look == self._shown.look
            if same:
                return
        self._shown = source
        self.canvas.show_source("ihc", source)

    def _tell(self) -> None:
        tell(self.listeners)
