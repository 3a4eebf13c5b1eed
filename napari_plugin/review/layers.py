"""The layers of a review, as napari's readers return them: ``(data, options, kind)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from napari_plugin.convert import affine_napari, rectangle, scaling, to_napari
from napari_plugin.levels import pyramid
from napari_plugin.overlay import Look, Overlay
from napari_plugin.review.model import FieldMap, Flag, PlaceMap, Review
from napari_plugin.review.patches import Patch
from napari_plugin.views import STAIN
from registration.geometry import Box
from registration.quality.seams import VISIBLE_JUMP_PX
from registration.quality.verdict import LARGE_RESIDUAL_UM

LayerTuple = tuple[Any, dict[str, Any], str]

BLOCK_COLORS = {"registered": "#0072b2", "blank": "#8c8c8c", "fallback": "#d55e00"}
REJECTED = "rejected areas"
BLOCK_FILL = "1c"
"""Opacity of a block's fill, of ff: enough to see, and to see the tissue."""
PATCH_COLORS = {True: "white", False: "#d00000"}
"""Outlines of kept and of rejected patches."""
PATCH_OPACITY = 0.16
TRAFFIC_AT = (0.0, 0.5, 1.0)
TRAFFIC = ((0.0, 0.45, 0.7), (0.95, 0.9, 0.25), (0.6, 0.0, 0.0))
"""Colour of no shift, of one that begins to be large, and of twice as much: blue, yellow, dark red,
which colour-blind readers tell apart too."""
DISPLACEMENT_MAP, AREA_MAP, PLACE_MAP = "viridis", "PuOr", "plasma"
"""The change of area is shown around "no change", which is white; folds are brown, stretches purple."""
DOTS_ALONG = 110
"""So many dots side by side reach along the slide."""
OUTLINE_SHARE = 1 / 300
"""Width of a block's outline as a share of the slide's width: to be seen with the slide whole."""
LABEL_INSIDE = 0.1
"""A block's name stands this far inside its upper left corner, as a share of the block."""
VERDICT_COLORS = {"pass": "#35c46a", "review": "#ffb000", "fail": "#ff5a5a"}
FIRST_LOOK = Look("blend", 0.5)


def to_world(review: Review) -> np.ndarray:
    """Return the matrix from the fixed slide's level-0 pixels to µm, for napari."""
    mpp = review.pair.fixed_slide.mpp
    return affine_napari(np.diag([mpp, mpp, 1.0]))


def image_layer(review: Review, look: Look = FIRST_LOOK) -> LayerTuple:
    """Return both slides in one layer, as ``look`` says."""
    overlay = Overlay(review.fixed_source, review.moved_source, look)
    options = _options(review, overlay_name(review)) | {
        "multiscale": True,
        "rgb": True,
        "interpolation2d": "linear",
    }
    return pyramid(overlay), options, "image"


def overlay_name(review: Review) -> str:
    """Return the name of the layer that shows both slides."""
    moving, fixed = ("he", "ihc") if review.registration.moving == "he" else ("ihc", "he")
    return f"{STAIN[moving]} over {STAIN[fixed]}"


def map_layers(review: Review) -> list[LayerTuple]:
    """Return displacement, folding, seams, residual shift and blocks; all but the blocks hidden."""
    displacement, folding = review.displacement_um, review.folding
    top = max(float(displacement.values.max()), 1.0)
    return [
        _map(review, "displacement (µm)", displacement, DISPLACEMENT_MAP, (0.0, top)),
        _map(review, "change of area (0: folded)", folding, AREA_MAP, (0.0, 2.0)),
        _places(review, "jump at block borders (px)", review.seam_px, VISIBLE_JUMP_PX),
        _places(review, "residual shift (µm)", review.residual_um, LARGE_RESIDUAL_UM),
        _blocks(review),
    ]


def patch_layer(review: Review, patches: list[Patch]) -> LayerTuple:
    """Return patches as squares: the shift that is left as fill, kept or rejected as outline."""
    width = max(patches[0].box.width / 60, 1.0)
    corners = [rectangle(patch.box.expanded(-round(width / 2))) for patch in patches]
    shift = np.array([patch.shift_um for patch in patches])
    options = _options(review, "patches: residual shift (µm)") | {
        "shape_type": "rectangle",
        "features": {
            "shift_um": shift,
            "reason": [patch.reason or "kept" for patch in patches],
        },
        "face_color": shift_colors(shift),
        "edge_color": [PATCH_COLORS[patch.kept] for patch in patches],
        "edge_width": width,
        "opacity": 1.0,
    }
    return corners, options, "shapes"


def rejected_layer(review: Review) -> LayerTuple:
    """Return the areas that a person rejected, crossed out by their outline."""
    corners = [to_napari(np.array(area.outline)) for area in review.notes.rejected]
    options = _options(review, REJECTED) | {
        "shape_type": "polygon",
        "ndim": 2,
        "face_color": "#00000055",
        "edge_color": "black",
        "edge_width": max(review.pair.fixed_slide.size.width * OUTLINE_SHARE, 1.0),
    }
    return corners, options, "shapes"


def arrow(review: Review, flag: Flag) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the arrow from a flagged place to where its partner lies, as a layer of vectors."""
    assert flag.shift is not None
    begin = to_napari([flag.center])[0]
    along = to_napari([flag.shift])[0]
    options = _options(review, "shift that is left") | {
        "edge_color": "black",
        "edge_width": max(float(np.hypot(*along)) / 25, 1.0),
        "vector_style": "arrow",
        "opacity": 1.0,
    }
    return np.array([[begin, along]]), options


def shift_colors(shift_um: np.ndarray) -> np.ndarray:
    """Return ``(N, 4)`` colours from green over yellow to red, clear where none was measured."""
    share = np.nan_to_num(shift_um / (2 * LARGE_RESIDUAL_UM))
    columns = [np.interp(share, TRAFFIC_AT, channel) for channel in zip(*TRAFFIC, strict=True)]
    opacity = np.where(np.isnan(shift_um), 0.0, PATCH_OPACITY)
    return np.stack([*columns, opacity], axis=1)


def _swatches(colors: Iterable[tuple[str, str]]) -> str:
    """Return a legend: squares of colours with what they mean."""
    return "&nbsp; ".join(f"<span style='color:{color}'>■</span> {text}" for color, text in colors)


def _scale(large: float, unit: str) -> str:
    """Return the legend of dots: from nothing to twice what is called large."""
    shown = (("#0d0887", "0"), ("#cc4778", f"{large:g}"), ("#f0f921", f"{2 * large:g} {unit}"))
    return _swatches(shown)


LEGENDS = {
    "blocks": _swatches((color, status) for status, color in BLOCK_COLORS.items()),
    "jump at block borders (px)": _scale(VISIBLE_JUMP_PX, "px"),
    "residual shift (µm)": _scale(LARGE_RESIDUAL_UM, "µm"),
    "patches: residual shift (µm)": _swatches(
        (
            ("#0073b3", "0"),
            ("#f2e640", f"{LARGE_RESIDUAL_UM:g}"),
            ("#990000", f"{2 * LARGE_RESIDUAL_UM:g} µm; outline: white kept, red rejected"),
        )
    ),
}
"""What colours mean, by the names of layers."""


def _options(review: Review, name: str) -> dict[str, Any]:
    return {"name": name, "affine": to_world(review), "units": "um"}


def _map(
    review: Review, name: str, field: FieldMap, colormap: str, limits: tuple[float, float]
) -> LayerTuple:
    options = _options(review, name) | {
        "affine": to_world(review) @ scaling(field.downsample),
        "colormap": colormap,
        "contrast_limits": limits,
        "opacity": 0.6,
        "visible": False,
    }
    return field.values, options, "image"


def _places(review: Review, name: str, places: PlaceMap, large: float) -> LayerTuple:
    """Return dots coloured by value, from nothing to twice what is called large."""
    slide = review.pair.fixed_slide.size
    size = max(slide.width, slide.height) / DOTS_ALONG
    options: dict[str, Any] = _options(review, name) | {"size": size, "visible": False, "ndim": 2}
    options |= {"border_width": 0.0, "opacity": 0.8}
    if len(places.values):
        options |= {
            "features": {"value": places.values},
            "face_color": "value",
            "face_colormap": PLACE_MAP,
            "face_contrast_limits": (0.0, 2 * large),
        }
    return to_napari(places.points), options, "points"


def _blocks(review: Review) -> LayerTuple:
    blocks = review.registration.blocks
    width = max(review.pair.fixed_slide.size.width * OUTLINE_SHARE, 1.0)
    boxes = [rectangle(Box(one.x, one.y, one.width, one.height)) for one in blocks]
    options = _options(review, "blocks") | {
        "shape_type": "rectangle",
        # Neighbours share an edge, which has one colour only; the fill tells them apart.
        "face_color": [f"{BLOCK_COLORS[block.status]}{BLOCK_FILL}" for block in blocks],
        "edge_color": [BLOCK_COLORS[block.status] for block in blocks],
        "edge_width": width,
        "features": {"name": [block.name for block in blocks]},
        "text": {
            "string": "{name}",
            "anchor": "upper_left",
            "translation": (boxes[0][2] - boxes[0][0]) * LABEL_INSIDE,
            "size": 10,
            "color": "black",
        },
    }
    return boxes, options, "shapes"
