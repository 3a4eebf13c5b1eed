"""How far tissue reaches does not depend on the glass around it, nor on how it lies there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from registration.recipes import coarse_downsample
from registration.tissue import TissueMap


def turned(degrees: float, glass: int = 0) -> TissueMap:
    """Return a rectangle of 240 x 100 pixels of 8 px, turned on its glass."""
    mask = np.zeros((300 + glass, 340 + glass), np.uint8)
    corners = cv2.boxPoints(((170 + glass / 2, 150 + glass / 2), (240, 100), degrees))
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return TissueMap(mask > 0, 8.0)


@pytest.mark.parametrize("degrees", [0.0, 35.0, 70.0])
@pytest.mark.parametrize("glass", [0, 500])
def test_the_extent_of_tissue(degrees: float, glass: int) -> None:
    extent = turned(degrees, glass).extent

    assert sorted((extent.width, extent.height)) == pytest.approx([800, 1920], abs=60)
    assert coarse_downsample(extent) == 1.0


def test_no_tissue_has_no_extent() -> None:
    assert max(TissueMap(np.zeros((20, 30), bool), 8.0).extent.shape) <= 8


def test_the_share_of_tissue_around_a_place() -> None:
    mask = np.zeros((60, 90), bool)
    mask[:, 30:] = True
    tissue = TissueMap(mask, 4.0)

    found = tissue.share_around(np.array([[40.0, 100.0], [119.5, 100.0], [300.0, 100.0]]), 40)

    np.testing.assert_allclose(found, [0.0, 0.5, 1.0], atol=0.051)
