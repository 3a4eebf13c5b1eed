"""The layers of a review, as napari's readers return them: ``(data, options, kind)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_plugin.convert import affine_napari, rectangle, scaling, to_napari
from napari_plugin.levels import pyramid
from napari_plugin.overlay import Look, Overlay
from napari_plugin.review.model import FieldMap, PlaceMap, Review
from napari_plugin.review.patches import Patch
from napari_plugin.review.places import Flag
from napari_plugin.views import STAIN
from registration.geometry import Box
from registration.patch_reasons import REASON_WORDS
from registration.quality.seams import VISIBLE_JUMP_PX
from registration.quality.verdict import LARGE_RESIDUAL_UM

LayerTuple = tuple[Any, dict[str, Any], str]

BLOCK_COLORS = {"registered": "#0072b2", "blank": "#8c8c8c", "fallback": "#d55e00"}
DISPLACEMENT, AREA = "displacement (µm)", "change of area (0: folded)"
JUMPS, RESIDUAL = "jump at block borders (px)", "residual shift (µm)"
ARROWS, BLOCKS = "residual shift (arrows)", "blocks"
PATCHES = "patches: residual shift (µm)"
SHOWN_FIRST = BLOCKS
REJECTED = "rejected areas"
FLAG_ARROW = "shift that is left"
ARROWS_ALONG = 1500
"""So many widths of an arrow reach along the slide."""
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


def image_layer(review: Review) -> LayerTuple:
    """Return both slides in one layer, in the first look."""
    overlay = Overlay(review.fixed_source, review.moved_source, FIRST_LOOK)
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
    """Return the maps of quality and the blocks; all but the blocks hidden."""
    made = [make(review) for make in MAPS.values()]
    return [
        (values, options | {"visible": options["name"] == SHOWN_FIRST}, kind)
        for values, options, kind in made
    ]


def patch_layer(review: Review, patches: list[Patch]) -> LayerTuple:
    """Return patches as squares: the shift that is left as fill, kept or rejected as outline."""
    width = max(patches[0].box.width / 60, 1.0)
    corners = [rectangle(patch.box.expanded(-round(width / 2))) for patch in patches]
    shift = np.array([patch.shift_um for patch in patches])
    options = _options(review, PATCHES) | {
        "shape_type": "rectangle",
        "features": {
            "shift_um": shift,
            "reason": [REASON_WORDS.get(patch.reason, patch.reason) or "kept" for patch in patches],
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
    width = max(float(np.hypot(*flag.shift)) / 25, 1.0)
    return _vectors(review, FLAG_ARROW, [flag.center], [flag.shift], width)


def _arrows(review: Review) -> LayerTuple:
    """Return an arrow, in its true length, from every place to where the other slide shows it."""
    places, shifts = review.residual_um.points, review.residual_px
    width = max(review.pair.fixed_slide.size.width / ARROWS_ALONG, 1.0)
    return *_vectors(review, ARROWS, places, shifts, width), "vectors"


def _vectors(
    review: Review, name: str, begin: ArrayLike, along: ArrayLike, width: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return arrows as napari's layer of vectors takes them."""
    options = _options(review, name) | {
        "edge_color": "black",
        "edge_width": width,
        "vector_style": "arrow",
        "opacity": 1.0,
        "ndim": 2,
    }
    return np.stack([to_napari(begin), to_napari(along)], axis=1), options


def shift_colors(shift_um: np.ndarray) -> np.ndarray:
    """Return ``(N, 4)`` colours from green over yellow to red, clear where none was measured."""
    share = np.nan_to_num(shift_um / (2 * LARGE_RESIDUAL_UM))
    columns = [np.interp(share, TRAFFIC_AT, channel) for channel in zip(*TRAFFIC, strict=True)]
    opacity = np.where(np.isnan(shift_um), 0.0, PATCH_OPACITY)
    return np.stack([*columns, opacity], axis=1)


def _displacement(review: Review) -> LayerTuple:
    found = review.displacement_um
    return _map(review, DISPLACEMENT, found, DISPLACEMENT_MAP, max(float(found.values.max()), 1.0))


def _folding(review: Review) -> LayerTuple:
    return _map(review, AREA, review.folding, AREA_MAP, 2.0)


def _jumps(review: Review) -> LayerTuple:
    return _places(review, JUMPS, review.seam_px, VISIBLE_JUMP_PX)


def _residual(review: Review) -> LayerTuple:
    return _places(review, RESIDUAL, review.residual_um, LARGE_RESIDUAL_UM)


def _swatches(colors: Iterable[tuple[str, str]]) -> str:
    """Return a legend: squares of colours with what they mean."""
    return "&nbsp; ".join(f"<span style='color:{color}'>■</span> {text}" for color, text in colors)


def _scale(large: float, unit: str) -> str:
    """Return the legend of dots: from nothing to twice what is called large."""
    shown = (("#0d0887", "0"), ("#cc4778", f"{large:g}"), ("#f0f921", f"{2 * large:g} {unit}"))
    return _swatches(shown)


LEGENDS = {
    BLOCKS: _swatches((color, status) for status, color in BLOCK_COLORS.items()),
    JUMPS: _scale(VISIBLE_JUMP_PX, "px"),
    RESIDUAL: _scale(LARGE_RESIDUAL_UM, "µm"),
    PATCHES: _swatches(
        (
            ("#0073b3", "0"),
            ("#f2e640", f"{LARGE_RESIDUAL_UM:g}"),
            ("#990000", f"{2 * LARGE_RESIDUAL_UM:g} µm; no fill: not measured"),
        )
    )
    + "; outline: white kept, red rejected",
}
"""What colours mean, by the names of layers."""


def _options(review: Review, name: str) -> dict[str, Any]:
    return {"name": name, "affine": to_world(review), "units": "um"}


def _map(review: Review, name: str, field: FieldMap, colormap: str, top: float) -> LayerTuple:
    options = _options(review, name) | {
        "affine": to_world(review) @ scaling(field.downsample),
        "colormap": colormap,
        "contrast_limits": (0.0, top),
        "opacity": 0.6,
    }
    return field.values, options, "image"


def _places(review: Review, name: str, places: PlaceMap, large: float) -> LayerTuple:
    """Return dots coloured by value, from nothing to twice what is called large."""
    slide = review.pair.fixed_slide.size
    size = max(slide.width, slide.height) / DOTS_ALONG
    options: dict[str, Any] = _options(review, name) | {"size": size, "ndim": 2}
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
    options = _options(review, BLOCKS) | {
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


MAPS: dict[str, Callable[[Review], LayerTuple]] = {
    DISPLACEMENT: _displacement,
    AREA: _folding,
    JUMPS: _jumps,
    RESIDUAL: _residual,
    ARROWS: _arrows,
    BLOCKS: _blocks,
}
"""What a review can show, by the names of the layers."""
