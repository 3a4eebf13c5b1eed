"""The form that opens a pair of slides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_plugin.picker.request import PairRequest
from napari_plugin.widgets import Line, PathField, WarningLabel, button


class OpenPanel(QWidget):
    """Asks for two slides, a landmark file, and µm per pixel where the files do not tell it."""

    def __init__(self, viewer: Viewer, opened: Callable[[PairRequest], None]) -> None:
        super().__init__()
        self._opened = opened
        self.he = PathField("H&E slide")
        self.ihc = PathField("IHC slide")
        self.landmarks = PathField("a new file beside the H&E slide")
        self.mpp_he, self.mpp_ihc = Line(), Line()
        for line in (self.mpp_he, self.mpp_ihc):
            line.setPlaceholderText("from the file")
        for field, line in ((self.he, self.mpp_he), (self.ihc, self.mpp_ihc)):
            field.line.textChanged.connect(lambda _, line=line: line.clear())  # of the slide before
        self.message = WarningLabel(viewer)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        form = QFormLayout()
        form.addRow("H&&E slide", self.he)
        form.addRow("IHC slide", self.ihc)
        form.addRow("Landmarks", self.landmarks)
        form.addRow("µm per pixel, H&&E", self.mpp_he)
        form.addRow("µm per pixel, IHC", self.mpp_ihc)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(button("Open both slides", self.submit))
        layout.addWidget(self.message)
        layout.addStretch(1)
        self._fill_from_layers(viewer)

    def fill(self, request: PairRequest) -> None:
        """Show a request in the form."""
        self.he.set(request.he)
        self.ihc.set(request.ihc)
        self.landmarks.set(request.landmarks or "")
        for line, mpp in ((self.mpp_he, request.mpp_he), (self.mpp_ihc, request.mpp_ihc)):
            line.setText("" if mpp is None else f"{mpp:g}")

    def say(self, message: str) -> None:
        """Show what went wrong."""
        self.message.setText(message)

    def submit(self) -> None:
        """Open what the form says."""
        if not (self.he.text and self.ihc.text):
            self.say("Choose an H&E slide and an IHC slide.")
            return
        try:
            mpp = [_number(line.text()) for line in (self.mpp_he, self.mpp_ihc)]
        except ValueError as error:
            self.say(str(error))
            return
        self.say("")
        self._opened(
            PairRequest(
                Path(self.he.text), Path(self.ihc.text), self.landmarks.text or None, mpp[0], mpp[1]
            )
        )

    def _fill_from_layers(self, viewer: Viewer) -> None:
        """Take the slides that are open already, such as the sample pair, in their order."""
        paths = [layer.metadata.get("slide") for layer in viewer.layers]
        known = [path for path in paths if path]
        for field, path in zip((self.he, self.ihc), known, strict=False):
            field.set(path)


def _number(text: str) -> float | None:
    """Return a positive number, or ``None`` for an empty field."""
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValueError(f"µm per pixel: expected a number such as 0.25, found {text!r}.")
    return value
