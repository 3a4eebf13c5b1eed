"""The dock widget "Registration review": a run folder, its maps, what is flagged, and a judgement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from napari import Viewer
from napari.layers import Image, Layer
from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.closing import Watcher
from napari_plugin.convert import center_napari
from napari_plugin.levels import pyramid
from napari_plugin.look_control import SHARE_STEPS, LookControl
from napari_plugin.overlay import Look, Mode, Overlay
from napari_plugin.review.layers import (
    FIRST_LOOK,
    LEGENDS,
    arrow,
    image_layer,
    map_layers,
    patch_layer,
)
from napari_plugin.review.model import JUDGEMENTS, Flag, Judgement, Review
from napari_plugin.widgets import PathField, button, warn_style
from registration.errors import RegistrationError

VERDICT_COLORS = {"pass": "#35c46a", "review": "#ffb000", "fail": "#ff5a5a"}
FLAG_VIEW = 1.6
"""A flagged place fills the view but for this factor."""
CLOSEST_PX = 2.0
"""Screen pixels per pixel of the slide after a jump, at most: there is nothing more to see."""
FIT_SHARE = 0.95


@dataclass(frozen=True)
class _Before:
    """What a window showed before the review took it over."""

    visible: tuple[Layer, ...]
    grid: bool
    center: tuple[float, ...]
    zoom: float

    @classmethod
    def taken_from(cls, viewer: Viewer) -> _Before:
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


class ReviewWidget(QWidget):
    """Look at a finished registration and judge it."""

    def __init__(self, napari_viewer: Viewer, folder: Path | None = None) -> None:
        super().__init__()
        viewer = self._viewer = napari_viewer
        self.review: Review | None = None
        self.look = FIRST_LOOK
        self.image: Image | None = None
        self._layers: list[Layer] = []
        self._patches: Layer | None = None
        self._before: _Before | None = None
        """What the window showed before; ``None`` while the review is not shown."""
        self._own_view: tuple[list[Layer], tuple[float, ...], float] | None = None
        """Layers, centre and zoom of a review that is hidden for a while."""
        self._arrow: Layer | None = None
        self.folder = PathField("run folder of bci-pipeline register", folder=True)
        self.dataset = PathField("folder of bci-pipeline patch", folder=True)
        self.verdict, self.judged, self.message = QLabel(), QLabel(), QLabel()
        self.control = LookControl(with_off=False)
        self.maps = QVBoxLayout()
        self.flags = QListWidget()
        self._lay_out()
        self._closing = Watcher(self, viewer, self.close_review)
        self._refresh()
        if folder is not None:
            self.folder.set(folder)
            self.open(folder)

    def show_run(self, folder: Path) -> None:
        """Open a run folder that another panel names."""
        self.folder.set(folder)
        dock = self.parent()
        if isinstance(dock, QWidget):
            dock.show()
            dock.raise_()
        self.open(folder)

    def open(self, folder: Path) -> None:
        """Open a run folder; what goes wrong is said below the form."""
        self.close_review()
        try:
            self.review = Review.open(folder)
        except RegistrationError as error:
            self.message.setText(str(error))
            return
        self.message.setText("")
        viewer = self._viewer
        self._before = _Before.taken_from(viewer)
        for data in (image_layer(self.review, self.look), *map_layers(self.review)):
            self._add(data)
        self.image = self._layers[0]
        viewer.layers.selection.active = self.image
        self._fit()
        self._list_flags([*self.review.block_flags, *self.review.place_flags])
        self._refresh()
        record = self.review.patch_record
        if record is not None:
            self.dataset.set(record)
            self.open_patches(record)

    def open_patches(self, dataset: Path) -> None:
        """Add the patches that a dataset has of this pair."""
        if self.review is None:
            return
        try:
            patches = self.review.patches(dataset)
        except RegistrationError as error:
            self.message.setText(str(error))
            return
        self._remove(self._patches)
        self._patches = self._add(patch_layer(self.review, patches))
        kept = sum(patch.kept for patch in patches)
        self.message.setText(f"{len(patches)} patches, {kept} of them in the dataset.")
        flags = [*self.review.block_flags, *self.review.place_flags]
        self._list_flags([*flags, *self.review.patch_flags(patches)])

    def set_look(self, mode: Mode | None = None, share: float | None = None) -> None:
        """Change how the slides are laid over each other."""
        if self.review is None or self.image is None:
            return
        self.look = Look(
            mode or self.look.mode,
            self.look.share if share is None else share,
            _columns_in_view(self.image),
        )
        overlay = Overlay(self.review.fixed_source, self.review.moved_source, self.look)
        self.image.data = pyramid(overlay)
        self._refresh()

    def go_to(self, flag: Flag) -> None:
        """Fill the view with a flagged place."""
        if self.review is None:
            return
        mpp = self.review.pair.fixed_slide.mpp
        camera, canvas = self._viewer.scene.camera, self._viewer.canvas
        camera.center = center_napari((flag.center[0] * mpp, flag.center[1] * mpp))
        side_um = max(flag.box.width, flag.box.height) * mpp
        camera.zoom = min(min(canvas.size) / (FLAG_VIEW * side_um), CLOSEST_PX / mpp)
        self._take_arrow_away()
        if flag.shift is not None:
            self._arrow = self._viewer.add_vectors(*arrow(self.review, flag))

    def _flag_clicked(self, item: QListWidgetItem) -> None:
        flag = item.data(Qt.ItemDataRole.UserRole)
        if flag is not None:
            self.go_to(flag)

    def _take_arrow_away(self) -> None:
        arrow_, self._arrow = self._arrow, None
        if arrow_ is not None and arrow_ in self._viewer.layers:
            self._viewer.layers.remove(arrow_)

    def judge(self, judgement: Judgement | None) -> None:
        """Write a judgement into the run."""
        if self.review is None:
            return
        try:
            self.review.judge(judgement)
        except RegistrationError as error:
            self.message.setText(str(error))
        self._refresh()

    def close_review(self) -> None:
        """Take the layers away, release the slides, and show what was there before."""
        review, self.review, self.image = self.review, None, None
        if review is None:
            return
        self._take_arrow_away()
        for layer in self._layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        before, self._before, self._own_view = self._before, None, None
        if before is not None:
            before.give_back(self._viewer)
        self._layers, self._patches = [], None
        while self.maps.count():
            self.maps.takeAt(0).widget().deleteLater()
        review.close()
        self.flags.clear()
        self._refresh()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Give the window back to the picker while this panel is hidden behind it, or by its eye."""
        super().hideEvent(event)
        before = self._before
        if self.review is None or before is None or event.spontaneous():
            return
        camera = self._viewer.scene.camera
        shown = [layer for layer in self._layers if layer.visible]
        self._own_view = shown, tuple(camera.center), float(camera.zoom)
        for layer in shown:
            layer.visible = False
        self._before = None
        before.give_back(self._viewer)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Show the review again that was hidden with this panel."""
        super().showEvent(event)
        if self.review is None or self._own_view is None:
            return
        shown, center, zoom = self._own_view
        self._own_view, self._before = None, _Before.taken_from(self._viewer)
        for layer in shown:
            layer.visible = True
        camera = self._viewer.scene.camera
        camera.center, camera.zoom = center, zoom

    def _fit(self) -> None:
        """Show the whole slide, whatever else is hidden beside it."""
        assert self.review is not None
        fixed = self.review.pair.fixed_slide
        mpp, size = fixed.mpp, fixed.size
        camera, (height, width) = self._viewer.scene.camera, self._viewer.canvas.size
        camera.center = center_napari((size.width * mpp / 2, size.height * mpp / 2))
        camera.zoom = FIT_SHARE * min(width / (size.width * mpp), height / (size.height * mpp))

    def _remove(self, layer: Layer | None) -> None:
        """Take one layer and its box away."""
        if layer is None:
            return
        for row in reversed(range(self.maps.count())):  # its box and its legend are the last
            widget = self.maps.itemAt(row).widget()
            self.maps.takeAt(row).widget().deleteLater()
            if isinstance(widget, QCheckBox):
                break
        self._layers.remove(layer)
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _add(self, data: tuple[Any, dict[str, Any], str]) -> Layer:
        """Add one layer in the way napari adds what a reader returns."""
        values, options, kind = data
        layer = getattr(self._viewer, f"add_{kind}")(values, **options)
        self._layers.append(layer)
        if layer is self._layers[0]:
            return layer
        box = QCheckBox(layer.name)
        box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        box.setChecked(layer.visible)
        box.toggled.connect(partial(setattr, layer, "visible"))
        self.maps.addWidget(box)
        if isinstance(layer, Image):
            layer.colorbar.visible = True
        if layer.name in LEGENDS:
            self.maps.addWidget(QLabel(LEGENDS[layer.name]))
        return layer

    def _list_flags(self, flags: list[Flag]) -> None:
        self.flags.clear()
        if not flags:
            self.flags.addItem("nothing is flagged")
        for flag in flags:
            item = QListWidgetItem(f"{flag.kind} {flag.name}: {flag.text}".replace("place ", ""))
            item.setData(Qt.ItemDataRole.UserRole, flag)
            self.flags.addItem(item)

    def _refresh(self) -> None:
        """Show the state."""
        review = self.review
        self.control.show_look(self.look)
        for widget in (self.control, self.dataset, *self._judge_buttons):
            widget.setEnabled(review is not None)
        if review is None:
            self.verdict.setText("Open a run folder.")
            self.judged.setText("")
            return
        color = VERDICT_COLORS[review.registration.verdict]
        self.verdict.setText(f"<b style='color:{color}'>{review.headline}</b>")
        self.judged.setText(f"Your judgement: <b>{review.judgement or 'none yet'}</b>")

    def _lay_out(self) -> None:
        for label in (self.verdict, self.judged, self.message):
            label.setWordWrap(True)
        self.message.setStyleSheet(warn_style(self))
        self.flags.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.flags.itemClicked.connect(self._flag_clicked)
        self.control.choice.currentIndexChanged.connect(
            lambda index: self.set_look(mode=self.control.modes[index])
        )
        self.control.slider.valueChanged.connect(
            lambda value: self.set_look(share=value / SHARE_STEPS)
        )
        layout = QVBoxLayout(self)
        open_run = button("Open", lambda: self.open(Path(self.folder.text or ".")))
        layout.addLayout(_row(QLabel("Run folder"), self.folder, open_run))
        layout.addWidget(self.verdict)
        layout.addWidget(self.control)
        layout.addLayout(self.maps)
        layout.addWidget(QLabel("Flagged: click to go there"))
        layout.addWidget(self.flags)
        show_patches = button("Show", lambda: self.open_patches(Path(self.dataset.text or ".")))
        layout.addLayout(_row(QLabel("Patches of"), self.dataset, show_patches))
        layout.addWidget(self.message)
        layout.addLayout(self._judging())
        layout.addWidget(self.judged)

    def _judging(self) -> QHBoxLayout:
        names = ("Accept", "Reject", "Needs landmarks")
        self._judge_buttons = [
            button(name, partial(self.judge, judgement))
            for name, judgement in zip(names, JUDGEMENTS, strict=True)
        ]
        return _row(*self._judge_buttons)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, int(isinstance(widget, PathField)))
    return row


def _columns_in_view(image: Image) -> tuple[float, float]:
    level = image.data[image.data_level]
    columns = image.corner_pixels[:, 1] * level.downsample
    return float(columns[0]), float(columns[1] + level.downsample)
