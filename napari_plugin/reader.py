"""napari's reader: whole-slide images as lazy RGB pyramids, and run folders of ``register``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_plugin.convert import affine_napari
from napari_plugin.levels import Tiles, pyramid
from napari_plugin.review.layers import image_layer, map_layers
from napari_plugin.review.model import Review
from registration.errors import SlideError
from registration.result import RECORD_NAME
from registration.slides.slide import Slide, open_slide

UNKNOWN_MPP = 1.0
Reader = Callable[[Any], list[Any]]


def get_reader(path: str | list[str]) -> Reader | None:
    """Return the reader for a run folder or a slide, or ``None`` where it is neither."""
    if isinstance(path, list):
        return None
    place = Path(path)
    if place.is_dir():
        return read_run if (place / RECORD_NAME).is_file() else None
    try:
        _opened(place).close()
    except SlideError:
        return None
    return read_slide


def read_slide(path: str) -> list[Any]:
    """Return one multiscale RGB layer in µm."""
    slide = _opened(Path(path))
    return [slide_layer(slide)]


def read_run(path: str) -> list[Any]:
    """Return the registered slide over the fixed one, and the maps of its quality."""
    review = Review.open(Path(path))
    return [image_layer(review), *map_layers(review)]


def slide_layer(slide: Slide, name: str | None = None) -> tuple[Any, dict[str, Any], str]:
    """Return a slide as layer data; its path is in the metadata, for the landmark picker."""
    options = {
        "name": name or slide.path.stem,
        "multiscale": True,
        "rgb": True,
        "affine": affine_napari(np.diag([slide.mpp, slide.mpp, 1.0])),
        "units": "um",
        "interpolation2d": "linear",
        "metadata": {"slide": str(slide.path), "mpp": slide.mpp},
    }
    return pyramid(Tiles.of_slide(slide)), options, "image"


def _opened(path: Path) -> Slide:
    """Open a slide; one that does not tell its µm per pixel is shown in pixels."""
    try:
        return open_slide(path)
    except SlideError:
        return open_slide(path, UNKNOWN_MPP)
