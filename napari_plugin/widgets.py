"""Small pieces of Qt that several panels use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari import Viewer
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QColor, QKeyEvent, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSlider,
    QWidget,
)

MIDDLE_GREY = 128
WIDTH_PX = 432
"""Of a dock, with which nothing in it has to be scrolled sideways."""


def button(text: str, run: Callable[[], object], tip: str = "") -> QPushButton:
    """Return a button that never takes the keyboard away from the slides."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda *_: run())
    return made


def tick(text: str, run: Callable[[bool], object], tip: str = "") -> QCheckBox:
    """Return a box to tick that never takes the keyboard away from the slides."""
    made = QCheckBox(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.toggled.connect(run)
    return made


def alarm_color(viewer: Viewer) -> QColor:
    """Return a red that can be read in the viewer's theme."""
    return QColor("#ff7a7a" if is_dark(viewer) else "#b00020")


class WarningLabel(QLabel):
    """Lines that stand out and can be read in the viewer's theme, also after that was changed."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.setWordWrap(True)
        self._color()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Take the other theme's colour."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._color()

    def _color(self) -> None:
        style = f"color: {'#ffb000' if is_dark(self._viewer) else '#8a4b00'};"
        if style != self.styleSheet():
            self.setStyleSheet(style)


def is_dark(viewer: Viewer) -> bool:
    """Return whether the viewer's theme is a dark one."""
    background = get_theme(viewer.theme).background.as_hex()
    return bool(QColor(background).lightness() < MIDDLE_GREY)


def say_nothing(layer: Any) -> None:
    """Keep a layer out of napari's status bar: its numbers are none that a person needs."""
    layer.help, layer.get_status = "", lambda *_, **__: ""


class Line(QLineEdit):
    """A line to type in, whose keys end there: Enter would accept a pair, Esc drop one."""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Take the key, also one that Qt hands on."""
        super().keyPressEvent(event)
        event.accept()


class ReadOnlyText(QPlainTextEdit):
    """Lines to read and to copy, whose keys end there, too: Delete would delete a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Take the key, also one that Qt hands on."""
        super().keyPressEvent(event)
        event.accept()


class StillComboBox(QComboBox):
    """A choice that the wheel does not change: it scrolls the panel under the mouse instead."""

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave the wheel to what is around."""
        event.ignore()


class StillSlider(QSlider):
    """A slider that the wheel does not move."""

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Leave the wheel to what is around."""
        event.ignore()


@contextmanager
def quietly(widget: QObject) -> Iterator[None]:
    """Change a widget without its signals being sent."""
    before = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(before)


class PathField(QWidget):
    """A line for a file or folder with a button to browse."""

    def __init__(self, placeholder: str, *, folder: bool = False) -> None:
        super().__init__()
        self._folder = folder
        self._placeholder = placeholder
        self.line = Line()
        self.line.setPlaceholderText(placeholder)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(button("…", self._browse, "Browse"))

    @property
    def text(self) -> str:
        """What is written in it."""
        return str(self.line.text()).strip()

    def set(self, path: Path | str) -> None:
        """Write a path into it."""
        self.line.setText(str(path))

    def _browse(self) -> None:
        if self._folder:
            chosen = QFileDialog.getExistingDirectory(self, self._placeholder, self.text)
        else:
            chosen = QFileDialog.getOpenFileName(self, self._placeholder, self.text)[0]
        if chosen:
            self.set(chosen)


def scrolled(page: QWidget) -> QScrollArea:
    """Return a page that is scrolled where it does not fit, instead of being pressed together."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(page)
    return area


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets side by side; a path takes the room that is left."""
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, int(isinstance(widget, PathField)))
    return row
