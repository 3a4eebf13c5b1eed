"""Know when a dock widget is gone for good: its window closed, or the widget taken out of it."""

from __future__ import annotations

from collections.abc import Callable

from napari import Viewer
from qtpy.QtCore import QCoreApplication, QEvent, QObject
from qtpy.QtWidgets import QWidget


class Watcher(QObject):
    """Calls ``closed`` when the window is closed, the widget loses its parent, or napari quits.

    It may call it more than once. A dock that is merely hidden keeps its widget alive: a session
    goes on behind it. A window that asks "really close?" and stays open keeps it too, for only
    hiding the window ends it.
    """

    def __init__(self, widget: QWidget, viewer: Viewer, closed: Callable[[], None]) -> None:
        super().__init__(widget)
        self._widget, self._closed = widget, closed
        self._window: QWidget | None = viewer.window._qt_window
        widget.installEventFilter(self)
        self._window.installEventFilter(self)
        QCoreApplication.instance().aboutToQuit.connect(self._end)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Look at an event and let it pass."""
        kind = event.type()
        if self._window is not None and watched is self._window:
            hidden = kind == QEvent.Type.Hide and not event.spontaneous()
            never_shown = kind == QEvent.Type.Close and not self._window.isVisible()
            if hidden or never_shown:
                self._end()
        elif kind == QEvent.Type.ParentChange and self._widget.parent() is None:
            self._closed()
        return False

    def _end(self) -> None:
        """Tell it, watch no longer and let go of the window: a closed one does not come back."""
        window, self._window = self._window, None
        if window is None:
            return
        window.removeEventFilter(self)
        self._widget.removeEventFilter(self)
        QCoreApplication.instance().aboutToQuit.disconnect(self._end)
        self._closed()
