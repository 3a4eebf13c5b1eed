"""The two slides in napari's canvas: layers, clicks, drags and the camera. No rules of picking."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari import Viewer
from napari.components._viewer_mouse_bindings import double_click_to_zoom
from napari.layers import Image, Layer, Points, Shapes

from napari_plugin.convert import (
    affine_napari,
    center_napari,
    position_xy,
    to_napari,
)
from napari_plugin.levels import Source, Tiles, pyramid, trouble_of
from napari_plugin.picker.marks import Marks
from napari_plugin.views import SIDES, STAIN, XY, Side, Views
from napari_plugin.widgets import say_nothing
from registration.slides.slide import Slide

GRAB_PX = 13
"""A press this close to a point, in screen pixels, grabs it: anywhere on its ring."""
DRAG_PX = 4
"""A press that moves less than this, in screen pixels, is a click."""
JUMP_ZOOM = 1.0
"""Least screen pixels per µm after a jump to a pair: cells can be told apart."""
MARK_PX = 14.0
"""Diameter of a mark in screen pixels, at any zoom."""
PAN = "pan_zoom"
GROUND = "#c9c9c9"
"""Around the slides: glass is told from it, and black numbers can be read on it."""
TakesPress = Callable[[Side, Any, Callable[[Any], XY]], Generator[None, None, None]]
LAYERS_PER_CELL = 2
CELL_GAP_PX = 6


class PairCanvas:
    """Four layers in a grid of two linked cells: each slide with its points.

    ``clicked(side, xy)``, ``dropped(name, side, xy)`` and ``touched(name, side, xy)`` (a click on a
    point) are called with level-0
    coordinates. A press that moves is napari's own pan; a press on a point drags the point.
    """

    def __init__(self, viewer: Viewer, he: Slide, ihc: Slide) -> None:
        self.viewer = viewer
        self.clicked: Callable[[Side, XY], object] = ignored
        self.dropped: Callable[[str, Side, XY], object] = ignored
        self.touched: Callable[[str, Side, XY], object] = ignored
        self.changed: Callable[[], object] = ignored
        """Called when somebody shows or hides a slide, or the grid."""
        self.sources: dict[Side, Source] = {"he": Tiles.of_slide(he), "ihc": Tiles.of_slide(ihc)}
        self.views: Views | None = None
        self.images: dict[Side, Image] = {}
        self.points: dict[Side, Points] = {}
        self.outlines: dict[Side, Shapes] = {}
        """Outlines on the slides, as soon as there are any; see :mod:`napari_plugin.picker.outlines`."""
        self.is_drawing = False
        self.finish_drawn: Callable[[], object] = ignored
        """Ends the outline or stroke that is being drawn as it stands, where there is one."""
        self.takes_press: TakesPress | None = None
        """What a press on a slide does instead of picking."""
        self.spares: Callable[[Any], bool] = lambda _: False
        """Tells a press that is meant for something else, such as the edge of a swipe."""
        self._names: dict[Side, tuple[str, ...]] = {"he": (), "ihc": ()}
        self._marks: dict[Side, Marks] = {}
        self._grid_before = _grid_state(viewer)
        self._ground_before = viewer.canvas.background_color_override
        viewer.canvas.background_color_override = GROUND
        self._fitted: tuple[tuple[float, ...], float] = (0.0, 0.0, 0.0), 0.0
        self._hidden = [layer for layer in viewer.layers if layer.visible]
        for layer in self._hidden:
            layer.visible = False
        for side in SIDES:
            self._add(side)
        self._lay_out()
        viewer.mouse_drag_callbacks.append(self._on_press)
        self._zooms_twice = double_click_to_zoom in viewer.mouse_double_click_callbacks
        if self._zooms_twice:  # a double click would pick a point and zoom
            viewer.mouse_double_click_callbacks.remove(double_click_to_zoom)
        viewer.scene.camera.events.zoom.connect(self._keep_mark_size)
        viewer.scene.camera.events.center.connect(self._keep_in_reach)
        viewer.canvas.events.size.connect(self._fit_again)
        viewer.canvas.grid.events.enabled.connect(self._on_change)
        for layer in self.layers:
            layer.events.mode.connect(self._keep_mode)
            layer.events.visible.connect(self._on_change)
            say_nothing(layer)

    @property
    def trouble(self) -> str:
        """Why a slide cannot be shown, in words; nothing where all is well."""
        return next(filter(None, map(trouble_of, self.images.values())), "")

    @property
    def is_alive(self) -> bool:
        """Whether all layers are still in the viewer; a user may delete any of them."""
        return all(layer in self.viewer.layers for layer in self.layers)

    @property
    def is_picking(self) -> bool:
        """Whether both slides are there to pick on: not hidden, and side by side."""
        shown = all(image.visible for image in self.images.values())
        return self.is_alive and shown and self.viewer.canvas.grid.enabled and not self.is_drawing

    @property
    def is_whole(self) -> bool:
        """Whether one slide, with the other laid over it, has the whole window."""
        shown = self.is_alive and self.images["ihc"].visible
        return shown and not (self.viewer.canvas.grid.enabled or self.images["he"].visible)

    def set_whole(self, whole: bool) -> None:
        """Give the whole window to the IHC cell, or show both side by side."""
        if whole != self.is_whole:
            marks = self.shows_marks
            for layer in self._of_side("he"):
                layer.visible = not whole and (marks or layer is not self.points["he"])
            self.viewer.canvas.grid.enabled = not whole

    @property
    def shows_marks(self) -> bool:
        """Whether the points are drawn."""
        return any(layer.visible for layer in self.points.values())

    def set_marks_shown(self, shown: bool) -> None:
        """Show or hide all points, to see what lies under them."""
        for layer in self.points.values():
            layer.visible = shown

    def show_views(self, views: Views) -> None:
        """Lay the slides in the world as ``views`` say."""
        self.views = views
        for side in SIDES:
            affine = affine_napari(views.of_side(side).matrix)
            for layer in self._of_side(side):
                if not np.allclose(layer.affine.affine_matrix, affine, rtol=0, atol=1e-12):
                    layer.affine = affine
        self._keep_mark_size()

    def show_marks(self, marks: dict[Side, Marks]) -> None:
        """Draw the points of both slides; those of a hidden layer when it is shown again."""
        self._marks = dict(marks)
        for side in SIDES:
            if self.points[side].visible:
                self._draw(side)

    def _draw(self, side: Side) -> None:
        """Draw the points that wait for it."""
        marks = self._marks.pop(side, None)
        if marks is not None:
            self._names[side] = marks.names
            world = self.views.of_side(side) if self.views is not None else None
            marks.draw_on(self.points[side], self._mark_size(), world)

    def _on_change(self) -> None:
        """Draw what was left undrawn while a layer was hidden, and tell."""
        if not self.is_alive:
            return
        for side in SIDES:
            if self.points[side].visible:
                self._draw(side)
        self.changed()

    def _keep_mode(self, event: Any) -> None:
        """Let no layer be moved or edited by napari's own tools: that falsifies what is picked."""
        layer = event.source
        if str(layer.mode) != PAN:
            layer.mode = PAN

    def show_source(self, side: Side, source: Source, name: str = "") -> None:
        """Show other pixels in the place of a slide, such as an overlay, under a name of their own."""
        self.images[side].data = pyramid(source)
        self.images[side].name = name or STAIN[side]

    def fit(self) -> None:
        """Show both slides whole; they stay so while the window changes, until somebody zooms."""
        self.viewer.fit_to_view()
        camera = self.viewer.scene.camera
        self._fitted = camera.center, camera.zoom

    def _fit_again(self) -> None:
        """Fit anew after a change of the window's size, if nobody has moved the view since."""
        camera = self.viewer.scene.camera
        if np.allclose(camera.center, self._fitted[0]) and np.isclose(camera.zoom, self._fitted[1]):
            self.fit()

    def look_at(self, world: XY, closer: bool = True) -> None:
        """Centre both cells on a world point; zoom in until cells show, never out."""
        camera = self.viewer.scene.camera
        camera.center = center_napari(world)
        if closer:
            camera.zoom = max(camera.zoom, JUMP_ZOOM)

    @property
    def center(self) -> XY:
        """The world point in the middle of both cells."""
        return position_xy(self.viewer.scene.camera.center)

    @property
    def cell_width_px(self) -> float:
        """The width of each cell on the screen."""
        canvas = self.viewer.canvas
        return float(canvas.size[1]) / (len(SIDES) if canvas.grid.enabled else 1)

    @property
    def cell_width_um(self) -> float:
        """How much of the world each cell shows from left to right."""
        return self.cell_width_px / float(self.viewer.scene.camera.zoom)

    def _keep_in_reach(self) -> None:
        """Let nobody pan away from both slides."""
        camera = self.viewer.scene.camera
        if self.views is None or not (self.is_picking or self.is_whole):
            return
        corners = [
            self.views.of_side(side)([(0, 0), (w, 0), (0, h), (w, h)])
            for side in SIDES
            for h, w in [self.sources[side].size.shape]
        ]
        reach = np.concatenate(corners)
        x, y = np.clip(self.center, reach.min(axis=0), reach.max(axis=0))
        if not np.allclose((x, y), self.center, rtol=0, atol=1e-6):
            camera.center = center_napari((float(x), float(y)))

    def close(self) -> None:
        """Take away layers and callbacks, and give the grid back as it was."""
        if self._on_press in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_press)
        if self._zooms_twice:
            self.viewer.mouse_double_click_callbacks.append(double_click_to_zoom)
        self.viewer.scene.camera.events.zoom.disconnect(self._keep_mark_size)
        self.viewer.scene.camera.events.center.disconnect(self._keep_in_reach)
        self.viewer.canvas.events.size.disconnect(self._fit_again)
        self.viewer.canvas.grid.events.enabled.disconnect(self._on_change)
        self.changed = ignored
        for layer in self.layers:
            if layer not in self.outlines.values():
                layer.events.mode.disconnect(self._keep_mode)
                layer.events.visible.disconnect(self._on_change)
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        for layer in self._hidden:
            layer.visible = True
        grid = self.viewer.canvas.grid
        grid.enabled, grid.stride, grid.shape, grid.spacing = self._grid_before
        self.viewer.canvas.background_color_override = self._ground_before
        self.clicked = self.dropped = self.touched = ignored

    @property
    def layers(self) -> list[Layer]:
        """The layers of the session from the bottom up, cell by cell."""
        return [layer for side in SIDES for layer in self._of_side(side)]

    def _of_side(self, side: Side) -> list[Layer]:
        """Return the layers of one cell from the bottom up."""
        outlines = [self.outlines[side]] if side in self.outlines else []
        return [self.images[side], *outlines, self.points[side]]

    def _add(self, side: Side) -> None:
        """Add a slide and its points."""
        self.images[side] = self.viewer.add_image(
            pyramid(self.sources[side]),
            rgb=True,
            multiscale=True,
            name=STAIN[side],
            units="um",
            interpolation2d="linear",
        )
        self.points[side] = self.viewer.add_points(
            np.zeros((0, 2)), ndim=2, name=f"{STAIN[side]} points", units="um", **Marks.STYLE
        )
        self.points[side].editable = False

    def _lay_out(self) -> None:
        """Put the slides side by side, with their names and a scale bar."""
        layers = self.viewer.layers
        for place, layer in enumerate(self.layers):
            layers.move(layers.index(layer), place)
        layers.selection.active = self.images["he"]
        grid = self.viewer.canvas.grid
        grid.stride, grid.shape, grid.spacing = LAYERS_PER_CELL, (1, len(SIDES)), CELL_GAP_PX
        grid.enabled = True
        for image in self.images.values():
            image.name_overlay.visible = True
            image.name_overlay.font_size = 14
            image.name_overlay.box = True
        self.viewer.canvas.overlays.scale_bar.visible = True

    def _on_press(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """Follow one press of the mouse until its release."""
        side = self._side_of(event)
        if event.button != 1 or event.modifiers or side is None:
            return
        if side == "ihc" and self.spares(event):
            return
        if self.takes_press is not None:
            yield from self.takes_press(side, event, lambda now: self._on_slide(side, now))
            return
        begun = np.array(event.pos)
        name = self._point_under(side, event)
        if name is not None:
            yield from self._drag(viewer, event, side, name)
            return
        moved = False
        yield
        while event.type == "mouse_move":
            moved = moved or bool(np.linalg.norm(np.array(event.pos) - begun) >= DRAG_PX)
            yield
        if not moved:
            self.clicked(side, self._on_slide(side, event))

    def _drag(
        self, viewer: Viewer, event: Any, side: Side, name: str
    ) -> Generator[None, None, None]:
        """Let a point follow the mouse, with napari's panning held back meanwhile."""
        camera, layer = viewer.scene.camera, self.points[side]
        index = self._names[side].index(name)
        before, begun, moved = layer.data.copy(), np.array(event.pos), False
        camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                moved = moved or bool(np.linalg.norm(np.array(event.pos) - begun) >= DRAG_PX)
                if moved:
                    data = before.copy()
                    data[index] = to_napari([self._on_slide(side, event)])[0]
                    layer.data = data
                yield
        finally:
            camera.mouse_pan = True
        if not moved:
            self.touched(name, side, self._on_slide(side, event))
        elif self.dropped(name, side, self._on_slide(side, event)) is False:
            layer.data = before

    def _side_of(self, event: Any) -> Side | None:
        """Return the slide whose cell was pressed; none while there is nothing to pick on."""
        if not self.is_picking:
            return None
        for side in SIDES:
            index = self.viewer.layers.index(self.images[side])
            if self.viewer.canvas.grid.position(index, self.viewer.layers) == event.viewbox:
                return side
        return None

    def _on_slide(self, side: Side, event: Any) -> XY:
        """Return the level-0 place that is drawn under the mouse.

        napari takes the corner of the screen pixel that was clicked; its middle is meant.
        """
        window = self.viewer.window._qt_window
        half = 0.5 / (window.devicePixelRatioF() * self.viewer.scene.camera.zoom)
        middle = np.array(event.position[-2:]) + half
        return position_xy(self.images[side].world_to_data(middle))

    def _mark_size(self) -> float:
        """Return the diameter of a mark in µm: napari draws sizes without a layer's affine map."""
        return MARK_PX / float(self.viewer.scene.camera.zoom)

    def _keep_mark_size(self) -> None:
        """Give marks their size on the screen again after a zoom."""
        for layer in self.points.values():
            if len(layer.data):
                layer.size = self._mark_size()

    def _point_under(self, side: Side, event: Any) -> str | None:
        """Return the point that a press grabs."""
        layer = self.points[side]
        if not len(layer.data) or not layer.visible:
            return None
        world = [layer.data_to_world(point)[-2:] for point in layer.data]
        distance = np.linalg.norm(np.array(world) - np.array(event.position[-2:]), axis=1)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        nearest = int(np.argmin(distance))
        if distance[nearest] * self.viewer.scene.camera.zoom > GRAB_PX:
            return None
        return self._names[side][nearest]


def ignored(*_: object) -> None:
    """Stand in for a callback that nobody set."""


def _grid_state(viewer: Viewer) -> tuple[bool, int, tuple[int, int], float]:
    grid = viewer.canvas.grid
    return grid.enabled, grid.stride, grid.shape, grid.spacing
