"""Outlines from QuPath: their classes, their slide, and what becomes of tissue under them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from registration.errors import LandmarkError
from registration.landmarks.landmarks import Landmarks
from registration.pair import SlidePair
from registration.pieces.drawn import parse_drawn_argument, read_drawn
from registration.pieces.find import LEFT_OUT, find_pieces
from registration.pieces.plan import choose_starts
from registration.pieces.planned import PiecePlan
from registration.slides.slide import open_slide
from registration.tissue import TissueMap


def feature(name: str, x: int, y: int, side: int) -> dict[str, Any]:
    """Return a square as QuPath exports it."""
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": name}},
    }


def written(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def test_classes_are_told_apart_and_pixels_begin_half_a_pixel_later(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.geojson",
        *(feature("Piece 2", 10, 20, 30), feature("control", 5, 5, 9), feature("exclude", 1, 1, 3)),
    )

    drawn = read_drawn(path)

    assert list(drawn.pieces) == ["piece 2"]
    np.testing.assert_allclose(drawn.pieces["piece 2"][0][0][0], [9.5, 19.5])
    assert len(drawn.left_out) == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (feature("Tumor", 1, 1, 5), "feature 1: its class is 'tumor'; expected piece 1"),
        (
            {**feature("piece 1", 1, 1, 5), "geometry": {"type": "Point", "coordinates": [1, 2]}},
            "feature 1: expected a closed outline",
        ),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, entry: dict, message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        read_drawn(written(tmp_path / "b.geojson", entry))


def test_drawn_pieces_come_first_and_marked_tissue_is_none(tmp_path: Path) -> None:
    mask = np.zeros((600, 900), np.uint8)
    for x in (200, 500, 760):
        cv2.circle(mask, (x, 300), 100, 1, -1)
    tissue = TissueMap(mask > 0, 8.0)
    path = written(
        tmp_path / "c.geojson",
        *(feature("piece 7", 650 * 8, 180 * 8, 240 * 8), feature("control", 80 * 8, 180 * 8, 1950)),
    )

    pieces = find_pieces(tissue, 1.0, read_drawn(path))

    centers = np.array([[200, 300], [500, 300], [760, 300]]) * 8.0
    assert pieces.under(centers).tolist() == [0, 2, 1]
    assert (pieces.name(1), pieces.name(2)) == ("piece 7", "")
    assert pieces.labels[300, 200] == LEFT_OUT
    assert pieces.areas_um2 == pytest.approx(np.full(2, np.pi * 800**2), rel=0.02)


def test_outlines_that_overlap_do_not_undo_each_other(tmp_path: Path) -> None:
    mask = np.ones((300, 400), bool)
    path = written(
        tmp_path / "d.geojson", feature("exclude", 80, 80, 160), feature("exclude", 160, 160, 160)
    )

    pieces = find_pieces(TissueMap(mask, 1.0), 20.0, read_drawn(path))

    at = np.array([[100.0, 100.0], [200.0, 200.0], [300.0, 300.0], [350.0, 50.0]])
    assert (pieces.labels[at[:, 1].astype(int) - 1, at[:, 0].astype(int)] == LEFT_OUT).tolist() == [
        *(True, True, True, False)
    ]


def test_what_is_left_out_stays_out_of_a_slide_that_starts_from_landmarks(
    tmp_path: Path, pair: SlidePair
) -> None:
    drawn = parse_drawn_argument(
        "," + str(written(tmp_path / "pen.geojson", feature("exclude", 600, 150, 100))), pair
    )
    ihc = np.array([[720, 170], [880, 160], [890, 440], [730, 430], [800, 300], [640, 380.0]])
    landmarks = Landmarks.of(ihc - [500, 0], ihc)

    plan = choose_starts(pair, landmarks, tmp_path, TissueMap.of(pair.ihc), drawn)

    assert isinstance(plan, PiecePlan)
    [piece] = plan.planned
    assert piece.start.record.source == "landmarks"
    assert plan.fixed.under(np.array([[650.0, 200.0], [800.0, 300.0]])).tolist() == [0, 1]
    np.testing.assert_allclose(piece.landmarks("he").ihc, ihc)


@pytest.fixture
def pair(tmp_path: Path) -> SlidePair:
    """Tissue on the left of the H&E and on the right of the IHC."""
    rng = np.random.default_rng(1)
    slides = []
    for name, x in (("he", 250), ("ihc", 750)):
        image = np.full((600, 1000, 3), 243, np.uint8)
        noise = rng.integers(90, 200, (300, 300, 1), dtype=np.uint8)
        image[150:450, x - 150 : x + 150] = noise * np.array([1, 0.7, 0.9])
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
        slides.append(open_slide(tmp_path / f"{name}.png", 2.0))
    return SlidePair(*slides)


def test_a_file_belongs_to_the_slide_whose_tissue_it_lies_on(
    tmp_path: Path, pair: SlidePair
) -> None:
    left = written(tmp_path / "left.geojson", feature("piece 1", 110, 160, 280))
    right = written(tmp_path / "right.geojson", feature("piece 1", 610, 160, 280))

    assert parse_drawn_argument(str(left), pair).ihc is None
    assert parse_drawn_argument(str(right), pair).he is None
    both = parse_drawn_argument(f"{left},{right}", pair)
    assert both.he is not None
    assert both.ihc is not None
    assert parse_drawn_argument(f",{left}", pair).he is None


def test_a_file_that_fits_both_slides_is_asked_about(tmp_path: Path, pair: SlidePair) -> None:
    wide = written(tmp_path / "wide.geojson", feature("exclude", 0, 0, 1000))

    with pytest.raises(LandmarkError, match="may be of either slide"):
        parse_drawn_argument(str(wide), pair)
