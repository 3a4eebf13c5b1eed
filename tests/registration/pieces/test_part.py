"""A part of a slide reads like the slide there, with other pieces painted over."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from registration.geometry import Box, Size
from registration.pieces.find import Pieces, find_pieces
from registration.pieces.part import SlidePart, piece_part
from registration.slides.slide import Slide, open_slide
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.tissue import TissueMap

SIZE = Size(2048, 1536)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    """A slanted core whose box holds a part of another piece."""
    rng = np.random.default_rng(3)
    tissue = np.zeros(SIZE.shape, np.uint8)
    cv2.line(tissue, (400, 300), (1500, 1200), 1, 240)
    cv2.circle(tissue, (1350, 380), 200, 1, -1)
    colour = np.where(rng.random((*SIZE.shape, 1)) < 0.3, (120, 60, 150), (220, 150, 190))
    image = np.where(tissue[..., None] > 0, colour, 243).astype(np.uint8)
    path = tmp_path_factory.mktemp("part") / "two.ndpi"
    write_ndpi(path, NdpiSpec(SIZE, 2.0), iter([image]), lambda small: small)
    return open_slide(path)


@pytest.fixture(scope="module")
def pieces(slide: Slide) -> Pieces:
    return find_pieces(TissueMap.of(slide), slide.mpp)


def core_of(slide: Slide, pieces: Pieces) -> SlidePart:
    number = int(pieces.under(np.array([[900.0, 700.0]]))[0])
    return piece_part(slide, pieces, (number,)).slide


def test_pixels_are_the_slide_s_and_other_tissue_is_glass(slide: Slide, pieces: Pieces) -> None:
    part = core_of(slide, pieces)

    assert len(pieces) == 2
    own = Box(800 - part.box.x, 600 - part.box.y, 120, 100)
    np.testing.assert_array_equal(part.read(own), slide.read(Box(800, 600, 120, 100)))
    other = part.read(Box(1300 - part.box.x, 330 - part.box.y, 100, 100))
    assert np.abs(other.astype(int) - 243).max() <= 6
    assert slide.read(Box(1300, 330, 100, 100)).mean() < 220


def test_smaller_levels_show_the_same_place(slide: Slide, pieces: Pieces) -> None:
    part = core_of(slide, pieces)

    for downsample in (2.0, 4.0, 5.3):
        box = Box(10, 20, 60, 40)
        x, y = part.box.x / downsample, part.box.y / downsample
        if x == int(x) and y == int(y):
            whole = slide.read_scaled(Box(int(x) + 10, int(y) + 20, 60, 40), downsample)
            np.testing.assert_array_equal(part.read_scaled(box, downsample), whole)
    assert next(level.downsample for level in part.levels) == 1
    assert len(part.levels) > 1


def test_a_part_travels_to_other_processes(slide: Slide, pieces: Pieces) -> None:
    part = core_of(slide, pieces)

    arrived = pickle.loads(pickle.dumps(part))

    box = Box.of(part.size.downsampled(8))
    np.testing.assert_array_equal(arrived.read_scaled(box, 8.0), part.read_scaled(box, 8.0))
    assert arrived.mpp == part.mpp
