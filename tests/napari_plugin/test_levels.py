"""Lazy pyramids and overlays: the pixels that napari gets are those of the slide."""

from __future__ import annotations

import numpy as np
import pytest

from napari_plugin.levels import CACHE_BYTES, Tiles, pyramid
from napari_plugin.overlay import EDGE_COLOR, Look, Overlay, warped_tiles
from registration.geometry import Box, Image, Size
from registration.slides.slide import open_slide
from registration.synth import SynthCase
from registration.transforms import Projective


class Counted:
    """A picture in which every pixel tells where it is, and how often it was read."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.pixels_read = 0

    def read(self, box: Box, downsample: float) -> Image:
        self.pixels_read += box.width * box.height
        xs, ys = np.arange(box.x, box.right), np.arange(box.y, box.bottom)
        image = np.empty((box.height, box.width, 3), np.uint8)
        image[..., 0] = xs % 251
        image[..., 1] = ys[:, None] % 241
        image[..., 2] = round(downsample)
        return image


def expected(source: Counted, box: Box, downsample: float) -> Image:
    return source.read(box, downsample)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 700, 40), Box(500, 100, 30, 30), Box(1499, 899, 1, 1), Box(3, 5, 1400, 890)]
)
def test_boxes_from_tiles_are_the_pixels_asked_for(box: Box) -> None:
    source = Counted(Size(1500, 900))
    tiles = Tiles(source.size, source.read)

    np.testing.assert_array_equal(tiles.read(box, 1.0), expected(source, box, 1.0))
    np.testing.assert_array_equal(tiles.read(box, 1.0), expected(source, box, 1.0))


def test_beside_the_slide_is_white() -> None:
    source = Counted(Size(100, 50))
    tiles = Tiles(source.size, source.read)

    image = tiles.read(Box(-10, 40, 30, 20), 1.0)

    assert (image[:, :10] == 255).all()
    assert (image[10:] == 255).all()
    assert image[3, 10 + 7].tolist() == [7, 43, 1]


def test_panning_reads_only_what_comes_into_view() -> None:
    source = Counted(Size(20_000, 20_000))
    tiles = Tiles(source.size, source.read)
    tiles.read(Box(5000, 5000, 1600, 1100), 1.0)
    before = source.pixels_read

    for step in range(1, 20):
        tiles.read(Box(5000 + step, 5000, 1600, 1100), 1.0)

    assert source.pixels_read - before <= 4 * 512 * 512


def test_memory_is_bounded() -> None:
    source = Counted(Size(60_000, 60_000))
    tiles = Tiles(source.size, source.read)

    for x in range(0, 60_000, 1024):
        tiles.read(Box(x, 0, 1024, 2048), 1.0)

    assert CACHE_BYTES / 2 < tiles._cache.held_bytes <= CACHE_BYTES


def test_levels_slice_like_arrays() -> None:
    source = Counted(Size(2500, 1300))
    levels = pyramid(source)

    assert [level.shape for level in levels] == [(1300, 2500, 3), (650, 1250, 3), (325, 625, 3)]
    whole = np.asarray(levels[1])
    assert whole.shape == levels[1].shape
    np.testing.assert_array_equal(levels[1][10:60:1, 1000:2000], whole[10:60, 1000:2000])
    np.testing.assert_array_equal(levels[1][:, 3:9, 1], whole[:, 3:9, 1])
    np.testing.assert_array_equal(levels[1][5:9], whole[5:9])


@pytest.mark.parametrize("size", [Size(2503, 1301), Size(511, 77), Size(20_481, 1025)])
def test_each_level_is_exactly_twice_the_next_with_white_beyond_the_slide(size: Size) -> None:
    levels = pyramid(Counted(size))

    for level in levels:
        ratios = np.divide(levels[0].shape[:2], level.shape[:2])
        np.testing.assert_array_equal(ratios, level.downsample)
    reach = levels[-1].downsample
    beyond = np.subtract(levels[0].shape[:2], size.shape)
    assert ((beyond >= 0) & (beyond < reach)).all()
    corner = Tiles(size, Counted(size).read).read(Box(size.width - 1, size.height - 1, 2, 2), 1)
    assert (corner[1:] == 255).all()
    assert corner[0, 0].tolist() == [(size.width - 1) % 251, (size.height - 1) % 241, 1]


def test_a_real_slide_comes_out_as_it_is(pair: SynthCase) -> None:
    with open_slide(pair.he) as slide:
        levels = pyramid(Tiles.of_slide(slide))

        part = levels[0][300:700, 500:1150]

        np.testing.assert_array_equal(part, slide.read(Box(500, 300, 650, 400)))
        assert levels[0].shape == (*slide.size.shape, 3)  # which is even


WHITE, BLACK = (np.full((1, 1, 3), value, np.uint8) for value in (255, 0))


class Plain:
    """One colour everywhere."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.size = Size(400, 300)

    def read(self, box: Box, downsample: float) -> Image:
        return np.full((box.height, box.width, 3), self.value, np.uint8)


def over(look: Look, box: Box, downsample: float = 1.0) -> Image:
    return Overlay(Plain(200), Plain(100), look).read(box, downsample)[..., 0]


def test_blend_weighs_the_moved_slide() -> None:
    assert (over(Look("blend", 0.25), Box(0, 0, 4, 3)) == 175).all()


def test_swipe_shows_the_moved_slide_up_to_its_edge_at_every_zoom() -> None:
    look = Look("swipe", 0.5, (100.0, 300.0))

    fine = over(look, Box(190, 0, 20, 2))
    coarse = over(look, Box(0, 0, 100, 2), 4.0)

    line = [int(EDGE_COLOR[0])]  # the edge itself, to be dragged: at x = 200
    assert fine[0].tolist() == [100] * 10 + line + [200] * 9
    assert coarse[0].tolist() == [100] * 49 + 2 * line + [200] * 49


def test_checkerboard_is_the_same_in_every_tile() -> None:
    look = Look("checkerboard", 0.5, (0.0, 400.0))

    whole = over(look, Box(0, 0, 400, 300))
    part = over(look, Box(37, 91, 200, 150))

    np.testing.assert_array_equal(part, whole[91:241, 37:237])
    assert whole[0, 0] == whole[int(look.square), int(look.square)] == 100
    assert whole[0, int(look.square)] == 200


def test_warped_tiles_show_the_moving_slide_where_the_transform_says(pair: SynthCase) -> None:
    with open_slide(pair.he) as he:
        tiles = warped_tiles(he, Projective.translation(40.0, -30.0), Size(900, 800))

        part = tiles.read(Box(300, 400, 200, 150), 1.0)

        np.testing.assert_array_equal(part, he.read(Box(340, 370, 200, 150)))


def test_a_transform_beyond_all_measure_shows_glass_instead_of_failing(pair: SynthCase) -> None:
    with open_slide(pair.he) as he:
        wild = Projective(np.array([[5e4, 0.0, 0.0], [0.0, 5e4, 0.0], [0.0, 0.0, 1.0]]))
        tiles = warped_tiles(he, wild, Size(4000, 4000))

        assert (tiles.read(Box(0, 0, 512, 512), 1.0) == 255).any()
