"""The maps of a review: a box to tick for each, its layer made when it is first ticked, its legend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from napari import Viewer
from napari.layers import Image, Layer
from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_plugin.review.layers import LEGENDS, MAPS, SHOWN_FIRST, LayerTuple
from napari_plugin.review.model import Review
from napari_plugin.widgets import say_nothing, tick

MakeLayer = Callable[[], LayerTuple]


class Maps(QWidget):
    """Boxes and legends, and the layers that belong to them."""

    def __init__(self, viewer: Viewer, take_away: Callable[[Layer | None], object]) -> None:
        """``take_away`` removes a layer from the window."""
        super().__init__()
        self._viewer, self._take_away = viewer, take_away
        self.boxes: dict[str, QCheckBox] = {}
        self.layers: dict[str, Layer] = {}
        """Those that were made."""
        self._legends: dict[str, QLabel] = {}
        self._rows, self._notes = QVBoxLayout(), QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._rows)
        layout.addLayout(self._notes)

    def show_review(self, review: Review) -> None:
        """Offer the maps of a review."""
        for name, make in MAPS.items():
            self.offer(name, partial(make, review), shown=name == SHOWN_FIRST)

    def offer(self, name: str, make: MakeLayer, *, shown: bool = False) -> None:
        """Offer a map, instead of an earlier one of the same name."""
        self._take_back(name)
        box = self.boxes[name] = tick(name, partial(self._toggled, name, make))
        self._rows.addWidget(box)
        if name in LEGENDS:
            legend = self._legends[name] = QLabel(f"{name}: {LEGENDS[name]}")
            legend.setWordWrap(True)
            legend.hide()
            self._notes.addWidget(legend)
        box.setChecked(shown)

    def clear(self) -> None:
        """Offer nothing, and take all layers away."""
        for name in list(self.boxes):
            self._take_back(name)

    def _toggled(self, name: str, make: MakeLayer, shown: bool) -> None:
        if shown and name not in self.layers:
            values, options, kind = make()
            layer = getattr(self._viewer, f"add_{kind}")(values, **options)
            say_nothing(layer)
            self.layers[name] = layer
            layers = self._viewer.layers
            if isinstance(layer, Image):  # below all dots and outlines
                layer.colorbar.visible = True
                places = [layers.index(one) for one in self.layers.values()]
                layers.move(layers.index(layer), min(places))
        layer = self.layers.get(name)
        if layer is not None and layer in self._viewer.layers:
            layer.visible = shown
        if name in self._legends:
            self._legends[name].setVisible(shown)

    def _take_back(self, name: str) -> None:
        self._take_away(self.layers.pop(name, None))
        for widgets in (self.boxes, self._legends):
            widget = widgets.pop(name, None)
            if widget is not None:
                widget.setParent(None)
                widget.deleteLater()
