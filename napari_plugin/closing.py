"""Know when a dock widget is gone for good: its window closed, or the widget taken out of it."""

from __future__ import annotations

from collections.abc import Callable

from napari import Viewer
from qtpy.QtCore import QCoreApplication, QEvent, QObject
from qtpy.QtWidgets import QWidget


class _Watcher(QObject):
    """Calls ``closed`` when the window is closed or the widget loses its parent."""

    def __init__(self, widget: QWidget, window: QWidget, closed: Callable[[], None]) -> None:
        super().__init__(widget)
        self._widget, self._window, self._closed = widget, window, closed
        widget.installEventFilter(self)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Look at an event and let it pass."""
        kind = event.type()
        if watched is self._window:
            hidden = kind == QEvent.Type.Hide and not event.spontaneous()
            never_shown = kind == QEvent.Type.Close and not self._window.isVisible()
            if hidden or never_shown:
                self._closed()
        elif kind == QEvent.Type.ParentChange and self._widget.parent() is None:
            self._closed()
        return False


def when_closed(widget: QWidget, viewer: Viewer, closed: Callable[[], None]) -> QObject:
    """Call ``closed`` when ``widget`` is gone; may call it more than once.

    A dock that is merely hidden keeps its widget alive: a session goes on behind it. A window that
    asks "really close?" and stays open keeps it too, for only hiding the window ends it.
    """
    watcher = _Watcher(widget, viewer.window._qt_window, closed)
    application = QCoreApplication.instance()
    if application is not None:
        application.aboutToQuit.connect(closed)
    return watcher
