"""The list of places that deserve a look: a click goes there, and an arrow shows what shift is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari import Viewer
from napari.layers import Layer
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_plugin.convert import center_napari
from napari_plugin.review.layers import arrow
from napari_plugin.review.model import Review
from napari_plugin.review.patches import Patch
from napari_plugin.review.places import Flag
from napari_plugin.widgets import say_nothing

FLAG_VIEW = 1.6
"""A flagged place fills the view but for this factor."""
CLOSEST_PX = 2.0
"""Screen pixels per pixel of the slide after a jump, at most: there is nothing more to see."""

FEW_LINES_PX = 76


class Flags(QListWidget):
    """What is flagged of a review; ``take_away`` removes a layer from the window."""

    def __init__(self, viewer: Viewer, take_away: Callable[[Layer | None], object]) -> None:
        super().__init__()
        self._viewer, self._take_away = viewer, take_away
        self._review: Review | None = None
        self.arrow: Layer | None = None
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWordWrap(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemClicked.connect(lambda _: self._go_there())

    def sizeHint(self) -> QSize:  # noqa: N802
        """Want a few lines, and take what is left."""
        return QSize(super().sizeHint().width(), FEW_LINES_PX)

    def show_review(self, review: Review, patches: Sequence[Patch] = ()) -> None:
        """List what is flagged, also of the patches."""
        self.clear()
        self._review = review
        flags = [*review.block_flags, *review.place_flags, *review.patch_flags(patches)]
        if not flags:
            self.addItem("nothing is flagged")
        for flag in flags:
            item = QListWidgetItem(f"{flag.kind} {flag.name}: {flag.text}".replace("place ", ""))
            item.setData(Qt.ItemDataRole.UserRole, flag)
            self.addItem(item)

    def empty(self) -> None:
        """List nothing, and point nowhere."""
        self.clear()
        self._review = None
        self._point_nowhere()

    @property
    def chosen(self) -> Flag | None:
        """The place that was clicked in the list."""
        item = self.currentItem()
        found: Flag | None = None if item is None else item.data(Qt.ItemDataRole.UserRole)
        return found

    def _go_there(self) -> None:
        """Fill the view with the chosen place."""
        flag, review = self.chosen, self._review
        if flag is None or review is None:
            return
        mpp = review.pair.fixed_slide.mpp
        camera, canvas = self._viewer.scene.camera, self._viewer.canvas
        camera.center = center_napari((flag.center[0] * mpp, flag.center[1] * mpp))
        side_um = max(flag.box.width, flag.box.height) * mpp
        camera.zoom = min(min(canvas.size) / (FLAG_VIEW * side_um), CLOSEST_PX / mpp)
        self._point_nowhere()
        if flag.shift is not None:
            self.arrow = self._viewer.add_vectors(*arrow(review, flag))
            say_nothing(self.arrow)

    def _point_nowhere(self) -> None:
        layer, self.arrow = self.arrow, None
        self._take_away(layer)
