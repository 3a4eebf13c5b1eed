"""The dock widget "Registration review": a run folder, its maps, what is flagged, and a judgement."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from napari import Viewer
from napari.layers import Layer
from qtpy.QtCore import QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_plugin.closing import Watcher
from napari_plugin.convert import position_xy
from napari_plugin.look_control import LookControl
from napari_plugin.overlay import Look, Mode
from napari_plugin.parts import load_tables_soon, load_units
from napari_plugin.review.acting import Acting
from napari_plugin.review.areas import RejectedAreas
from napari_plugin.review.before import Before
from napari_plugin.review.flags import Flags
from napari_plugin.review.layers import (
    PATCHES,
    VERDICT_COLORS,
    patch_layer,
)
from napari_plugin.review.maps import Maps
from napari_plugin.review.model import JUDGEMENTS, Review
from napari_plugin.review.slides import BothSlides
from napari_plugin.review.whole import WholeView
from napari_plugin.swipe import SwipeEdge
from napari_plugin.tone import Tone
from napari_plugin.turns import Turns
from napari_plugin.views import XY
from napari_plugin.widgets import WIDTH_PX, PathField, WarningLabel, button, row_of, scrolled
from registration.errors import RegistrationError
from registration.geometry import Points
from registration.result import Judgement

UNFINISHED = (
    "The area that was being drawn is rejected as it stood; see “Rejected” when you open the run."
)
STAIN_KEY = "N"
STAIN_TIP = "The next IHC stain that was registered to the same H&E slide, in the same place"
REST_MS = 150
BUTTONS = dict(zip(("Accept", "Reject", "Needs landmarks"), JUDGEMENTS, strict=True))


class ReviewWidget(QWidget):
    """Look at a finished registration and judge it."""

    def __init__(self, napari_viewer: Viewer, folder: Path | None = None) -> None:
        super().__init__()
        viewer = self._viewer = napari_viewer
        self.review: Review | None = None
        self.slides = BothSlides(viewer)
        self._trouble = ""
        self._before: Before | None = None
        """What the window showed before; ``None`` while the review is not shown."""
        self._own_view: tuple[list[Layer], tuple[float, ...], float] | None = None
        """Layers, centre and zoom of a review that is hidden for a while."""
        self._whole = WholeView(viewer, lambda: self._extent_um)
        self._areas = RejectedAreas(viewer)
        self.picked_here: Callable[[XY], object] | None = None
        """Takes an IHC or H&E place of the fixed slide back to the picker, where there is one."""
        self.folder = PathField("run folder of bci-pipeline register", folder=True)
        self.dataset = PathField("folder of bci-pipeline patch", folder=True)
        self.verdict, self.judged, self.message = QLabel(), QLabel(), WarningLabel(viewer)
        self.control = LookControl(with_off=False, set_look=self.set_look, set_tone=self.set_tone)
        self._edge = SwipeEdge(
            viewer,
            lambda: Look() if self.review is None or self._before is None else self.slides.look,
            lambda: float(viewer.canvas.size[1]),
            lambda share: self.set_look(share=share),
        )
        self._turns = Turns(viewer.window._qt_window)
        self._turns.add(load_units)
        load_tables_soon()
        self.maps = Maps(viewer, self._take_away)
        self.flags = Flags(viewer, self._take_away)
        self._judge_buttons = [
            button(name, partial(self.judge, judgement)) for name, judgement in BUTTONS.items()
        ]
        self.acting = Acting(
            self._act, self._typed, self._reject_flag, self._draw_area, self._pick_here
        )
        self._lay_out()
        self._closing = Watcher(self, viewer, self._end)
        viewer.bind_key(STAIN_KEY, lambda _: self.next_stain(), overwrite=True)
        self._timer = QTimer(self)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(self._follow_view)
        self._timer.start()
        self._refresh()
        if folder is not None:
            self.folder.set(folder)
            self.open(folder)

    def show_run(self, folder: Path) -> None:
        """Open a run folder that another panel names."""
        self.folder.set(folder)
        dock = self.parent()
        if isinstance(dock, QWidget):
            dock.show()
            dock.raise_()
        self.open(folder)

    def open(self, folder: Path) -> None:
        """Open a run folder; what goes wrong is said below the form."""
        self.close_review()
        before = self.message.text()
        try:
            self.review = Review.open(folder)
        except RegistrationError as error:
            self.message.setText(f"{before}\n{error}".strip())
            return
        self.message.setText(f"{before}\n{self.review.take_up_kept()}".strip())
        self._before = Before.taken_from(self._viewer)
        read = self.slides.read(self.review)
        self._whole.fit()
        self._refresh()
        for show in (
            lambda _: self.slides.show(),
            self.maps.show_review,
            self.flags.show_review,
            self._areas.show,
            self._show_record,
        ):
            self._turns.add(partial(self._while_open, self.review, show), after=read)

    @property
    def is_settled(self) -> bool:
        """Whether all layers of a review that was opened are there, and those of others gone."""
        return self._turns.are_over

    def _while_open(self, review: Review, show: Callable[[Review], object]) -> None:
        """Show something of a review, unless it was closed meanwhile."""
        if self.review is review:
            show(review)

    def _show_record(self, review: Review) -> None:
        """Show the patches that a cohort cut from this run."""
        record = review.patch_record
        if record is not None:
            self.dataset.set(record)
            self.open_patches(record)

    def next_stain(self) -> None:
        """Open the next stain of this H&E slide, looked at in the same place."""
        if self.review is None or self._before is None:
            return
        stains, own = self.review.stains, self.review.registration
        folder = stains[(stains.index(own.folder.resolve()) + 1) % len(stains)]
        if len(stains) == 1:
            self.message.setText("There is no other stain of this H&E slide beside this run.")
            return
        camera = self._viewer.scene.camera
        center, zoom = tuple(camera.center), float(camera.zoom)
        self.show_run(folder)
        if self.review is not None and self.review.registration.fixed.hash == own.fixed.hash:
            camera.center, camera.zoom = center, zoom
            self.set_look()

    def open_patches(self, dataset: Path) -> None:
        """Add the patches that a dataset has of this pair."""
        if self.review is None:
            return
        try:
            patches = self.review.patches(dataset)
        except RegistrationError as error:
            self.message.setText(str(error))
            return
        self._turns.finish()  # patches lie above the slides
        self.maps.offer(PATCHES, partial(patch_layer, self.review, patches), shown=True)
        kept = sum(patch.kept for patch in patches)
        self.message.setText(f"{len(patches)} patches, {kept} of them in the dataset.")
        self.flags.show_review(self.review, patches)

    def set_look(self, mode: Mode | None = None, share: float | None = None) -> None:
        """Change how the slides are laid over each other."""
        if self.review is None:
            return
        self.slides.set_look(mode, share)
        self._refresh()

    def set_tone(self, tone: Tone) -> None:
        """Show one stain alone, or more contrast, on both slides."""
        if self.review is None:
            return
        self.slides.set_tone(tone)
        self._refresh()

    def _follow_view(self) -> None:
        """Let edge or squares go along with a view that has come to rest; say if a slide is gone."""
        trouble = self.slides.trouble
        if trouble != self._trouble:
            self._trouble = trouble
            self.message.setText(trouble)
        if self.review is None:
            return
        if self.review.came_back():
            self.message.setText("")
            self._try(Review.write_again)
            self._refresh()
        if self._before is not None and self.slides.follow_view():
            self._refresh()

    def _take_away(self, layer: Layer | None) -> None:
        """Hide a layer, and remove it when its turn comes: that takes napari a while."""
        layers = self._viewer.layers
        if layer is not None and layer in layers:
            layer.visible, layer.name = False, "taken away"  # its name is free for the next
            self._turns.add(lambda: layer in layers and layers.remove(layer))

    def judge(self, judgement: Judgement | None) -> None:
        """Write a judgement into the run."""
        self._act(lambda review: review.judge(judgement))

    def close_review(self) -> None:
        """Take the layers away, release the slides, and show what was there before."""
        review, self.review = self.review, None
        self.message.setText("")
        if review is None:
            return
        rejected = review.notes.rejected
        self._areas.finish()
        unfinished = "" if review.notes.rejected == rejected else UNFINISHED
        with suppress(RegistrationError):  # kept, and tried again
            self.acting.take_up(review)
        self._areas.show(None)
        self.maps.clear()
        self._take_away(self.slides.let_go())
        before, self._before, self._own_view = self._before, None, None
        if before is not None:
            before.give_back(self._viewer)
        message = "\n".join(filter(None, (review.close(), unfinished)))
        self.message.setText(message)
        if message:
            logging.getLogger(__name__).warning(message)  # the terminal outlives the window
        self.flags.empty()
        self._refresh()

    def _end(self) -> None:
        """Leave the window for good."""
        self._edge.close()
        self._whole.close()
        self._viewer.bind_key(STAIN_KEY, None)
        self.close_review()

    def _act(self, change: Callable[[Review], None]) -> None:
        """Take up what was drawn and typed, change the review, and say what goes wrong."""
        if self.review is None:
            return
        self.message.setText("")
        self._areas.finish()
        self._try(self.acting.take_up)
        self._try(change)
        self._areas.show(self.review)
        self._refresh()

    def _typed(self) -> None:
        """Keep what was typed; an area that is being drawn goes on."""
        self._try(self.acting.take_up)
        self._refresh()

    def _try(self, change: Callable[[Review], None]) -> None:
        """Change the review, and say what goes wrong."""
        if self.review is not None:
            try:
                change(self.review)
            except RegistrationError as error:
                self.message.setText(str(error))

    def _reject_flag(self) -> None:
        flag = self.flags.chosen
        if flag is None:
            self.message.setText("Choose one of the flagged places first.")
        else:
            self._act(lambda review: review.reject_flag(flag))

    def _draw_area(self) -> None:
        """Let the next clicks draw a polygon that is rejected when it is finished."""
        if self.review is not None:
            self._act(lambda _: None)
            self._turns.finish()  # among it the areas that are drawn already
            self._areas.draw(self.review, partial(self._area_drawn, self.review))
            self.message.setText("Click the corners of the area, then press Enter.")

    def _area_drawn(self, review: Review, outline: Points | None) -> None:
        """Reject an area, also of a review that is closed while it is drawn."""
        name = review.new_area
        if self.review is not review:
            if outline is not None:
                with suppress(RegistrationError):  # kept, and tried again
                    review.reject_area(name, outline)
        elif outline is None:
            self._areas.show(review)
            self.message.setText("An area needs three corners: nothing was rejected.")
        else:
            self._act(lambda review: review.reject_area(name, outline))
            if review.is_saved:
                self.message.setText(f"Patches that touch {name} are left out from now on.")

    def _pick_here(self) -> None:
        if self.review is None or self.picked_here is None:
            return
        x, y = position_xy(self._viewer.scene.camera.center)
        mpp, dock = self.review.pair.fixed_slide.mpp, self.parent()
        place = self.review.he_at((x / mpp, y / mpp))
        if place is None:
            self.message.setText("This place belongs to no piece that was registered.")
            return
        if isinstance(dock, QWidget):
            dock.hide()
        self.picked_here(place)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Give the window back to the picker while this panel is hidden behind it, or by its eye."""
        super().hideEvent(event)
        before = self._before
        if self.review is None or before is None or event.spontaneous():
            return
        self._turns.finish()
        self._areas.finish()
        camera = self._viewer.scene.camera
        own = [self.slides.layer, *self.maps.layers.values(), self.flags.arrow, self._areas.layer]
        shown = [layer for layer in self._viewer.layers if layer in own and layer.visible]
        self._own_view = shown, tuple(camera.center), float(camera.zoom)
        for layer in shown:
            layer.visible = False
        self._before = None
        before.give_back(self._viewer)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Show the review again that was hidden with this panel."""
        super().showEvent(event)
        if self.review is None or self._own_view is None:
            return
        shown, center, zoom = self._own_view
        self._own_view, self._before = None, Before.taken_from(self._viewer)
        for layer in shown:
            layer.visible = True
        self._viewer.layers.selection.active = self.slides.layer
        camera = self._viewer.scene.camera
        camera.center, camera.zoom = center, zoom

    @property
    def _extent_um(self) -> tuple[float, float] | None:
        """Width and height of the slide that is shown."""
        if self.review is None or self._before is None:
            return None
        fixed = self.review.pair.fixed_slide
        return fixed.size.width * fixed.mpp, fixed.size.height * fixed.mpp

    def _refresh(self) -> None:
        """Show the state."""
        review = self.review
        self.control.show_look(self.slides.look, self.slides.tone)
        self.acting.show_review(review, self.picked_here is not None)
        for widget in (self.control, self.dataset, *self._judge_buttons):
            widget.setEnabled(review is not None)
        if review is None:
            self.verdict.setText("Open a run folder.")
            self.judged.setText("")
            return
        color = VERDICT_COLORS[review.registration.verdict]
        dot = f"<span style='color:{color}'>●</span>"  # the text stays readable in every theme
        self.verdict.setText(f"{dot} <b>{review.headline}</b>")
        saved = "" if review.is_saved else " · NOT SAVED"
        self.judged.setText(f"Your judgement: <b>{review.judgement or 'none yet'}</b>{saved}")

    def _lay_out(self) -> None:
        for label in (self.verdict, self.judged):
            label.setWordWrap(True)
        self.setMinimumWidth(WIDTH_PX)
        looking, outer = QWidget(), QVBoxLayout(self)
        layout = QVBoxLayout(looking)
        layout.setContentsMargins(0, 0, 0, 0)
        open_run = button("Open", lambda: self.open(Path(self.folder.text or ".")))
        layout.addLayout(row_of(QLabel("Run folder"), self.folder, open_run))
        layout.addWidget(self.verdict)
        layout.addWidget(self.control)
        layout.addWidget(button(f"Next stain ({STAIN_KEY})", self.next_stain, STAIN_TIP))
        layout.addWidget(self.maps)
        layout.addWidget(QLabel("Flagged: click to go there"))
        layout.addWidget(self.flags)
        show_patches = button("Show", lambda: self.open_patches(Path(self.dataset.text or ".")))
        layout.addLayout(row_of(QLabel("Patches of"), self.dataset, show_patches))
        outer.addWidget(scrolled(looking))
        outer.addWidget(self.message)
        outer.addWidget(self.acting)
        outer.addLayout(row_of(*self._judge_buttons))
        outer.addWidget(self.judged)
