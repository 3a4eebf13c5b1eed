"""The areas that a person rejects, drawn on the slide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari import Viewer
from napari.layers import Layer

from napari_plugin.polygon import Polygon
from napari_plugin.review.layers import rejected_layer
from napari_plugin.review.model import Review
from napari_plugin.widgets import say_nothing
from registration.geometry import Points


class RejectedAreas:
    """The layer of rejected areas, where there are any or one is being drawn."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.layer: Layer | None = None
        self._polygon: Polygon | None = None

    def show(self, review: Review | None) -> None:
        """Draw the rejected areas of a review, or none."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        if review is not None and review.notes.rejected:
            self._add(review)

    def draw(self, review: Review, drawn: Callable[[Points | None], object]) -> None:
        """Let the next clicks draw a polygon; ``drawn`` takes it when it is finished.

        Fewer than three corners are none.
        """
        self.show(None)

        def ended(outline: Points | None) -> None:
            self._polygon = None
            drawn(outline)

        self._polygon = Polygon(self._add(review), ended)

    def finish(self) -> None:
        """End the polygon that is being drawn as it stands."""
        if self._polygon is not None:
            self._polygon.finish()

    def _add(self, review: Review) -> Any:
        corners, options, _ = rejected_layer(review)
        self.layer = self._viewer.add_shapes(corners or None, **options)
        say_nothing(self.layer)
        return self.layer
