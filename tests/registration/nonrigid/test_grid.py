from __future__ import annotations

import numpy as np
import pytest

from registration.geometry import Size
from registration.nonrigid.grid import BlockGrid

SIZE = Size(1003, 617)


def test_cores_tile_the_slide_without_gap_or_overlap() -> None:
    count = np.zeros(SIZE.shape, int)

    for block in BlockGrid(SIZE, rows=4, columns=3, halo_px=50):
        count[block.core.slices()] += 1

    assert (count == 1).all()


def test_blocks_are_named_by_row_and_column_from_one() -> None:
    names = [block.name for block in BlockGrid(SIZE, rows=2, columns=3)]

    assert names == ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3"]


@pytest.mark.parametrize("halo", [0, 1, 40])
def test_weights_sum_to_one_everywhere_also_beyond_the_slide(halo: int) -> None:
    xs, ys = np.arange(-20.0, SIZE.width + 20, 3.5), np.arange(-20.0, SIZE.height + 20, 2.25)

    total = sum(
        block.weights(xs, ys, SIZE) for block in BlockGrid(SIZE, rows=4, columns=3, halo_px=halo)
    )

    # The smooth ramps of two neighbours add up to one; blocks do not meet beyond their halos.
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


def test_weights_vanish_at_the_edge_of_the_halo() -> None:
    block = list(BlockGrid(SIZE, rows=4, columns=3, halo_px=40))[4]
    edge = np.array([block.halo.x - 0.5, block.halo.right - 0.5])
    middle = np.array([block.core.y + 80.0])

    assert np.allclose(block.weights(edge, middle, SIZE), 0)


def test_inner_borders_leave_out_the_edge_of_the_slide() -> None:
    columns, rows = BlockGrid(Size(400, 300), rows=3, columns=4).inner_borders

    assert columns == [100, 200, 300]
    assert rows == [100, 200]
