"""The dock widget "Landmark picker": opens a pair of slides, then shows the panels of its session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtGui import QFont, QFontMetrics
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.closing import Watcher
from napari_plugin.parts import load_tables_soon
from napari_plugin.picker.actions import Action, Bindings, actions_of
from napari_plugin.picker.compare_panel import ComparePanel
from napari_plugin.picker.journal import Journal
from napari_plugin.picker.loupe import Loupe
from napari_plugin.picker.open_panel import OpenPanel
from napari_plugin.picker.pairs_panel import PairsPanel
from napari_plugin.picker.regions_panel import RegionsPanel
from napari_plugin.picker.request import PairRequest
from napari_plugin.picker.run_panel import RunPanel
from napari_plugin.picker.session import Session
from napari_plugin.views import XY
from napari_plugin.widgets import WIDTH_PX, WarningLabel, button, scrolled
from registration.errors import RegistrationError

if TYPE_CHECKING:
    from napari_plugin.review.widget import ReviewWidget

POLL_MS = 80


class PickerWidget(QWidget):
    """Pick landmarks on two slides, see at once whether they are good, and register."""

    def __init__(self, napari_viewer: Viewer, request: PairRequest | None = None) -> None:
        super().__init__()
        viewer = self._viewer = napari_viewer
        self.session: Session | None = None
        self.panel: SessionPanel | None = None
        self.open_panel = OpenPanel(viewer, self.open)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.open_panel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self._pages)
        self.setMinimumWidth(WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self._closing = Watcher(self, viewer, self.close_session)
        load_tables_soon()
        if request is not None:
            self.open_panel.fill(request)
            self.open(request)

    def open(self, request: PairRequest) -> None:
        """Open a pair of slides; what goes wrong is said in the form."""
        self.close_session()
        try:
            self.session = Session(self._viewer, request)
        except RegistrationError as error:
            self.open_panel.say(str(error))
            return
        self.panel = SessionPanel(self._viewer, self.session, self.close_session)
        self._pages.addWidget(self.panel)
        self._pages.setCurrentWidget(self.panel)
        self._timer.start()

    @property
    def asks_for_mpp(self) -> bool:
        """Whether the form waits for a µm per pixel that a slide does not tell."""
        return "(--mpp-" in self.open_panel.message.text()

    def close_session(self) -> None:
        """End the session, everything saved, and show the form again."""
        self._timer.stop()
        session, panel = self.session, self.panel
        self.session = self.panel = None
        if panel is not None:
            panel.close_all()
            self._pages.removeWidget(panel)
            panel.deleteLater()
        if session is not None:
            message = session.close()
            self.open_panel.say(message)
            if message:
                logging.getLogger(__name__).warning(message)  # the terminal outlives the window

    def _poll(self) -> None:
        if self.session is None or self.panel is None:
            return
        if not self.session.canvas.is_alive:
            self.close_session()
            self.open_panel.say("A layer of the slides was removed; the pairs are saved.")
            return
        self.session.poll()
        self.panel.run.poll()


class SessionPanel(QWidget):
    """Everything about one open pair of slides."""

    def __init__(self, viewer: Viewer, session: Session, close: Callable[[], None]) -> None:
        super().__init__()
        self.session = session
        self.headline, self.progress, self.message = QLabel(), QLabel(), WarningLabel(viewer)
        self.file = QLabel()
        self.pairs = PairsPanel(session)
        self.compare = ComparePanel(session)
        self.regions = RegionsPanel(session)
        self.run = RunPanel(session, self._review)
        self.loupe = Loupe(session)
        self._viewer = viewer
        self._reviewing: ReviewWidget | None = None
        actions = actions_of(session)
        self._bindings = Bindings(viewer, actions, session.canvas.layers)
        self.tabs = QTabWidget()
        self.tabs.addTab(scrolled(self._picking()), "1  Pick")
        self.tabs.addTab(scrolled(self.run), "2  Register")
        self.tabs.addTab(scrolled(_keys(actions)), "Keys")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for label in (self.headline, self.progress, self.file):
            label.setWordWrap(True)
        self.headline.setStyleSheet("font-size: 16px; font-weight: bold;")
        two_lines = 2 * QFontMetrics(QFont(self.font().family(), 13)).lineSpacing()
        self.headline.setMinimumHeight(two_lines)  # what is below does not jump when it wraps
        for widget in (self.headline, self.progress, self.message, self.tabs):
            layout.addWidget(widget)
        layout.addLayout(self._foot(close))
        session.picker.listeners.append(self.refresh)
        session.listeners.append(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the session's state."""
        picker, canvas = self.session.picker, self.session.canvas
        self.headline.setText(self.session.headline)
        for panel in (self.pairs, self.regions):
            panel.setEnabled(canvas.is_picking)
        self.compare.setEnabled(canvas.is_picking or canvas.is_whole)
        self.progress.setText(picker.progress)
        self.message.setText(self.session.message)
        self.message.setVisible(bool(self.session.message))
        self.file.setText(picker.saved)
        self.file.setToolTip(str(picker.journal.path))
        self.pairs.refresh()
        self.loupe.refresh()
        self.compare.refresh()
        self.regions.refresh()
        self.run.refresh()

    def close_all(self) -> None:
        """Take back key bindings and end what runs."""
        self._bindings.close()
        self.run.close_job()
        if self._reviewing is not None:
            self._reviewing.picked_here = None

    def _picking(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.addWidget(self.loupe)
        layout.addWidget(self.pairs, 1)
        layout.addWidget(self.compare)
        layout.addWidget(self.regions)
        return page

    def _foot(self, close: Callable[[], None]) -> QHBoxLayout:
        layout = QHBoxLayout()
        layout.addWidget(self.file, 1)
        layout.addWidget(button("Save as …", self._save_as))
        layout.addWidget(button("Close slides", close))
        return layout

    def _save_as(self) -> None:
        """Ask for another landmark file, and keep the pairs there from now on."""
        now = str(self.session.picker.journal.path)
        chosen = QFileDialog.getSaveFileName(self, "Landmark file", now, "CSV (*.csv)")[0]
        if chosen:
            picker = self.session.picker
            picker.save_as(Journal(Path(chosen), slides=picker.journal.slides))

    def _review(self, folder: Path) -> None:
        """Open a run for review, in the one review there is, as a tab beside the picker."""
        from napari_plugin.review.widget import ReviewWidget  # loaded by now, not at the start

        self.session.outlining.put_away()
        if self._reviewing is None or self._reviewing.parent() is None:
            self._reviewing = ReviewWidget(self._viewer)
            self._reviewing.picked_here = self._pick_here
            dock = self._viewer.window.add_dock_widget(
                self._reviewing, name="Registration review", area="right", tabify=True
            )
            dock.show()
            dock.raise_()
        self._reviewing.show_run(folder)

    def _pick_here(self, he: XY) -> None:
        """Go on picking where a review found something."""
        self.tabs.setCurrentIndex(0)
        self.session.show_place(he)


def _keys(actions: list[Action]) -> QWidget:
    """Return the list of keys and of what the mouse does."""
    page = QWidget()
    grid = QGridLayout(page)
    mouse = [
        ("click", "place a point: H&E first, then IHC"),
        ("drag a point", "move it"),
        ("drag elsewhere", "move both views"),
        ("wheel", "zoom both views"),
    ]
    rows = [*mouse, *((action.shown, action.text) for action in actions)]
    for row, (key, text) in enumerate(rows):
        shown = QLabel(key)
        shown.setStyleSheet("font-weight: bold;")
        grid.addWidget(shown, row, 0)
        said = QLabel(text)
        said.setWordWrap(True)
        grid.addWidget(said, row, 1)
    grid.setColumnStretch(1, 1)
    grid.setRowStretch(len(rows), 1)
    return page
