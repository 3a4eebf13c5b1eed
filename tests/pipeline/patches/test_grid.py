"""Where patches can lie."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.patches.grid import PatchGrid
from registration.geometry import Box, Size
from registration.tissue import TissueMap


def test_positions_cover_a_slide_that_is_not_square_and_stay_on_it() -> None:
    grid = PatchGrid.on(Size(1000, 640), 0.5, size=256, stride=200, patch_mpp=None)

    assert (grid.columns, grid.rows) == (4, 2)
    last = grid.box(grid.rows - 1, grid.columns - 1)
    assert (last.x, last.y) == (600, 200)
    assert last.right <= 1000 < last.right + grid.stride
    assert last.bottom <= 640 < last.bottom + grid.stride


def test_a_coarser_mpp_takes_more_of_the_slide_per_patch() -> None:
    grid = PatchGrid.on(Size(3000, 2000), 0.25, size=256, stride=256, patch_mpp=0.6)

    assert grid.downsample == pytest.approx(2.4)
    assert grid.level0(Box(256, 512, 256, 256)) == Box(614, 1229, 615, 614)
    assert (grid.columns, grid.rows) == (4, 3)


def test_an_mpp_within_a_per_cent_of_the_slide_leaves_its_pixels_alone() -> None:
    assert PatchGrid.on(Size(600, 600), 0.4985, 256, 256, patch_mpp=0.5).downsample == 1.0


@pytest.mark.parametrize(
    ("size", "mpp", "message"),
    [(256, 0.2, "finer than the slide's 0.5"), (1024, None, "does not fit on the slide")],
)
def test_what_the_slide_cannot_give_is_refused(size: int, mpp: float | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PatchGrid.on(Size(1000, 640), 0.5, size, size, mpp)


def test_only_positions_with_tissue_are_visited() -> None:
    mask = np.zeros((64, 100), bool)
    mask[40:60, 70:95] = True
    grid = PatchGrid.on(Size(1000, 640), 0.5, 128, 128, None)

    rows = grid.with_tissue(TissueMap(mask, 10.0), least=0.1)

    assert [(box.x, box.y) for row in rows for box in row] == [
        (640, 384),
        (768, 384),
        (640, 512),
        (768, 512),
    ]
