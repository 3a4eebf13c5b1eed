"""Open napari with one of our widgets in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari import Viewer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_plugin.picker.request import PairRequest
from napari_plugin.picker.widget import PickerWidget

if TYPE_CHECKING:
    from napari_plugin.review.widget import ReviewWidget

WINDOW = (1500, 900)
FRAME_PX, TITLE_PX = 8, 36
"""What a window manager adds around it."""
IN_THE_WAY = ("layer controls", "layer list")
"""napari's own docks that a picker does not need; the Window menu brings them back."""


def open_picker(request: PairRequest | None) -> tuple[Viewer, PickerWidget]:
    """Return a window with the landmark picker, and with a pair of slides if one is given."""
    viewer = Viewer(title="Landmark picker", show=False)
    widget = PickerWidget(viewer, request)
    _show(viewer, widget, "Landmark picker")
    return viewer, widget


def open_review(folder: Path | None) -> tuple[Viewer, ReviewWidget]:
    """Return a window with the registration review."""
    from napari_plugin.review.widget import ReviewWidget  # a picker is shown sooner without

    viewer = Viewer(title="Registration review", show=False)
    widget = ReviewWidget(viewer)
    _show(viewer, widget, "Registration review")
    if folder is not None:
        widget.show_run(folder)
    return viewer, widget


def _show(viewer: Viewer, widget: QWidget, name: str) -> None:
    """Show a window in which all is already: what is drawn before is drawn for nothing."""
    viewer.window.add_dock_widget(widget, name=name, area="right")
    viewer.window.show()  # napari gives it the size of another time
    viewer.window.resize(*_window_size())
    for dock in viewer.window._qt_window.findChildren(QDockWidget):
        if dock.objectName() in IN_THE_WAY:
            dock.hide()


def _window_size() -> tuple[int, int]:
    """Return the size of a new window: as large as is good to work in, within the screen."""
    screen = QGuiApplication.primaryScreen().availableGeometry()
    return min(WINDOW[0], screen.width() - FRAME_PX), min(WINDOW[1], screen.height() - TITLE_PX)
