"""Points through a registration and back, in CSV and GeoJSON."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.stages.warp_points import warp_points
from registration.bspline import BSpline
from registration.errors import LandmarkError, OutputError
from registration.geometry import Box
from registration.transforms import Chain, SplicedField


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _rows(path: Path, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines(), delimiter=delimiter))


def _points(path: Path) -> np.ndarray:
    header, *rows = _rows(path)
    x, y = header.index("x"), header.index("y")
    return np.array([[float(row[x]), float(row[y])] for row in rows])


def test_known_points_arrive_where_the_drawing_put_them(hand_made, tmp_path: Path) -> None:
    truth = hand_made.truth
    lines = [f"{x},{y}" for x, y in truth.he]
    source = _write(tmp_path / "he.csv", "\n".join(["x,y", *lines]))

    done = warp_points(hand_made.registration, source, tmp_path / "ihc.csv")

    assert (done.to, done.points, done.off_slide, done.unsolved) == ("ihc", 40, 0, 0)
    np.testing.assert_allclose(_points(tmp_path / "ihc.csv"), truth.ihc, atol=1e-3)


@pytest.mark.parametrize(("first", "second"), [("ihc", "he"), ("he", "ihc")])
def test_round_trip_stays_within_a_twentieth_of_a_pixel(
    hand_made, tmp_path: Path, first: str, second: str
) -> None:
    rng = np.random.default_rng(2)
    size = hand_made.pair.ihc.size if first == "he" else hand_made.pair.he.size
    points = rng.uniform([0, 0], [size.width, size.height], size=(500, 2))
    source = _write(tmp_path / "a.csv", "x,y\n" + "\n".join(f"{x},{y}" for x, y in points))

    warp_points(hand_made.registration, source, tmp_path / "b.csv", first)
    warp_points(hand_made.registration, tmp_path / "b.csv", tmp_path / "c.csv", second)

    assert np.hypot(*(_points(tmp_path / "c.csv") - points).T).max() <= 0.05
    assert np.hypot(*(_points(tmp_path / "b.csv") - points).T).max() > 50


def test_other_columns_and_their_order_are_kept(hand_made, tmp_path: Path) -> None:
    text = (
        'class,Y,name,X,on_slide,area\ntumour,500,"a, b",600,yes,12.50\n\n stroma ,501,c,601,,007\n'
    )
    source = _write(tmp_path / "cells.csv", text)

    warp_points(hand_made.registration, source, tmp_path / "out.csv")

    header, first, second = _rows(tmp_path / "out.csv")
    assert header == ["class", "Y", "name", "X", "area", "on_slide"]
    assert (first[0], first[2], first[4], first[5]) == ("tumour", "a, b", "12.50", "true")
    assert (second[0], second[2], second[4]) == (" stroma ", "c", "007")
    expected = hand_made.registration.chain.inverse([[600.0, 500.0]])[0]
    np.testing.assert_allclose([float(first[3]), float(first[1])], expected, atol=1e-3)


def test_points_off_a_slide_are_kept_and_flagged(hand_made, tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "x,y\n700,500\n-40,500\n1495,1095\n")

    done = warp_points(hand_made.registration, source, tmp_path / "b.csv", "he")

    # The last one lies on the IHC slide, but below the lower edge of the H&E slide.
    flags = [row[-1] for row in _rows(tmp_path / "b.csv")]
    assert flags == ["on_slide", "true", "false", "false"]
    assert (done.points, done.off_slide) == (3, 2)


def test_semicolons_and_decimal_commas_come_back_as_they_were(hand_made, tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "\ufeffx;y;n\r\n700,5;500,25;1\r\n")

    warp_points(hand_made.registration, source, tmp_path / "b.csv", "he")

    header, row = _rows(tmp_path / "b.csv", ";")
    assert header == ["x", "y", "n", "on_slide"]
    expected = hand_made.registration.chain([[700.5, 500.25]])[0]
    found = [float(cell.replace(",", ".")) for cell in row[:2]]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert "," in row[0]


def test_large_tables_are_mapped_in_parts(
    hand_made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{400 + k},{300 + 2 * k},{k}" for k in range(250)]
    source = _write(tmp_path / "a.csv", "\n".join(["x,y,n", *lines]))
    warp_points(hand_made.registration, source, tmp_path / "whole.csv")

    monkeypatch.setattr("pipeline.stages.warp_points.ROWS_AT_ONCE", 17)
    done = warp_points(hand_made.registration, source, tmp_path / "parts.csv")

    # Each part stops iterating on its own: equal to the tolerance of the inverse, not bit by bit.
    np.testing.assert_allclose(
        _points(tmp_path / "parts.csv"), _points(tmp_path / "whole.csv"), atol=3e-4
    )
    assert done.points == 250
    assert [row[2] for row in _rows(tmp_path / "parts.csv")[1:]] == [str(k) for k in range(250)]


def _collection(*geometries: dict[str, object]) -> str:
    features = [
        {"type": "Feature", "id": f"f{k}", "geometry": geometry, "properties": {"name": f"n{k}"}}
        for k, geometry in enumerate(geometries)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def test_geojson_keeps_everything_but_the_coordinates(hand_made, tmp_path: Path) -> None:
    ring = [[300.5, 300.5], [500.5, 300.5], [500.5, 450.5], [300.5, 300.5]]
    source = _write(
        tmp_path / "a.geojson",
        _collection(
            {"type": "Polygon", "coordinates": [ring], "isEllipse": False},
            {"type": "Point", "coordinates": [-30.0, 10.0]},
        ),
    )

    done = warp_points(hand_made.registration, source, tmp_path / "b.geojson", "he")

    polygon, point = json.loads((tmp_path / "b.geojson").read_text())["features"]
    assert polygon["geometry"]["isEllipse"] is False
    assert polygon["properties"] == {"name": "n0", "on_slide": True}
    assert point["properties"] == {"name": "n1", "on_slide": False}
    # QuPath's pixel centres are at .5, ours at whole numbers.
    expected = hand_made.registration.chain(np.array(ring) - 0.5) + 0.5
    np.testing.assert_allclose(polygon["geometry"]["coordinates"][0], expected, atol=1e-6)
    assert (done.points, done.off_slide) == (5, 1)


def test_geojson_round_trip(hand_made, tmp_path: Path) -> None:
    points = np.random.default_rng(4).uniform([200, 200], [1300, 900], size=(60, 2))
    source = _write(
        tmp_path / "a.geojson",
        _collection({"type": "MultiPoint", "coordinates": points.tolist()}),
    )
    warp_points(hand_made.registration, source, tmp_path / "b.geojson", "he")
    warp_points(hand_made.registration, tmp_path / "b.geojson", tmp_path / "c.geojson", "ihc")

    back = json.loads((tmp_path / "c.geojson").read_text())["features"][0]["geometry"]
    np.testing.assert_allclose(back["coordinates"], points, atol=0.05)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x,y\n1,2\n3,four\n", r"a\.csv, line 3: expected a number for y, found 'four'"),
        ("a.csv", "x,y\n1,2\n\n3,nan\n", r"a\.csv, line 4: expected a finite number for y"),
        ("a.csv", "x,y\n1,2,3\n", r"a\.csv, line 2: expected 2 columns, found 3"),
        ("a.csv", "id,lon,lat\n1,2,3\n", r"a\.csv, line 1: expected one column 'x'.*id,lon,lat"),
        ("a.csv", "x,y,x\n1,2,3\n", r"a\.csv, line 1: expected one column 'x'.*2 of them"),
        ("a.csv", "\n\n", r"a\.csv is empty"),
        ("a.geojson", "{]", r"a\.geojson, line 1: not JSON"),
        ("a.geojson", "{}", r"a\.geojson: no GeoJSON feature"),
        (
            "a.geojson",
            _collection(
                {"type": "Point", "coordinates": [1, 2]},
                {"type": "Point", "coordinates": ["x", "y"]},
            ),
            r"a\.geojson, feature 2: its coordinates are not pairs of finite numbers",
        ),
    ],
)
def test_errors_name_file_and_line(
    hand_made, tmp_path: Path, name: str, text: str, message: str
) -> None:
    source = _write(tmp_path / name, text)

    with pytest.raises(LandmarkError, match=message):
        warp_points(hand_made.registration, source, tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_missing_file_and_writing_onto_the_input(hand_made, tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "x,y\n1,2\n")

    with pytest.raises(LandmarkError, match=r"file not found: .*nowhere\.csv"):
        warp_points(hand_made.registration, tmp_path / "nowhere.csv", tmp_path / "b.csv")
    with pytest.raises(OutputError, match="is read by this command"):
        warp_points(hand_made.registration, source, source)


def test_a_table_without_points_gives_a_table_without_points(hand_made, tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "x,y\n")

    done = warp_points(hand_made.registration, source, tmp_path / "b.csv")

    assert done.points == 0
    assert (tmp_path / "b.csv").read_text() == "x,y,on_slide\n"


def test_command_line_prints_what_it_wrote(hand_made, tmp_path: Path) -> None:
    source = _write(tmp_path / "a.csv", "x,y\n700,500\n-9,5\n")
    folder, out = str(hand_made.registration.folder), str(tmp_path / "b.csv")
    runner = CliRunner()

    plain = runner.invoke(app, ["warp-points", folder, str(source), "--out", out, "--to", "he"])
    as_json = runner.invoke(
        app, ["warp-points", folder, str(source), "--out", out, "--to", "he", "--json"]
    )

    assert plain.exit_code == 0
    assert "2 points in pixels of the H&E slide" in plain.stdout
    assert "1 of them do not lie on both slides" in plain.stdout
    assert json.loads(as_json.stdout)["off_slide"] == 1


def test_places_that_no_point_maps_to_are_counted(hand_made, tmp_path: Path) -> None:
    # Two halves pulled 80 px apart: nothing maps to what lies between them.
    cores = tuple(Box(x, 0, 750, 1100) for x in (0, 750))
    pulled = tuple(
        BSpline((-600.0, -600.0), (200.0, 200.0), np.full((14, 16, 2), value))
        for value in (-40.0, 40.0)
    )
    torn = replace(hand_made.registration, chain=Chain((SplicedField(cores, pulled),)))
    source = _write(tmp_path / "a.csv", "x,y\n400,500\n750,500\n1100,500\n")

    done = warp_points(torn, source, tmp_path / "b.csv", "ihc")

    assert (done.points, done.unsolved) == (3, 1)


def test_qupath_counts_from_the_bounds_of_a_slide_that_has_them(
    hand_made, write_scn, tmp_path: Path
) -> None:
    whole = hand_made.registration
    pixels = np.random.default_rng(0).integers(100, 220, (600, 900, 3), dtype=np.uint8)
    origins = {"he": (500, 310), "ihc": (120, 40)}
    records = {}
    for stain, record in (("he", whole.he), ("ihc", whole.ihc)):
        glass = record.width, record.height
        path = write_scn(tmp_path / f"{stain}.scn", pixels, origins[stain], glass)
        records[stain] = replace(record, path=str(path), mpp=0.5)
    scanned = replace(whole, he=records["he"], ihc=records["ihc"])
    # Level-0 pixels of the IHC slide; QuPath's are counted from its bounds, from pixel edges.
    points = np.array([[700.0, 500.0], [400.0, 300.0]])
    written = points - origins["ihc"] + 0.5
    source = _write(
        tmp_path / "a.geojson",
        _collection({"type": "MultiPoint", "coordinates": written.tolist()}),
    )

    warp_points(scanned, source, tmp_path / "b.geojson", "he")

    found = json.loads((tmp_path / "b.geojson").read_text())["features"][0]["geometry"]
    expected = whole.chain(points) - origins["he"] + 0.5
    np.testing.assert_allclose(found["coordinates"], expected, atol=1e-4)


def test_polygons_that_are_none_are_named_and_carried_over(hand_made, tmp_path: Path) -> None:
    ring = [[300, 300], [400, 300], [400, 400], [300, 300]]
    line = [[300, 300], [350, 350], [400, 400], [300, 300]]
    source = _write(
        tmp_path / "a.geojson",
        _collection(
            {"type": "Polygon", "coordinates": [ring]},
            {"type": "Polygon", "coordinates": [ring, ring[:3]]},
            {"type": "MultiPolygon", "coordinates": [[ring], [line]]},
            {"type": "Polygon", "coordinates": [[*ring[:3], [301, 300]]]},
        ),
    )

    done = warp_points(hand_made.registration, source, tmp_path / "b.geojson", "he")

    assert done.odd_shapes == ("feature 2 (n1)", "feature 3 (n2)", "feature 4 (n3)")
    found = json.loads((tmp_path / "b.geojson").read_text())["features"]
    assert [len(feature["geometry"]["coordinates"]) for feature in found] == [1, 2, 2, 1]


def test_measurements_that_are_no_numbers_become_null(hand_made, tmp_path: Path) -> None:
    text = _collection({"type": "Point", "coordinates": [300, 300]})
    source = _write(
        tmp_path / "a.geojson", text.replace('"n0"', '"n0", "measurements": {"m": NaN}')
    )

    warp_points(hand_made.registration, source, tmp_path / "b.geojson", "he")

    written = (tmp_path / "b.geojson").read_text()
    assert json.loads(written)["features"][0]["properties"]["measurements"] == {"m": None}
    assert "NaN" not in written


@pytest.mark.parametrize("name", ["b.geojson", "b.json", "b.png"])
def test_a_table_is_not_written_as_something_else(hand_made, tmp_path: Path, name: str) -> None:
    source = _write(tmp_path / "a.csv", "x,y\n700,500\n")
    _write(tmp_path / "b.png", "a picture")

    with pytest.raises(OutputError, match=name):
        warp_points(hand_made.registration, source, tmp_path / name)

    assert (tmp_path / "b.png").read_text() == "a picture"
    assert not (tmp_path / "b.geojson").exists()


@pytest.mark.parametrize("kind", ["csv", "geojson"])
def test_only_an_earlier_result_is_replaced(hand_made, tmp_path: Path, kind: str) -> None:
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [700, 500]}}
    texts = {"csv": "x,y\n700,500\n", "geojson": json.dumps(feature)}
    source = _write(tmp_path / f"a.{kind}", texts[kind])
    other = _write(tmp_path / f"b.{kind}", texts[kind].replace("700", "701"))

    with pytest.raises(OutputError, match=rf"b\.{kind} is there already and no earlier result"):
        warp_points(hand_made.registration, source, other)
    assert "701" in other.read_text()

    other.write_bytes(b"")
    warp_points(hand_made.registration, source, other)
    written = other.read_bytes()
    warp_points(hand_made.registration, source, other)
    assert other.read_bytes() == written
