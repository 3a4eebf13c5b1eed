"""What a window showed before a review took it over, to be given back."""

from __future__ import annotations

from dataclasses import dataclass

from napari import Viewer
from napari.layers import Layer


@dataclass(frozen=True)
class Before:
    """What a window showed before the review took it over."""

    visible: tuple[Layer, ...]
    grid: bool
    center: tuple[float, ...]
    zoom: float

    @classmethod
    def taken_from(cls, viewer: Viewer) -> Before:
        """Remember what is shown, and hide it."""
        visible = tuple(layer for layer in viewer.layers if layer.visible)
        camera, grid = viewer.scene.camera, viewer.canvas.grid
        before = cls(visible, grid.enabled, tuple(camera.center), float(camera.zoom))
        for layer in visible:
            layer.visible = False
        grid.enabled = False
        return before

    def give_back(self, viewer: Viewer) -> None:
        """Show it again."""
        for layer in self.visible:
            layer.visible = True
        viewer.canvas.grid.enabled = self.grid
        camera = viewer.scene.camera
        camera.center, camera.zoom = self.center, self.zoom
