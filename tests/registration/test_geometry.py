from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from registration.geometry import (
    Box,
    Size,
    farthest_first,
    from_level0,
    look_up,
    mesh,
    outermost,
    to_level0,
    to_rows_columns,
)

boxes = st.builds(
    Box,
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.integers(0, 60),
    st.integers(0, 60),
)
downsamples = st.floats(0.25, 64)


def test_center_of_a_level_pixel_is_the_mean_of_the_level0_pixels_it_covers() -> None:
    for downsample in (1, 2, 4, 8):
        covered = np.arange(3 * downsample, 4 * downsample)
        assert to_level0(np.array([[3.0, 0.0]]), downsample)[0, 0] == covered.mean()


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), downsamples)
def test_levels_round_trip(x: float, y: float, downsample: float) -> None:
    points = np.array([[x, y]])
    np.testing.assert_allclose(
        from_level0(to_level0(points, downsample), downsample), points, atol=1e-6
    )


def test_size_of_a_level_covers_the_whole_slide() -> None:
    assert Size(1001, 400).downsampled(4) == Size(251, 100)
    assert Size(3, 5).downsampled(64) == Size(1, 1)
    assert Size(30, 40).diagonal == 50
    assert Size(30, 40).shape == (40, 30)


@given(boxes, st.integers(1, 80), st.integers(1, 80))
def test_clipped_box_is_the_common_part(box: Box, width: int, height: int) -> None:
    image = np.zeros((height, width), bool)
    rows = np.arange(height)[:, None]
    columns = np.arange(width)[None]
    expected = (columns >= box.x) & (columns < box.right) & (rows >= box.y) & (rows < box.bottom)
    image[box.clipped(Size(width, height)).slices()] = True
    np.testing.assert_array_equal(image, expected)


@given(boxes, st.integers(1, 25))
def test_tiles_cover_a_box_once(box: Box, side: int) -> None:
    counts = np.zeros((200, 200), int)
    for tile in box.tiles(side):
        assert 0 < tile.width <= side
        assert 0 < tile.height <= side
        counts[Box(tile.x + 60, tile.y + 60, tile.width, tile.height).slices()] += 1
    expected = np.zeros_like(counts)
    expected[Box(box.x + 60, box.y + 60, box.width, box.height).slices()] = 1
    np.testing.assert_array_equal(counts, expected)


def test_tiles_come_row_by_row() -> None:
    corners = [(tile.x, tile.y) for tile in Box(10, 20, 50, 30).tiles(25)]
    assert corners == [(10, 20), (35, 20), (10, 45), (35, 45)]


@given(boxes)
def test_points_of_a_box_are_its_pixels(box: Box) -> None:
    ys, xs = np.mgrid[-60:130, -60:130]
    points = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(float)
    assert box.contains(points).sum() == box.width * box.height


def test_box_reaches_half_a_pixel_beyond_its_outer_centers() -> None:
    box = Box(10, 20, 5, 3)
    points = np.array([[9.5, 19.5], [9.49, 20], [14.49, 22.49], [14.5, 20], [10, 22.5]])
    assert box.contains(points).tolist() == [True, False, True, False, False]
    assert box.center == (12, 21)
    assert box.expanded(2) == Box(8, 18, 9, 7)


def test_columns_and_rows_are_those_whose_crossings_lie_inside() -> None:
    box = Box(3, 7, 4, 2)
    xs, ys = np.arange(0, 12, 0.5), np.arange(0, 12, 0.7)
    columns, rows = box.columns_and_rows(xs, ys)
    inside = box.contains(mesh(xs, ys)).reshape(len(ys), len(xs))
    expected = np.zeros_like(inside)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(inside, expected)


def test_a_plane_is_looked_up_at_the_nearest_pixel_and_is_zero_outside() -> None:
    plane = np.arange(1, 13).reshape(3, 4)
    points = np.array([[3.0, 1.0], [0.4, 1.6], [3.6, 0.0], [-0.6, 0.0], [2.0, 2.6], [0.0, -9.0]])
    np.testing.assert_array_equal(look_up(plane, points), [8, 9, 0, 0, 0, 0])
    assert look_up(plane > 3, points).dtype == bool
    assert look_up(plane, points[:0]).shape == (0,)


def test_points_are_chosen_farthest_first() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 1.0], [10.0, 8.0], [0.0, 7.0]])
    assert outermost(points) == 3
    assert farthest_first(points, 3, 3) == [3, 0, 2]
    assert sorted(farthest_first(points, 9, 0)) == [0, 1, 2, 3, 4]


def test_rows_and_columns_index_an_array_at_points() -> None:
    image = np.arange(12).reshape(3, 4)
    rows, columns = to_rows_columns(np.array([[3.0, 1.0], [0.0, 2.0]])).astype(int)
    assert image[rows, columns].tolist() == [image[1, 3], image[2, 0]]
