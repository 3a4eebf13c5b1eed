"""Small pieces of Qt that several panels use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget


def button(text: str, run: Callable[[], object], tip: str = "") -> QPushButton:
    """Return a button that never takes the keyboard away from the slides."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda *_: run())
    return made


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
        self.line = QLineEdit()
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
