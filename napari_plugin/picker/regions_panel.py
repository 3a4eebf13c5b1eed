"""Outlines on the slides: what to leave out, control tissue, pieces."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_plugin.picker.regions import KINDS, Region
from napari_plugin.picker.session import Session
from napari_plugin.picker.tools import ToolName
from napari_plugin.views import SIDES, STAIN, Side
from napari_plugin.widgets import StillComboBox, button, row_of

DRAW_TIP = "Click the corners on the slide, then press Enter"
BRUSH_TIP = "Paint over pen, folds or loose tissue on either slide; Esc ends"
FOUND_TIP = "Outline the pieces of tissue that the program finds on both slides, or hide them"
TOOLS: dict[ToolName, tuple[str, str]] = {
    "pair": ("Pair", "Say which piece of the IHC slide belongs to which of the H&E slide"),
    "join": ("Join", "Two pieces of a slide that move together"),
    "cut": ("Cut", "Cut a piece in two along a line"),
    "control": ("Control", "Control tissue, which is on one slide only"),
    "exclude": ("Leave out", "A loose piece, or one that is of no use"),
}


class RegionsPanel(QWidget):
    """Draws regions, lists them, removes them; and says of pieces what the program cannot know."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        outlining = session.outlining
        self._session = session
        self.kind, self.drawn = StillComboBox(), StillComboBox()
        self.kind.addItems(KINDS)
        self._shown: list[tuple[Side, Region]] = []
        self.pieces = button("Show pieces", outlining.show_pieces, FOUND_TIP)
        self.brush = button(
            "Brush", lambda: outlining.use_brush(self.kind.currentText()), BRUSH_TIP
        )
        self.remove = button("Remove", self._remove)
        draw = [
            button(f"Draw on {STAIN[side]}".replace("&", "&&"), partial(self._draw, side), DRAW_TIP)
            for side in SIDES
        ]
        tools = [
            button(text, partial(outlining.use_tool, name), tip)
            for name, (text, tip) in TOOLS.items()
        ]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widgets in (
            (QLabel("Region"), self.kind, self.brush),
            draw,
            tools,
            (self.pieces, self.drawn, self.remove),
        ):
            layout.addLayout(row_of(*widgets))

    def refresh(self) -> None:
        """Show what was drawn."""
        regions = self._session.picker.tissue.regions
        shown = [(side, region) for side in SIDES for region in regions.on(side)]
        if shown != self._shown:
            self._shown = shown
            self.drawn.clear()
            for side, region in shown:
                self.drawn.addItem(f"{region.kind} on {STAIN[side]}")
        self.remove.setEnabled(bool(shown))
        self.pieces.setText("Hide pieces" if self._session.picker.shows_found else "Show pieces")

    def _draw(self, side: Side) -> None:
        self._session.outlining.draw(side, self.kind.currentText())

    def _remove(self) -> None:
        if self._shown:
            self._session.outlining.remove(*self._shown[self.drawn.currentIndex()])
