"""QuPath's GeoJSON: points and polygons, read, mapped through a transform, and written.

QuPath puts 0 at the left edge of the first pixel, this project at its centre: coordinates are
shifted by half a pixel on the way in and out. Where a slide has ``openslide.bounds-x`` and ``-y``,
QuPath counts from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from registration.errors import LandmarkError
from registration.files.plain_json import plain
from registration.files.storage import write_text
from registration.files.text import read_json
from registration.files.words import excerpt, listed
from registration.geometry import Points

PIXEL_CENTER = 0.5
GEOMETRY_KEYS = ("geometry", "nucleusGeometry")
POINT_KINDS = ("Point", "MultiPoint")
DEPTHS = {
    **{"Point": 1, "MultiPoint": 2, "LineString": 2, "MultiLineString": 3, "Polygon": 3},
    **{"MultiPolygon": 4, "GeometryCollection": 0},
}
"""How many lists lie within each other in the coordinates of each kind of geometry."""
FARTHEST = 1e12
"""Level-0 pixels; no slide is that large, and no sum loses its digits."""
DECIMALS = 4
"""Of a pixel, in what is written; more only make the files of a slide's cells large and slow."""
Origin = tuple[int, int]


def read_geojson(path: Path, origin: Origin = (0, 0)) -> Any:
    """Return a GeoJSON document in level-0 pixels of the whole image, pixel edges at integers.

    ``origin`` is the pixel from which QuPath counts on that slide. Raises :class:`LandmarkError`
    where it is none, or any part of it is not what GeoJSON says.
    """
    document = read_json(path, LandmarkError)
    faults = list(_faults(document))
    if faults:
        raise LandmarkError(listed([f"{path}, {fault}" for fault in faults]))
    if not any(True for _ in _geometries(document)):
        raise LandmarkError(f"{path}: no GeoJSON feature found; export annotations from QuPath")
    if any(origin):
        _map_in_place(document, lambda points: points + np.array(origin))
    return document


def write_geojson(path: Path, document: Any, origin: Origin = (0, 0)) -> None:
    """Write a GeoJSON document for a slide on which QuPath counts from ``origin``."""
    moved = document
    if any(origin):
        moved = map_geojson(document, lambda points: points - np.array(origin))
    # QuPath's measurements may be no numbers, which becomes null: other programs know no NaN.
    try:
        text = orjson.dumps(moved).decode()
    except TypeError:  # a number of more than 64 bits, half a character
        text = json.dumps(plain(moved), separators=(",", ":"), allow_nan=False)
    write_text(path, text + "\n")


def map_geojson(document: Any, transform: Callable[[Points], Points]) -> Any:
    """Return a copy with every coordinate mapped; everything else is kept."""
    mapped = _copied(document)
    move_geojson(mapped, transform)
    return mapped


def move_geojson(document: Any, transform: Callable[[Points], Points]) -> None:
    """Map every coordinate of a document itself, which for a whole slide's cells is not copied."""
    _map_in_place(document, lambda points: transform(points - PIXEL_CENTER) + PIXEL_CENTER)


def read_named_points(path: Path, origin: Origin = (0, 0)) -> tuple[tuple[str, ...] | None, Points]:
    """Return names (``None`` unless every point has its own) and ``(N, 2)`` points of a file."""
    names: list[str] = []
    points: list[list[float]] = []
    for feature in features(read_geojson(path, origin)):
        geometry = feature.get("geometry") or {}
        if geometry.get("type") not in POINT_KINDS:
            continue
        found = positions({"type": "Feature", "geometry": geometry})
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


def positions(document: Any) -> list[list[float]]:
    """Return every ``[x, y]`` of a document, itself, so that it can be changed in place."""
    found: list[list[float]] = []
    for geometry in _geometries(document):
        _collect(geometry["coordinates"], found)
    return found


def counts(document: Any) -> NDArray[np.int64]:
    """Return how many positions each feature has, in the order of :func:`positions`."""
    return np.array([len(positions(feature)) for feature in features(document)], np.int64)


def odd_shapes(document: Any) -> list[str]:
    """Name the features with a polygon that is none: a ring that is open or has no area."""
    return [
        f"feature {number}{_called(feature)}"
        for number, feature in enumerate(features(document), start=1)
        if any(not _is_ring(ring) for ring in _rings(feature))
    ]


def _called(feature: dict[str, Any]) -> str:
    """Return a feature's name or id in parentheses; nothing where it has none."""
    properties = feature.get("properties")
    name = properties.get("name") if isinstance(properties, dict) else None
    called = name if isinstance(name, str) and name else feature.get("id")
    return f" ({excerpt(called)[1:-1]})" if isinstance(called, str) and called else ""


def _rings(feature: dict[str, Any]) -> Iterator[Any]:
    """Yield the rings of all polygons of a feature."""
    for geometry in _geometries(feature):
        kind = geometry.get("type")
        if kind == "Polygon":
            yield from geometry["coordinates"]
        elif kind == "MultiPolygon":
            yield from chain.from_iterable(geometry["coordinates"])


def _is_ring(ring: Any) -> bool:
    if not isinstance(ring, list) or len(ring) < 4 or ring[0][:2] != ring[-1][:2]:
        return False
    x, y = ring[0][:2]
    corners = [(at[0] - x, at[1] - y) for at in ring]
    return any(a[0] * b[1] != a[1] * b[0] for a, b in pairwise(corners))


def _faults(document: Any) -> Iterator[str]:
    """Yield what of each feature is not what GeoJSON says, the feature first."""
    found = list(features(document))
    faults = {number: fault for number, feature in enumerate(found) if (fault := _fault(feature))}
    if not faults and _as_array(positions(document)) is not None:
        return
    for number, feature in enumerate(found):
        fault = faults.get(number)
        if fault is None and _as_array(positions(feature)) is None:
            fault = "its coordinates are not pairs of finite numbers"
        if fault:
            yield f"feature {number + 1}: {fault}{_called(feature)}"


def _fault(feature: dict[str, Any]) -> str | None:
    """Return what of a feature is not what GeoJSON says, but for its coordinates."""
    if not isinstance(feature.get("properties"), dict | None):
        return f"its properties are {excerpt(feature['properties'])}, not names with values"
    waiting = [feature.get(key) for key in GEOMETRY_KEYS]
    while waiting:
        geometry = waiting.pop()
        if geometry is None:
            continue
        if not isinstance(geometry, dict):
            return f"its geometry is {excerpt(geometry)}, not names with values"
        kind = geometry.get("type")
        if not isinstance(kind, str) or kind not in DEPTHS:
            return f"its geometry is of the type {excerpt(kind)}, which GeoJSON lacks"
        inner = geometry.get("geometries", [])
        if not isinstance(inner, list):
            return f"its geometries are {excerpt(inner)}, not a list"
        waiting += inner
        coordinates = geometry.get("coordinates", [])
        if not isinstance(coordinates, list):
            return "its coordinates are not pairs of finite numbers"
        if _depth(coordinates) not in (None, DEPTHS[kind]):
            return f"its coordinates are not pairs of finite numbers, nested as in a {kind}"
    return None


def _depth(coordinates: list[Any]) -> int | None:
    """Return how many lists lie within each other, by the first of each; ``None`` if one is empty."""
    inner: Any = coordinates
    depth = 0
    while isinstance(inner, list):
        if not inner:
            return None
        depth, inner = depth + 1, inner[0]
    return depth


def _geometries(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every geometry that has coordinates, feature by feature."""
    for feature in features(document):
        waiting = [feature[key] for key in GEOMETRY_KEYS if feature.get(key)]
        while waiting:
            geometry = waiting.pop()
            waiting += filter(None, geometry.get("geometries", []))
            if "coordinates" in geometry:
                yield geometry


def _map_in_place(document: Any, transform: Callable[[Points], Points]) -> None:
    """Map every position of a document itself."""
    found = positions(document)
    points = _as_array(found)
    if points is not None and len(points):
        moved = np.round(transform(points), DECIMALS).tolist()
        for position, (x, y) in zip(found, moved, strict=True):
            position[0], position[1] = x, y
        _forget_bounds(document)


def _forget_bounds(document: Any) -> None:
    """Leave out the bounding boxes, which are optional, and no longer true once a shape has moved."""
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            part.pop("bbox", None)
            inner = ("features", *GEOMETRY_KEYS, "geometries")
            waiting += [part[key] for key in inner if key in part]


def _copied(document: Any) -> Any:
    """Copy what may be changed: lists, features and geometries; not what properties hold."""
    if isinstance(document, list):
        return [_copied(item) for item in document]
    if not isinstance(document, dict):
        return document
    kept = {**document}
    for key in ("features", *GEOMETRY_KEYS, "geometries", "coordinates"):
        if isinstance(kept.get(key), dict | list):
            kept[key] = _copied(kept[key])
    return kept


def _collect(coordinates: Any, found: list[Any]) -> None:
    """Add the positions of nested coordinates to a list; whole lines of them at once."""
    if not isinstance(coordinates, list) or not coordinates:
        if coordinates != []:
            found.append(coordinates)
        return
    first = coordinates[0]
    if not isinstance(first, list):
        found.append(coordinates)
    elif first and not isinstance(first[0], list):
        found.extend(coordinates)
    else:
        for inner in coordinates:
            _collect(inner, found)


def _as_array(found: Sequence[Any]) -> Points | None:
    """Return positions as ``(N, 2)`` points; ``None`` where one is not ``[x, y]`` of finite numbers."""
    if not {*map(type, found)} <= {list}:
        return None
    lengths = {*map(len, found)}
    if min(lengths, default=2) < 2:
        return None
    plane = found if lengths == {2} else (position[:2] for position in found)
    flat = list(chain.from_iterable(plane))
    if not {*map(type, flat)} <= {int, float}:
        return None
    try:
        points = np.array(flat, np.float64).reshape(-1, 2)
    except OverflowError:
        return None
    return points if (np.abs(points) < FARTHEST).all() else None
