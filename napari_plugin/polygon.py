"""A polygon that a person draws on a layer of shapes, corner by corner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Shapes
from napari.layers.shapes._shapes_key_bindings import finish_drawing_shape
from qtpy.QtCore import QTimer

from napari_plugin.convert import from_napari
from registration.geometry import Points

ENDING = ("Enter", "Escape")
KEPT = ("Space",)
"""What moves the view while it is held."""


class Polygon:
    """Lets the next clicks on a layer draw a polygon, until Enter, a double click or :meth:`finish`.

    ``drawn`` takes the corners; ``None`` where there are fewer than three. napari's keys for other
    tools, which would take the polygon away, do nothing meanwhile.
    """

    def __init__(self, layer: Shapes, drawn: Callable[[Points | None], object]) -> None:
        self._layer, self._drawn = layer, drawn
        self._before = len(layer.data)
        self._keys = dict(layer.keymap)
        layer.mode = "add_polygon"
        layer.events.data.connect(self._on_data)
        for kind in type(layer).__mro__:
            for key in getattr(kind, "class_keymap", ()):
                if str(key) not in KEPT:
                    layer.bind_key(key, _nothing, overwrite=True)
        for name in ENDING:
            layer.bind_key(name, lambda _: self.finish(), overwrite=True)

    def finish(self) -> None:
        """End it as it stands; one that has ended stays as it is."""
        finish_drawing_shape(self._layer)
        self._hand_over()

    def _on_data(self, event: Any) -> None:
        if str(event.action) == "added":
            QTimer.singleShot(0, self._hand_over)  # napari is still in the middle of finishing it

    def _hand_over(self) -> None:
        """Give the corners away, once."""
        drawn, self._drawn = self._drawn, _nothing
        if drawn is _nothing:
            return
        layer = self._layer
        layer.events.data.disconnect(self._on_data)
        layer.keymap.clear()
        layer.keymap.update(self._keys)
        outlines = layer.data
        drawn(from_napari(outlines[-1]) if len(outlines) > self._before else None)


def _nothing(_: object) -> None:
    """Do nothing."""
