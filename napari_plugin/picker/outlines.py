"""Outlines on the slides of a canvas: shown, drawn corner by corner, and painted with a brush."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np

from napari_plugin.convert import to_napari
from napari_plugin.picker.canvas import LAYERS_PER_CELL, PAN, PairCanvas, ignored
from napari_plugin.picker.pieces import Tissue
from napari_plugin.polygon import Polygon
from napari_plugin.views import SIDES, STAIN, XY, Side
from napari_plugin.widgets import say_nothing
from registration.geometry import Points

COLORS = {"exclude": "#000000", "control": "#cc79a7", "piece": "#0072b2", "found": "#56b4e9"}
BRUSH_PX = 12.0
"""Radius of the brush in pixels of the screen: zoom to paint finer."""
NAME_STYLE = {"string": "{name}", "size": 12, "color": "black", "anchor": "center"}


def show_outlines(canvas: PairCanvas, tissue: Tissue) -> None:
    """Draw the pieces and regions of both slides, with their names."""
    shown = {
        side: [(piece.kind, ring) for piece in tissue.on(side) for ring in piece.outlines]
        for side in SIDES
    }
    if not canvas.outlines and not any(shown.values()):
        return
    _make_room(canvas)
    for side in SIDES:
        layer = canvas.outlines[side]
        layer.data = []
        if shown[side]:
            names = [name for name, _ in shown[side]]
            layer.add(
                [to_napari(outline) for _, outline in shown[side]],
                shape_type="polygon",
                edge_color=[COLORS.get(name.split()[0], "black") for name in names],
                face_color="transparent",
                edge_width=_width_px(canvas, side),
            )
            layer.features = {"name": ["" if name == "found" else name for name in names]}
            layer.text = NAME_STYLE
    canvas.viewer.layers.selection.active = canvas.images["he"]


def draw_outline(canvas: PairCanvas, side: Side, drawn: Callable[[Points], object]) -> None:
    """Let the next clicks on a slide draw a polygon; ``drawn`` takes it when it is finished."""
    _make_room(canvas)
    layer = canvas.outlines[side]

    def ended(outline: Points | None) -> None:
        canvas.is_drawing, canvas.finish_drawn = False, ignored
        layer.mode = PAN
        if canvas.is_alive:
            canvas.viewer.layers.selection.active = canvas.images["he"]
        if outline is not None:
            drawn(outline)

    canvas.is_drawing = True
    canvas.viewer.layers.selection.active = layer
    layer.current_edge_width = _width_px(canvas, side)
    layer.current_face_color = "transparent"
    canvas.finish_drawn = Polygon(layer, ended).finish


def start_brush(canvas: PairCanvas, painted: Callable[[Side, Points, float], object]) -> None:
    """Let every press paint; ``painted`` takes slide, path and radius in level-0 pixels."""
    _make_room(canvas)
    canvas.takes_press = partial(_paint, canvas, painted)


def _paint(
    canvas: PairCanvas,
    painted: Callable[[Side, Points, float], object],
    side: Side,
    event: Any,
    place: Callable[[Any], XY],
) -> Generator[None, None, None]:
    """Show a stroke while the mouse moves, and hand it over at its end."""
    layer, camera = canvas.outlines[side], canvas.viewer.scene.camera
    assert canvas.views is not None
    scale = np.sqrt(abs(np.linalg.det(canvas.views.of_side(side).matrix[:2, :2])))
    radius, path = BRUSH_PX / camera.zoom / float(scale), [place(event)]
    before, waits = len(layer.data), [painted]

    def ended() -> None:
        if waits:
            camera.mouse_pan, canvas.finish_drawn = True, ignored
            waits.pop()(side, np.array(path), radius)

    camera.mouse_pan, canvas.finish_drawn = False, ended
    try:
        yield
        while event.type == "mouse_move" and waits:
            path.append(place(event))
            layer.selected_data = set(range(before, len(layer.data)))
            layer.remove_selected()
            layer.add(
                to_napari(np.array(path)),
                shape_type="path",
                edge_width=2 * radius,
                edge_color=COLORS["exclude"],
                face_color="transparent",
            )
            yield
    finally:
        ended()


def _width_px(canvas: PairCanvas, side: Side) -> float:
    """Return the width of an outline in level-0 pixels: to be seen with the slide whole."""
    return max(1.0, max(canvas.sources[side].size.shape) / 300)


def _make_room(canvas: PairCanvas) -> None:
    """Add a layer of outlines to each cell of the grid, between slide and points."""
    if canvas.outlines:
        return
    layers, grid = canvas.viewer.layers, canvas.viewer.canvas.grid
    for side in SIDES:
        layer = layers.selection.active
        canvas.outlines[side] = canvas.viewer.add_shapes(
            ndim=2, name=f"{STAIN[side]} outlines", units="um"
        )
        say_nothing(canvas.outlines[side])
        layers.move(layers.index(canvas.outlines[side]), layers.index(canvas.points[side]))
        layers.selection.active = layer
    grid.stride = LAYERS_PER_CELL + 1
    if canvas.views is not None:
        canvas.show_views(canvas.views)
