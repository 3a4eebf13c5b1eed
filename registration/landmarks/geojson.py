"""QuPath's GeoJSON: points and polygons, read, mapped through a transform, and written.

QuPath puts 0 at the left edge of the first pixel, this project at its centre: coordinates are
shifted by half a pixel on the way in and out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from registration.errors import LandmarkError
from registration.files.storage import write_json
from registration.files.text import read_json
from registration.geometry import Points

PIXEL_CENTER = 0.5
GEOMETRY_KEYS = ("geometry", "nucleusGeometry")
POINT_KINDS = ("Point", "MultiPoint")


def read_geojson(path: Path) -> Any:
    """Return a GeoJSON document; :class:`LandmarkError` where it is none."""
    document = read_json(path, LandmarkError)
    if not any(True for _ in _geometries(document)):
        raise LandmarkError(f"{path}: no GeoJSON feature found; export annotations from QuPath")
    for number, feature in enumerate(features(document), start=1):
        if not all(_is_position(found) for found in positions(feature)):
            raise LandmarkError(
                f"{path}, feature {number}: its coordinates are not pairs of finite numbers"
            )
    return document


def write_geojson(path: Path, document: Any) -> None:
    """Write a GeoJSON document."""
    write_json(path, document)


def map_geojson(document: Any, transform: Callable[[Points], Points]) -> Any:
    """Return a copy with every coordinate mapped; everything else is kept."""
    mapped = copy.deepcopy(document)
    found = list(positions(mapped))
    if found:
        points = np.array([position[:2] for position in found], np.float64) - PIXEL_CENTER
        for position, point in zip(found, transform(points) + PIXEL_CENTER, strict=True):
            position[:2] = point.tolist()
    return mapped


def read_named_points(path: Path) -> tuple[tuple[str, ...] | None, Points]:
    """Return names (``None`` unless every point has its own) and ``(N, 2)`` points of a file."""
    names: list[str] = []
    points: list[list[float]] = []
    for feature in features(read_geojson(path)):
        geometry = feature.get("geometry") or {}
        if geometry.get("type") not in POINT_KINDS:
            continue
        found = list(_leaves(geometry["coordinates"]))
        name = (feature.get("properties") or {}).get("name")
        names += [str(name)] if name and len(found) == 1 else [""] * len(found)
        points += [position[:2] for position in found]
    if not points:
        raise LandmarkError(f"{path}: no point annotations found, only other shapes")
    usable = all(names) and len(set(names)) == len(names)
    return tuple(names) if usable else None, np.array(points, np.float64) - PIXEL_CENTER


def features(document: Any) -> Iterator[dict[str, Any]]:
    """Yield the features of a collection, a list, or a single feature."""
    if isinstance(document, list):
        for item in document:
            yield from features(item)
    elif isinstance(document, dict) and document.get("type") == "FeatureCollection":
        yield from features(document.get("features", []))
    elif isinstance(document, dict) and document.get("type") == "Feature":
        yield document


def _geometries(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every geometry that has coordinates."""
    waiting = [
        feature[key] for feature in features(document) for key in GEOMETRY_KEYS if feature.get(key)
    ]
    while waiting:
        geometry = waiting.pop()
        waiting += geometry.get("geometries", [])
        if "coordinates" in geometry:
            yield geometry


def positions(document: Any) -> Iterator[list[float]]:
    """Yield every ``[x, y]`` of a document, itself, so that it can be changed in place."""
    for geometry in _geometries(document):
        yield from _leaves(geometry["coordinates"])


def _leaves(coordinates: Any) -> Iterator[list[float]]:
    """Yield the innermost lists of nested coordinates."""
    if isinstance(coordinates, list) and all(isinstance(inner, list) for inner in coordinates):
        for inner in coordinates:
            yield from _leaves(inner)
    else:
        yield coordinates


def _is_position(found: Any) -> bool:
    """Return whether a leaf is ``[x, y]`` or ``[x, y, z]`` of finite numbers."""
    return (
        isinstance(found, list)
        and len(found) >= 2
        and all(isinstance(value, int | float) and math.isfinite(value) for value in found[:2])
    )
