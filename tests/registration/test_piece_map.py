"""One look-up from point to piece to chain: points, grids, files and pixels agree."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration.errors import RunError
from registration.geometry import Box, Size, mesh
from registration.piece_map import MappedPiece, PieceMap, outlines_of, piece_numbers
from registration.slides.slide import Slide, open_slide
from registration.stored_chain import load_chain, save_chain
from registration.transforms import Chain, DisplacementField, Projective
from registration.warp import warp_box

FIXED, MOVING = Size(620, 400), Size(700, 460)


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


@pytest.fixture(scope="module")
def pieces() -> PieceMap:
    """The piece on the left comes from the right, turned; that on the right from the left."""
    turn = Projective(np.array([[0, -1.0, 620], [1, 0, 40], [0, 0, 1]]))
    nodes = np.random.default_rng(1).normal(0, 1.5, (12, 14, 2))
    field = DisplacementField.from_nodes((300.0, -20.0), 40.0, nodes)
    left = MappedPiece(1, (square(40, 60, 200),), (square(300, 60, 340),), Chain((_still(), turn)))
    right = MappedPiece(
        2,
        (square(340, 100, 240),),
        (square(20, 80, 270),),
        Chain((field, Projective.translation(-310, -10))),
    )
    return PieceMap.of([left, right], FIXED, MOVING)


def _still() -> DisplacementField:
    return DisplacementField((0.0, 0.0), 100.0, np.zeros((6, 8, 2)))


def test_points_go_through_the_chain_of_the_piece_they_lie_in(pieces: PieceMap) -> None:
    points = np.array([[100.0, 150.0], [450.0, 200.0], [290.0, 200.0], [-5.0, 900.0]])

    mapped = pieces(points)

    assert piece_numbers(pieces, points).tolist() == [1, 2, 0, 0]
    np.testing.assert_allclose(mapped[0], [470, 140])
    np.testing.assert_allclose(mapped[1], pieces.pieces[1].chain(points[1:2])[0])
    assert np.isnan(mapped[2:]).all()


def test_a_grid_maps_as_its_points_do(pieces: PieceMap) -> None:
    xs, ys = np.arange(-20.0, 640.0, 7.0), np.arange(-10.0, 420.0, 5.0)

    on_grid = pieces.on_grid(xs, ys).reshape(-1, 2)

    np.testing.assert_allclose(on_grid, pieces(mesh(xs, ys)), atol=1e-9, equal_nan=True)
    assert np.isfinite(on_grid).all(axis=1).mean() == pytest.approx(0.345, abs=0.01)


def test_the_inverse_leads_back_to_where_a_point_came_from(pieces: PieceMap) -> None:
    points = mesh(np.arange(60.0, 560.0, 20.0), np.arange(110.0, 250.0, 20.0))
    points = points[piece_numbers(pieces, points) > 0]

    back = pieces.inverse(pieces(points))

    np.testing.assert_allclose(back, points, atol=1e-3)
    assert piece_numbers(pieces, pieces(points), moving=True).min() > 0


def test_a_chain_without_pieces_is_one_piece() -> None:
    points = np.zeros((3, 2))

    assert piece_numbers(Chain((Projective.identity(),)), points).tolist() == [1, 1, 1]


def test_pieces_are_stored_and_read_back(pieces: PieceMap, tmp_path: Path) -> None:
    described = json.loads(json.dumps(save_chain(pieces, tmp_path)))
    points = mesh(np.arange(0.0, 620.0, 13.0), np.arange(0.0, 400.0, 13.0))

    read = load_chain(described, tmp_path)

    np.testing.assert_array_equal(read(points), pieces(points))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"pieces": [{"number": 0, "fixed": [], "moving": [], "steps": []}]},
        {"fixed_size": [0, 4]},
        {"pieces": "all"},
    ],
)
def test_a_damaged_description_is_refused(pieces: PieceMap, tmp_path: Path, spoiled: dict) -> None:
    described = [{**save_chain(pieces, tmp_path)[0], **spoiled}]

    with pytest.raises(RunError, match="no transform is described"):
        load_chain(described, tmp_path)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    noise = np.random.default_rng(2).integers(0, 256, (115, 175, 3), dtype=np.uint8)
    image = cv2.resize(noise, (MOVING.width, MOVING.height), interpolation=cv2.INTER_CUBIC)
    path = tmp_path_factory.mktemp("slides") / "moving.png"
    cv2.imwrite(str(path), image)
    return open_slide(path, 0.5)


def test_each_piece_is_warped_by_its_own_chain_and_glass_is_white(
    pieces: PieceMap, moving: Slide
) -> None:
    whole = warp_box(moving, pieces, Box.of(FIXED))

    inside = Box(80, 100, 120, 120)
    alone = warp_box(moving, pieces.pieces[0].chain, inside)
    np.testing.assert_array_equal(whole.image[inside.slices()], alone.image)
    assert whole.has_source[inside.slices()].all()
    assert (whole.image[:, 260:320] == 255).all()
    assert not whole.has_source[:, 260:320].any()


def test_a_box_is_the_same_however_it_is_cut(pieces: PieceMap, moving: Slide) -> None:
    whole = warp_box(moving, pieces, Box.of(FIXED)).image

    for box in (Box(200, 80, 170, 190), Box(0, 0, 97, 400), Box(333, 111, 55, 77)):
        part = warp_box(moving, pieces, box).image.astype(int)
        assert np.abs(part - whole[box.slices()]).max() <= 1  # positions are float32


def test_nothing_comes_from_another_piece_s_territory(moving: Slide) -> None:
    shift = Chain((_still(), Projective.translation(0, 0)))
    narrow = MappedPiece(1, (square(50, 50, 200),), (square(50, 50, 100),), shift)

    warped = warp_box(moving, PieceMap.of([narrow], FIXED, MOVING), Box(50, 50, 200, 200))

    assert warped.has_source[:90, :90].all()
    assert not warped.has_source[110:, 110:].any()
    assert (warped.image[110:, 110:] == 255).all()


def test_outlines_give_the_mask_back_with_its_hole() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:70] = True
    mask[25:35, 30:45] = False
    lone = MappedPiece(1, outlines_of(mask, 4.0), (), Chain((Projective.identity(),)))

    found = PieceMap.of([lone], Size(320, 240), Size(320, 240)).fixed_territories.labels > 0

    wrong = (found != mask.repeat(4, axis=0).repeat(4, axis=1)).mean()
    assert wrong < 0.02
    assert not found[4 * 30, 4 * 37]
