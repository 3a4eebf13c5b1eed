from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registration.errors import LandmarkError
from registration.geometry import Points
from registration.landmarks.geojson import (
    map_geojson,
    positions,
    read_geojson,
    read_named_points,
    write_geojson,
)

DOCUMENT: dict[str, Any] = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "7f3b",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[10, 20], [30, 20], [30, 45], [10, 20]], [[12, 22], [14, 22]]],
                "plane": {"c": -1, "z": 0, "t": 0},
            },
            "properties": {"objectType": "annotation", "name": "Tumour", "measurements": [1, 2]},
        },
        {
            "type": "Feature",
            "geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [3.5, 4.25]]},
            "nucleusGeometry": {"type": "Point", "coordinates": [5, 6, 0.0]},
            "properties": {},
        },
        {
            "type": "Feature",
            "geometry": {
                "type": "GeometryCollection",
                "geometries": [{"type": "LineString", "coordinates": [[7, 8], [9, 10]]}],
            },
            "properties": {},
        },
        {"type": "Feature", "geometry": None, "properties": {"name": "no place"}},
    ],
}


def affine(points: Points) -> Points:
    """A pixel's centre goes to 2 x + 100, 3 y."""
    return points * [2, 3] + [100, 0]


def test_all_coordinates_are_mapped_and_all_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "annotations.geojson"
    path.write_text(json.dumps(DOCUMENT))
    before = copy.deepcopy(DOCUMENT)
    write_geojson(path, map_geojson(read_geojson(path), affine))
    mapped = json.loads(path.read_text())
    # QuPath counts from the left edge of the first pixel: 10 there is 9.5 here, 119 + .5 there.
    polygon = mapped["features"][0]["geometry"]["coordinates"]
    assert polygon[0][0] == [2 * 9.5 + 100.5, 3 * 19.5 + 0.5]
    assert polygon[1][1] == [2 * 13.5 + 100.5, 3 * 21.5 + 0.5]
    assert mapped["features"][1]["nucleusGeometry"]["coordinates"] == [109.5, 17, 0]
    assert mapped["features"][2]["geometry"]["geometries"][0]["coordinates"][1] == [117.5, 29]
    for document in (mapped, before):
        document["features"][1].pop("nucleusGeometry")
        for feature in document["features"][:2]:
            feature["geometry"].pop("coordinates")
        document["features"][2].pop("geometry")
    assert mapped == before


def test_the_document_that_is_mapped_stays_as_it_was() -> None:
    before = copy.deepcopy(DOCUMENT)
    map_geojson(DOCUMENT, affine)
    assert before == DOCUMENT


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: f["features"], lambda f: f["features"][1]])
def test_collections_lists_and_single_features_are_read(tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "points.geojson"
    path.write_text(json.dumps(wrap(DOCUMENT)))
    names, points = read_named_points(path)
    assert names is None
    np.testing.assert_array_equal(points, [[0.5, 1.5], [3, 3.75]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ("{}", "no GeoJSON feature"),
        ('{"type": "FeatureCollection", "features": []}', "no GeoJSON feature"),
        (json.dumps(DOCUMENT["features"][0]), "no point annotations"),
    ],
)
def test_files_without_points_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "points.geojson"
    path.write_text(text)
    with pytest.raises(LandmarkError, match=message) as refused:
        read_named_points(path)
    assert str(path) in str(refused.value)


POINT = {"type": "Point", "coordinates": [1, 2]}


def feature(**parts: object) -> str:
    return json.dumps([{"type": "Feature", "geometry": POINT, "properties": {}, **parts}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((json.dumps(value), "no GeoJSON feature") for value in (None, 1, "x", [], [[1]])),
        ('{"type": "Feature"}', "no GeoJSON feature"),
        ('{"type": "FeatureCollection", "features": "many"}', "no GeoJSON feature"),
        *((feature(geometry=value), "feature 1: its geometry is") for value in ("x", [1], 5, True)),
        *((feature(properties=value), "feature 1: its properties are") for value in ("x", [1], 5)),
        (feature(nucleusGeometry="x"), "feature 1: its geometry is 'x'"),
        (feature(geometry={"type": "GeometryCollection", "geometries": 5}), "its geometries are 5"),
        (feature(geometry={"type": "GeometryCollection", "geometries": ["x"]}), "its geometry is 'x'"),
        *(
            (feature(geometry={"type": "Point", "coordinates": value}), "pairs of finite numbers")
            for value in (None, "x", 5, {"x": 1}, [1], [1, None], ["1", "2"], [True, False], [1, 1e13],
                          [10**400, 1], [float("nan"), 1], [[1, 2], 3], [[1, 2], [3]])
        ),
        (feature(geometry={"coordinates": json.loads("[" * 200 + "]" * 200)}), "nested more"),
        (feature(geometry={"coordinates": [7, 1]}).replace("7", "9" * 5000), "thousands"),
        (feature(properties="x" * 10**6), "feature 1: its properties are 'xxx"),
    ],
)  # fmt: skip
def test_what_is_no_geojson_is_one_short_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.geojson"
    path.write_text(text)
    with pytest.raises(LandmarkError, match=message) as refused:
        read_geojson(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 400


def test_coordinates_are_counted_from_where_qupath_begins(tmp_path: Path) -> None:
    path = tmp_path / "points.geojson"
    path.write_text(feature(geometry={"type": "Point", "coordinates": [10.5, 20.5, 7]}))
    document = read_geojson(path, (500, 310))
    assert list(positions(document)) == [[510.5, 330.5, 7]]
    np.testing.assert_array_equal(read_named_points(path, (500, 310))[1], [[510, 330]])
    write_geojson(path, document, (500, 310))
    assert list(positions(document)) == [[510.5, 330.5, 7]], "the document itself is left alone"
    assert list(positions(read_geojson(path))) == [[10.5, 20.5, 7]]


@pytest.mark.parametrize("kind", ["Circle", "polygon", None, 3, ""])
def test_a_geometry_that_geojson_lacks_is_refused(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "cells.geojson"
    geometry = {"type": kind, "coordinates": [100, 100], "radius": 5}
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))

    with pytest.raises(
        LandmarkError, match=r"cells\.geojson, feature 1: its geometry is of the type"
    ):
        read_geojson(path)


@pytest.mark.parametrize(
    ("kind", "coordinates"),
    [
        ("Point", [[1, 2]]),
        ("MultiPoint", [1, 2]),
        ("LineString", [[[1, 2], [3, 4]]]),
        ("Polygon", [[0, 0], [9, 0], [9, 9], [0, 0]]),
        ("MultiPolygon", [[[0, 0], [9, 0], [9, 9], [0, 0]]]),
    ],
)
def test_coordinates_of_another_kind_of_geometry_are_refused(
    tmp_path: Path, kind: str, coordinates: object
) -> None:
    path = tmp_path / "a.geojson"
    geometry = {"type": kind, "coordinates": coordinates}
    path.write_text(json.dumps({"type": "Feature", "geometry": geometry, "properties": None}))

    with pytest.raises(LandmarkError, match=f"feature 1: .* nested as in a {kind}"):
        read_geojson(path)


def test_bounding_boxes_do_not_outlive_a_move() -> None:
    point = {"type": "Point", "coordinates": [1.0, 2.0], "bbox": [1, 2, 1, 2]}
    kept = {"bbox": "of the user's"}
    feature = {"type": "Feature", "geometry": point, "properties": kept, "bbox": [1, 2, 1, 2]}
    document = {"type": "FeatureCollection", "features": [feature], "bbox": [1, 2, 1, 2]}

    moved = map_geojson(document, lambda points: points + 3)

    assert document["bbox"] == point["bbox"] == [1, 2, 1, 2]
    assert "bbox" not in moved
    assert moved["features"] == [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [4.0, 5.0]},
            "properties": kept,
        }
    ]
