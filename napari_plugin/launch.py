"""Open napari with one of our widgets in it."""

from __future__ import annotations

from pathlib import Path

from napari import Viewer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QDockWidget

from napari_plugin.picker.session import PairRequest
from napari_plugin.picker.widget import PickerWidget
from napari_plugin.review.widget import ReviewWidget

WINDOW = (1500, 900)
FRAME_PX, TITLE_PX = 8, 36
"""What a window manager adds around it."""
IN_THE_WAY = ("layer controls", "layer list")
"""napari's own docks that a picker does not need; the Window menu brings them back."""


def open_picker(request: PairRequest | None, *, show: bool = True) -> tuple[Viewer, PickerWidget]:
    """Return a window with the landmark picker, and with a pair of slides if one is given."""
    viewer = _window("Landmark picker", show)
    widget = PickerWidget(viewer, request)
    viewer.window.add_dock_widget(widget, name="Landmark picker", area="right")
    return viewer, widget


def open_review(folder: Path | None, *, show: bool = True) -> tuple[Viewer, ReviewWidget]:
    """Return a window with the registration review."""
    viewer = _window("Registration review", show)
    widget = ReviewWidget(viewer, folder)
    viewer.window.add_dock_widget(widget, name="Registration review", area="right")
    return viewer, widget


def _hide_side_docks(viewer: Viewer) -> None:
    """Leave the room to the slides."""
    for dock in viewer.window._qt_window.findChildren(QDockWidget):
        if dock.objectName() in IN_THE_WAY:
            dock.hide()


def _window_size() -> tuple[int, int]:
    """Return the size of a new window: as large as is good to work in, within the screen."""
    screen = QGuiApplication.primaryScreen().availableGeometry()
    return min(WINDOW[0], screen.width() - FRAME_PX), min(WINDOW[1], screen.height() - TITLE_PX)


def _window(title: str, show: bool) -> Viewer:
    viewer = Viewer(title=title, show=show)
    viewer.window.resize(*_window_size())
    _hide_side_docks(viewer)
    return viewer
