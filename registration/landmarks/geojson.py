"""QuPath's GeoJSON: points and polygons, read, mapped through a transform, and written.

QuPath puts 0 at the left edge of the first pixel, this project at its centre: coordinates are
shifted by half a pixel on the way in and out. Where a slide has ``openslide.bounds-x`` and ``-y``,
QuPath counts from there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from registration.errors import LandmarkError
from registration.files.storage import write_json
from registration.files.text import read_json
from registration.files.words import excerpt
from registration.geometry import Points

PIXEL_CENTER = 0.5
GEOMETRY_KEYS = ("geometry", "nucleusGeometry")
POINT_KINDS = ("Point", "MultiPoint")
FARTHEST = 1e12
"""Level-0 pixels; no slide is that large, and no sum loses its digits."""
Origin = tuple[int, int]


def read_geojson(path: Path, origin: Origin = (0, 0)) -> Any:
    """Return a GeoJSON document in level-0 pixels of the whole image, pixel edges at integers.

    ``origin`` is the pixel from which QuPath counts on that slide. Raises :class:`LandmarkError`
    where it is none, or any part of it is not what GeoJSON says.
    """
    document = read_json(path, LandmarkError)
    found = list(features(document))
    for number, feature in enumerate(found, start=1):
        if fault := _fault(feature):
            raise LandmarkError(f"{path}, feature {number}: {fault}")
    if not any(True for _ in _geometries(document)):
        raise LandmarkError(f"{path}: no GeoJSON feature found; export annotations from QuPath")
    _move(document, origin, 1)
    return document


def write_geojson(path: Path, document: Any, origin: Origin = (0, 0)) -> None:
    """Write a GeoJSON document for a slide on which QuPath counts from ``origin``."""
    moved = copy.deepcopy(document)
    _move(moved, origin, -1)
    write_json(path, moved)


def map_geojson(document: Any, transform: Callable[[Points], Points]) -> Any:
    """Return a copy with every coordinate mapped; everything else is kept."""
    mapped = copy.deepcopy(document)
    found = list(positions(mapped))
    if found:
        points = np.array([position[:2] for position in found], np.float64) - PIXEL_CENTER
        for position, point in zip(found, transform(points) + PIXEL_CENTER, strict=True):
            position[:2] = point.tolist()
    return mapped


def read_named_points(path: Path, origin: Origin = (0, 0)) -> tuple[tuple[str, ...] | None, Points]:
    """Return names (``None`` unless every point has its own) and ``(N, 2)`` points of a file."""
    names: list[str] = []
    points: list[list[float]] = []
    for feature in features(read_geojson(path, origin)):
        geometry = feature.get("geometry") or {}
        if geometry.get("type") not in POINT_KINDS:
            continue
        found = list(_leaves(geometry.get("coordinates", [])))
        name = (feature.get("properties") or {}).get("name")
        names += (
            [str(name)] if isinstance(name, str) and name and len(found) == 1 else [""] * len(found)
        )
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


def positions(document: Any) -> Iterator[list[float]]:
    """Yield every ``[x, y]`` of a document, itself, so that it can be changed in place."""
    for geometry in _geometries(document):
        yield from _leaves(geometry["coordinates"])


def _fault(feature: dict[str, Any]) -> str | None:
    """Return what of a feature is not what GeoJSON says, ``None`` where all is well."""
    if not isinstance(feature.get("properties"), dict | None):
        return f"its properties are {excerpt(feature['properties'])}, not names with values"
    waiting = [feature.get(key) for key in GEOMETRY_KEYS]
    while waiting:
        geometry = waiting.pop()
        if geometry is None:
            continue
        if not isinstance(geometry, dict):
            return f"its geometry is {excerpt(geometry)}, not names with values"
        inner = geometry.get("geometries", [])
        if not isinstance(inner, list):
            return f"its geometries are {excerpt(inner)}, not a list"
        waiting += inner
        coordinates = geometry.get("coordinates", [])
        if not isinstance(coordinates, list) or not all(map(_is_position, _leaves(coordinates))):
            return "its coordinates are not pairs of finite numbers"
    return None


def _geometries(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every geometry that has coordinates."""
    waiting = [
        feature[key] for feature in features(document) for key in GEOMETRY_KEYS if feature.get(key)
    ]
    while waiting:
        geometry = waiting.pop()
        waiting += filter(None, geometry.get("geometries", []))
        if "coordinates" in geometry:
            yield geometry


def _move(document: Any, origin: Origin, sign: int) -> None:
    """Shift every coordinate in place."""
    if any(origin):
        for position in positions(document):
            position[:2] = [position[k] + sign * origin[k] for k in range(2)]


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
        and all(
            isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FARTHEST
            for value in found[:2]
        )
    )
