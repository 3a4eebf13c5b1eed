from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.textures import smooth_noise
from registration.geometry import Box
from registration.slides.slide import Slide, open_slide
from registration.transforms import Chain, DisplacementField, Projective
from registration.warp import _Mesh, warp_box

WIDTH, HEIGHT = 900, 640


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    blobs = smooth_noise(np.random.default_rng(5), (HEIGHT, WIDTH, 3), 2.5)
    return np.clip(128 + 45 * blobs, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(texture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Slide:
    path = tmp_path_factory.mktemp("warp") / "moving.png"
    cv2.imwrite(str(path), texture[..., ::-1])
    return open_slide(path, mpp=0.5)


@pytest.fixture(scope="module")
def chain() -> Chain:
    rng = np.random.default_rng(1)
    field = DisplacementField.from_nodes((-200.0, -200.0), 200.0, rng.normal(0, 6, (7, 8, 2)))
    turn = np.array([[0.99, -0.05, 30.0], [0.05, 1.01, -12.0], [1e-6, -2e-6, 1.0]])
    return Chain((field, Projective(turn)))


def test_mesh_is_exact_to_a_hundredth_of_a_pixel(chain: Chain) -> None:
    box = Box(133, 77, 210, 150)

    mesh = _Mesh.of(chain, box, 1.0)
    mapped = mesh.dense(mesh.positions)

    exact = chain.on_grid(133 + np.arange(210.0), 77 + np.arange(150.0))
    assert np.abs(mapped - exact).max() < 0.03
    assert np.abs(mapped - exact).mean() < 0.01


def test_mesh_of_a_level_follows_the_coordinate_rule(chain: Chain) -> None:
    mesh = _Mesh.of(chain, Box(10, 20, 30, 25), 4.0)
    mapped = mesh.dense(mesh.positions)

    exact = chain([[(10 + 7 + 0.5) * 4 - 0.5, (20 + 3 + 0.5) * 4 - 0.5]])[0]
    assert np.abs(mapped[3, 7] - exact).max() < 0.03


def test_integer_shift_copies_pixels(slide: Slide, texture: np.ndarray) -> None:
    warped = warp_box(slide, Projective.translation(13, -7), Box(100, 200, 150, 80))

    np.testing.assert_array_equal(warped.image, texture[193:273, 113:263])
    assert warped.has_source.all()


def test_agrees_with_one_exact_interpolation(
    slide: Slide, texture: np.ndarray, chain: Chain
) -> None:
    box = Box(200, 150, 300, 200)

    warped = warp_box(slide, chain, box)

    exact = chain.on_grid(200 + np.arange(300.0), 150 + np.arange(200.0)).astype(np.float32)
    expected = cv2.remap(texture, exact, None, cv2.INTER_CUBIC)
    difference = np.abs(warped.image.astype(int) - expected)
    assert difference.mean() < 0.3
    assert np.percentile(difference, 99.9) <= 4


def test_the_same_pixel_comes_out_of_every_box(slide: Slide, chain: Chain) -> None:
    whole = warp_box(slide, chain, Box(96, 64, 400, 300)).image

    part = warp_box(slide, chain, Box(131, 99, 77, 53)).image

    difference = np.abs(part.astype(int) - whole[35 : 35 + 53, 35 : 35 + 77])
    assert difference.max() <= 1


def test_a_narrow_gap_is_filled_with_mirrored_content(slide: Slide, texture: np.ndarray) -> None:
    warped = warp_box(slide, Projective.translation(-40, 0), Box(0, 300, 100, 50))

    assert not warped.has_source[:, :39].any()
    assert warped.has_source[:, 41:].all()
    # 40 px at 0.5 µm are within reach: column 39 - k shows column 1 + k of the slide
    np.testing.assert_array_equal(warped.image[:, 30], texture[300:350, 10])


def test_what_lies_far_off_the_slide_is_white(slide: Slide) -> None:
    warped = warp_box(slide, Projective.translation(-5000, 0), Box(0, 0, 64, 48))

    assert not warped.has_source.any()
    assert (warped.image == 255).all()


def test_without_filling_gaps_are_black(slide: Slide) -> None:
    warped = warp_box(slide, Projective.translation(-40, 0), Box(0, 300, 100, 50), fill=False)

    assert (warped.image[:, :39] == 0).all()


def test_a_coarse_box_averages_instead_of_aliasing(slide: Slide, texture: np.ndarray) -> None:
    warped = warp_box(slide, Projective.identity(), Box(20, 10, 60, 50), downsample=4.0)

    averaged = cv2.resize(texture, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    difference = np.abs(warped.image.astype(int) - averaged[10:60, 20:80])
    assert difference.mean() < 1.5
