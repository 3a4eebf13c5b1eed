"""Points of slides with several pieces: each through the chain of its piece, or nowhere."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.stages.warp_points import warp_points
from registration.piece_map import MappedPiece, PieceMap
from registration.result import Registration
from registration.transforms import Chain, Projective


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


@pytest.fixture
def in_pieces(hand_made) -> Registration:
    """The same slides, with two pieces that changed places."""
    found = hand_made.registration
    shifts = ((1, 100, 900, 200), (2, 900, 100, -150))
    pieces = [
        MappedPiece(
            number,
            (square(fixed, 200, 400),),
            (square(moving, 200 + up, 400),),
            Chain((Projective.identity(), Projective.translation(moving - fixed, up))),
        )
        for number, fixed, moving, up in shifts
    ]
    return replace(found, chain=PieceMap.of(pieces, found.fixed.size, found.moved.size))


def test_a_table_gets_the_piece_and_empty_places_off_all_pieces(
    in_pieces: Registration, tmp_path: Path
) -> None:
    source = tmp_path / "ihc.csv"
    source.write_text("name,x,y\na,150,250\nb,1000,300\nc,700,300\n", encoding="utf-8")

    done = warp_points(in_pieces, source, tmp_path / "he.csv", to="he")

    rows = list(csv.DictReader((tmp_path / "he.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["piece"] for row in rows] == ["1", "2", ""]
    assert [(row["x"], row["y"]) for row in rows] == [
        *(("950.0000", "450.0000"), ("200.0000", "150.0000"), ("", ""))
    ]
    assert [row["on_slide"] for row in rows] == ["true", "true", "false"]
    assert (done.points, done.off_piece, done.off_slide, done.unsolved) == (3, 1, 0, 0)


def test_points_come_back_through_their_pieces(in_pieces: Registration, tmp_path: Path) -> None:
    source = tmp_path / "ihc.csv"
    source.write_text("x,y\n150,250\n1000,300\n", encoding="utf-8")

    warp_points(in_pieces, source, tmp_path / "he.csv", to="he")
    warp_points(in_pieces, tmp_path / "he.csv", tmp_path / "back.csv", to="ihc")

    rows = list(csv.DictReader((tmp_path / "back.csv").read_text(encoding="utf-8").splitlines()))
    assert [(float(row["x"]), float(row["y"])) for row in rows] == [(150, 250), (1000, 300)]
    assert list(rows[0]) == ["x", "y", "on_slide", "piece"]


def test_a_shape_off_the_pieces_or_across_two_has_no_geometry(
    in_pieces: Registration, tmp_path: Path
) -> None:
    outlines = {"inside": (150, 250, 100), "across": (400, 250, 600), "glass": (600, 50, 50)}
    features = [
        {
            "type": "Feature",
            "id": name,
            "geometry": {"type": "Polygon", "coordinates": [square(*where).tolist()]},
            "properties": {"note": name},
        }
        for name, where in outlines.items()
    ]
    source = tmp_path / "ihc.geojson"
    source.write_text(
        json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
    )

    done = warp_points(in_pieces, source, tmp_path / "he.geojson", to="he")

    found = json.loads((tmp_path / "he.geojson").read_text(encoding="utf-8"))["features"]
    assert [item["properties"]["piece"] for item in found] == [1, None, None]
    assert found[0]["geometry"]["coordinates"][0][0] == pytest.approx([950, 450])
    assert [item["geometry"] is None for item in found] == [False, True, True]
    assert [item["properties"]["on_slide"] for item in found] == [True, False, False]
    assert [item["properties"]["note"] for item in found] == list(outlines)
    assert done.off_piece >= 4


def test_one_chain_for_the_whole_slide_says_nothing_of_pieces(hand_made, tmp_path: Path) -> None:
    source = tmp_path / "ihc.csv"
    source.write_text("x,y\n700,500\n", encoding="utf-8")

    done = warp_points(hand_made.registration, source, tmp_path / "he.csv", to="he")

    assert (tmp_path / "he.csv").read_text(encoding="utf-8").splitlines()[0] == "x,y,on_slide"
    assert done.off_piece == 0
