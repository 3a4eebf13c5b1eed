"""The edge of a swipe, to be dragged in the image, wherever both slides are laid over each other."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari import Viewer

from napari_plugin.overlay import Look

GRAB_PX = 10
"""A press this close to the edge, in pixels of the screen, takes it."""


class SwipeEdge:
    """Takes a press on the edge and says to which share it was dragged.

    ``look`` tells what is shown, ``width_px`` the width of the part of the canvas that shows it.
    """

    def __init__(
        self,
        viewer: Viewer,
        look: Callable[[], Look],
        width_px: Callable[[], float],
        moved: Callable[[float], object],
    ) -> None:
        self._viewer, self._look, self._width_px, self._moved = viewer, look, width_px, moved
        viewer.mouse_drag_callbacks.append(self._on_press)

    def close(self) -> None:
        """Take no press any more."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def is_under(self, event: Any) -> bool:
        """Return whether a press is on the edge."""
        look = self._look()
        width = self._width_px()
        return look.mode == "swipe" and abs(self._share(event) - look.share) * width <= GRAB_PX

    def _on_press(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or event.modifiers or not self.is_under(event):
            return
        camera = viewer.scene.camera
        camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                self._moved(min(1.0, max(0.0, self._share(event))))
                yield
        finally:
            camera.mouse_pan = True

    def _share(self, event: Any) -> float:
        """Return how far across its part of the canvas the mouse is, from 0 to 1."""
        camera = self._viewer.scene.camera
        across = (event.position[-1] - camera.center[-1]) * camera.zoom
        return float(0.5 + across / self._width_px())
