"""Axis swaps, checked against napari's and NumPy's own conventions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_plugin.convert import (
    affine_napari,
    box_of,
    from_napari,
    position_xy,
    rectangle,
    scaling,
    to_napari,
)
from registration.geometry import Box, to_level0
from registration.transforms import Projective


def test_point_indexes_the_same_pixel_in_numpy() -> None:
    image = np.zeros((5, 9))
    image[2, 7] = 1  # row 2, column 7

    row, column = to_napari([[7.0, 2.0]])[0].astype(int)

    assert image[row, column] == 1
    assert from_napari([[2.0, 7.0]]).tolist() == [[7.0, 2.0]]


def test_affine_commutes_with_the_swap() -> None:
    transform = Projective.affine([[0.8, -0.3, 12.0], [0.4, 1.1, -7.0]])
    points = np.array([[3.0, 50.0], [-20.0, 8.0]])

    matrix = affine_napari(transform.matrix)
    moved = np.column_stack([to_napari(points), np.ones(2)]) @ matrix.T

    np.testing.assert_allclose(from_napari(moved[:, :2]), transform(points))


def test_perspective_is_refused() -> None:
    matrix = np.eye(3)
    matrix[2, 0] = 1e-5

    with pytest.raises(ValueError, match="no perspective"):
        affine_napari(matrix)


def test_scaling_is_the_rule_of_levels() -> None:
    pixels = np.array([[0.0, 0.0], [10.0, 3.0]])

    mapped = np.column_stack([to_napari(pixels), np.ones(2)]) @ scaling(4.0).T

    np.testing.assert_allclose(from_napari(mapped[:, :2]), to_level0(pixels, 4.0))


def test_box_of_slices_is_what_numpy_takes() -> None:
    image = np.arange(7 * 11).reshape(7, 11)

    box = box_of(slice(2, 40), slice(3, 9), image.shape)

    assert box == Box(3, 2, 6, 5)
    np.testing.assert_array_equal(image[box.slices()], image[2:40, 3:9])


def test_last_two_numbers_of_a_position_are_row_and_column() -> None:
    assert position_xy((9.0, 4.0, 30.0)) == (30.0, 4.0)


def test_rectangle_runs_round_the_pixels() -> None:
    corners = rectangle(Box(4, 10, 3, 2))

    assert corners.tolist() == [[9.5, 3.5], [9.5, 6.5], [11.5, 6.5], [11.5, 3.5]]
