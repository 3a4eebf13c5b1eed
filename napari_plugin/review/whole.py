"""The view of a slide as a whole, which stays so while the window changes, until somebody moves it."""

from __future__ import annotations

from collections.abc import Callable

from napari import Viewer

from napari_plugin.convert import center_napari

SHARE = 0.95
"""So much of the canvas the slide takes."""


class WholeView:
    """Shows a slide whole, whatever else is hidden beside it.

    ``extent_um`` tells its width and height; ``None`` while it is not shown.
    """

    def __init__(self, viewer: Viewer, extent_um: Callable[[], tuple[float, float] | None]) -> None:
        self._viewer, self._extent_um = viewer, extent_um
        self._fitted: object = None
        viewer.canvas.events.size.connect(self._fit_again)

    def fit(self) -> None:
        """Show the slide whole."""
        extent = self._extent_um()
        if extent is None:
            return
        width, height = extent
        camera, (rows, columns) = self._viewer.scene.camera, self._viewer.canvas.size
        camera.center = center_napari((width / 2, height / 2))
        camera.zoom = SHARE * min(columns / width, rows / height)
        self._fitted = self._now

    def close(self) -> None:
        """Watch the window no longer."""
        self._viewer.canvas.events.size.disconnect(self._fit_again)

    def _fit_again(self) -> None:
        if self._fitted == self._now:
            self.fit()

    @property
    def _now(self) -> tuple[tuple[float, ...], float]:
        camera = self._viewer.scene.camera
        return tuple(camera.center), float(camera.zoom)
