"""Outlines on the slides of a canvas: shown, and drawn corner by corner with napari's own tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qtpy.QtCore import QTimer

from napari_plugin.convert import from_napari, to_napari
from napari_plugin.picker.canvas import LAYERS_PER_CELL, PAN, PairCanvas
from napari_plugin.views import SIDES, STAIN, Side
from registration.geometry import Points

COLORS = {"exclude": "#000000", "control": "#cc79a7", "piece": "#0072b2", "found": "#56b4e9"}


def show_outlines(
    canvas: PairCanvas, outlines: Mapping[Side, Sequence[tuple[str, Points]]]
) -> None:
    """Draw named outlines, ``(N, 2)`` level-0 pixels, on both slides."""
    if not canvas.outlines and not any(outlines.values()):
        return
    _make_room(canvas)
    for side in SIDES:
        layer = canvas.outlines[side]
        layer.data = []
        if outlines[side]:
            names = [name for name, _ in outlines[side]]
            layer.add(
                [to_napari(outline) for _, outline in outlines[side]],
                shape_type="polygon",
                edge_color=[COLORS.get(name.split()[0], "black") for name in names],
                face_color="transparent",
                edge_width=_width_px(canvas, side),
            )
    canvas.viewer.layers.selection.active = canvas.images["he"]


def draw_outline(canvas: PairCanvas, side: Side, drawn: Callable[[Points], object]) -> None:
    """Let the next clicks on a slide draw a polygon; ``drawn`` takes it when it is finished."""
    _make_room(canvas)
    layer = canvas.outlines[side]
    before = len(layer.data)

    def finished(event: Any) -> None:
        if str(event.action) != "added":
            return
        layer.events.data.disconnect(finished)
        QTimer.singleShot(0, ended)  # napari is still in the middle of finishing it

    def ended() -> None:
        outlines = list(layer.data)
        stop_drawing(canvas)
        if len(outlines) > before:
            drawn(from_napari(outlines[-1]))

    canvas.is_drawing = True
    canvas.viewer.layers.selection.active = layer
    layer.current_edge_width = _width_px(canvas, side)
    layer.current_face_color = "transparent"
    layer.mode = "add_polygon"
    layer.events.data.connect(finished)


def stop_drawing(canvas: PairCanvas) -> None:
    """Go back to picking."""
    canvas.is_drawing = False
    for layer in canvas.outlines.values():
        layer.mode = PAN
    canvas.viewer.layers.selection.active = canvas.images["he"]


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
        layers.move(layers.index(canvas.outlines[side]), layers.index(canvas.points[side]))
        layers.selection.active = layer
    grid.stride = LAYERS_PER_CELL + 1
    if canvas.views is not None:
        canvas.show_views(canvas.views)
