"""The areas that a person rejects, drawn on the slide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari import Viewer
from napari.layers import Layer

from napari_plugin.convert import from_napari
from napari_plugin.review.layers import rejected_layer
from napari_plugin.review.model import Review
from napari_plugin.widgets import draw_polygon, say_nothing
from registration.geometry import Points


class RejectedAreas:
    """The layer of rejected areas, where there are any or one is being drawn."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.layer: Layer | None = None

    def show(self, review: Review | None) -> None:
        """Draw the rejected areas of a review, or none."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        if review is not None and review.notes.rejected:
            self._add(review)

    def draw(self, review: Review, drawn: Callable[[Points], object]) -> None:
        """Let the next clicks draw a polygon; ``drawn`` takes it when it is finished."""
        self.show(None)
        layer = self._add(review)
        before = len(layer.data)

        def ended() -> None:
            if len(layer.data) > before:  # fewer than three corners are no area
                drawn(from_napari(layer.data[-1]))
            else:
                self.show(review)

        draw_polygon(layer, ended)

    def _add(self, review: Review) -> Any:
        corners, options, _ = rejected_layer(review)
        self.layer = self._viewer.add_shapes(corners or None, **options)
        say_nothing(self.layer)
        return self.layer
