"""Outlines on the slides: what to leave out, control tissue, pieces."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_plugin.picker.regions import KINDS
from napari_plugin.picker.session import Session
from napari_plugin.views import SIDES, STAIN, Side
from napari_plugin.widgets import StillComboBox, button

DRAW_TIP = "Click the corners on the slide, then press Enter"
FOUND_TIP = "Outline the pieces of tissue that the program finds on both slides"


class RegionsPanel(QWidget):
    """Draws regions, lists them, removes them."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.kind, self.drawn = StillComboBox(), StillComboBox()
        self.kind.addItems(KINDS)
        self._places: list[tuple[Side, int]] = []
        draw = [
            button(f"Draw on {STAIN[side]}".replace("&", "&&"), partial(self._draw, side), DRAW_TIP)
            for side in SIDES
        ]
        self.remove = button("Remove", self._remove)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for column, widget in enumerate((QLabel("Region"), self.kind, *draw)):
            grid.addWidget(widget, 0, column)
        grid.addWidget(button("Show pieces", session.show_pieces, FOUND_TIP), 1, 0)
        grid.addWidget(self.drawn, 1, 1, 1, 2)
        grid.addWidget(self.remove, 1, 3)

    def refresh(self) -> None:
        """Show what was drawn."""
        regions = self._session.regions
        found = [(side, index) for side in SIDES for index in range(len(regions.on(side)))]
        if found != self._places:
            self._places = found
            self.drawn.clear()
            for side, index in found:
                self.drawn.addItem(f"{regions.on(side)[index].kind} on {STAIN[side]}")
        self.remove.setEnabled(bool(found))

    def _draw(self, side: Side) -> None:
        self._session.draw_region(side, self.kind.currentText())

    def _remove(self) -> None:
        if self._places:
            self._session.remove_region(*self._places[self.drawn.currentIndex()])
