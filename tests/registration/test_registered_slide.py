"""The registered slide as a slide of OpenSlide's, against the lossless pyramid that is written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import zarr
from openslide.deepzoom import DeepZoomGenerator

from registration.bspline import BSpline
from registration.errors import SlideError
from registration.execution import InProcess, no_progress
from registration.geometry import Box, Size
from registration.pair import SlidePair
from registration.registered_slide import RegisteredSlide, write_image
from registration.slides.slide import Slide, open_slide
from registration.transforms import Chain, DisplacementField, Projective, SplicedField

FIXED, MOVING = Size(2300, 1700), Size(2000, 1500)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SlidePair:
    """Blobs of many sizes; what is fixed lends its size alone."""
    folder = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(2)
    image = np.full((*MOVING.shape, 3), 240, np.uint8)
    for _ in range(1500):
        at = tuple(int(value) for value in rng.integers([0, 0], [MOVING.width, MOVING.height]))
        colour = tuple(int(value) for value in rng.integers(40, 220, 3))
        cv2.circle(image, at, int(rng.integers(3, 60)), colour, -1, cv2.LINE_AA)
    cv2.imwrite(str(folder / "he.png"), cv2.GaussianBlur(image, (0, 0), 1.0))
    cv2.imwrite(str(folder / "ihc.png"), np.full((*FIXED.shape, 3), 200, np.uint8))
    return SlidePair(open_slide(folder / "he.png", 0.4), open_slide(folder / "ihc.png", 0.5))


def smooth() -> Chain:
    """A field of some 20 px, then a turn by 8 degrees; a corner of the fixed slide has no source."""
    nodes = cv2.GaussianBlur(np.random.default_rng(5).normal(size=(12, 15, 2)), (0, 0), 1.2) * 30
    turn = np.deg2rad(8.0)
    cos, sin = np.cos(turn), np.sin(turn)
    affine = Projective.affine([[cos, -sin, 150.0], [sin, cos, -200.0]])
    return Chain((DisplacementField.from_nodes((-100.0, -100.0), 200.0, nodes), affine))


def spliced() -> Chain:
    """Two blocks side by side as in the paper, with a gap between them."""
    left, right = Box(0, 0, 1100, 1700), Box(1100, 0, 1200, 1700)
    shift = BSpline((-500.0, -500.0), (1500.0, 1500.0), np.full((5, 5, 2), 30.0))
    return Chain((SplicedField((left, right), (shift, None)), smooth().steps[1]))


@pytest.fixture(scope="module", params=[smooth, spliced])
def both(request, pair: SlidePair, tmp_path_factory: pytest.TempPathFactory):
    """The slide to read from, and the folder of the one that was written."""
    chain = request.param()
    path = tmp_path_factory.mktemp("run") / "registered.ome.zarr"
    write_image(pair, chain, path, "ome-zarr", InProcess(), no_progress)
    return RegisteredSlide(pair.moving_slide, chain, FIXED, 0.5), path


def stored(path: Path, level: int) -> np.ndarray:
    return np.moveaxis(zarr.open_array(str(path / str(level)), mode="r")[:], 0, -1)


def rgb(image) -> np.ndarray:
    return np.asarray(image)[..., :3]


def assert_alike(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for one grey level in a pixel of a thousand: OpenCV rounds from the corner it got."""
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.shape == expected.shape
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 1e-3


@pytest.mark.parametrize("box", [(0, 0, 700, 300), (1037, 811, 333, 512), (2000, 1500, 300, 200)])
def test_level_0_is_what_the_file_holds(both, box: tuple[int, int, int, int]) -> None:
    slide, path = both
    x, y, width, height = box

    region = slide.read_region((x, y), 0, (width, height))

    assert region.mode == "RGBA"
    assert_alike(rgb(region), stored(path, 0)[y : y + height, x : x + width])
    assert np.asarray(region)[..., 3].min() == 255


def test_smaller_levels_have_its_sizes_and_its_colours(both) -> None:
    slide, path = both
    with_gaps = isinstance(slide._chain.steps[0], SplicedField)

    for level in range(1, slide.level_count):
        whole = rgb(slide.read_region((0, 0), level, slide.level_dimensions[level]))
        expected = stored(path, level)
        assert whole.shape == expected.shape
        difference = np.abs(whole.astype(int) - expected.astype(int))
        # edges of full contrast at every few pixels: a section differs less
        assert np.mean(difference) < (4.0 if with_gaps else 2.0), level
        assert abs(whole.mean() - expected.mean()) < 0.3, level


def test_a_part_of_a_level_is_that_part(both) -> None:
    slide, _ = both
    whole = rgb(slide.read_region((0, 0), 1, slide.level_dimensions[1]))

    part = rgb(slide.read_region((2 * 311, 2 * 203), 1, (120, 90)))

    assert_alike(part, whole[203 : 203 + 90, 311 : 311 + 120])


def test_what_lies_off_the_slide_is_transparent(both) -> None:
    slide, path = both

    region = np.asarray(slide.read_region((-20, 1690), 0, (50, 30)))

    assert region.shape == (30, 50, 4)
    assert not region[10:].any()
    assert not region[:, :20].any()
    assert_alike(region[:10, 20:, :3], stored(path, 0)[1690:, :30])
    assert not np.asarray(slide.read_region((90_000, 0), 0, (5, 4))).any()


def test_openslides_own_deep_zoom_takes_it(both) -> None:
    slide, path = both
    pyramid = DeepZoomGenerator(slide, tile_size=254, overlap=0, limit_bounds=True)
    last = pyramid.level_count - 1
    assert pyramid.level_dimensions[last] == (FIXED.width, FIXED.height)

    tile = pyramid.get_tile(last, (5, 3))

    expected = stored(path, 0)[3 * 254 : 4 * 254, 5 * 254 : 6 * 254]
    assert_alike(np.asarray(tile), expected)
    for level in range(last - 3, last):
        assert pyramid.get_tile(level, (0, 0)).size == pyramid.get_tile_dimensions(level, (0, 0))


def test_says_what_a_slide_says(both) -> None:
    slide, _ = both

    assert isinstance(slide, openslide.AbstractSlide)
    assert slide.dimensions == (FIXED.width, FIXED.height)
    assert slide.level_dimensions == ((2300, 1700), (1150, 850), (575, 425), (288, 213))
    assert slide.level_downsamples == (1.0, 2.0, 4.0, 8.0)
    assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == 0.5
    assert slide.properties["openslide.level[1].width"] == "1150"
    assert dict(slide.associated_images) == {}
    assert slide.get_best_level_for_downsample(3.9) == 1
    assert slide.get_best_level_for_downsample(0.5) == 0
    thumbnail = slide.get_thumbnail((300, 300))
    assert thumbnail.size == (300, 222)
    assert thumbnail.mode == "RGB"


def test_refuses_a_level_that_there_is_not(both) -> None:
    slide, _ = both

    with pytest.raises(SlideError, match="levels 0 to 3: cannot read 10 x 10 px of level 4"):
        slide.read_region((0, 0), 4, (10, 10))
    with pytest.raises(SlideError, match="-1 x 10"):
        slide.read_region((0, 0), 0, (-1, 10))


def test_is_closed_at_the_end_of_a_block(pair: SlidePair) -> None:
    class Watched(Slide):
        closed = False

        def close(self) -> None:
            Watched.closed = True
            super().close()

    again = open_slide(pair.he.path, 0.4)
    again.__class__ = Watched
    with RegisteredSlide(again, smooth(), FIXED, 0.5) as slide:
        assert slide.read_region((0, 0), 0, (1, 1)).size == (1, 1)
        assert not Watched.closed

    assert Watched.closed
