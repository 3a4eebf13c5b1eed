"""One stain alone, more contrast, and a thin plate through pairs."""

from __future__ import annotations

import numpy as np

from napari_plugin.levels import Tiles
from napari_plugin.overlay import bent
from napari_plugin.tone import Tone
from registration.geometry import Size
from registration.stain import HED_VECTORS
from registration.transforms import Projective


def stained(*amounts: tuple[float, float, float]) -> np.ndarray:
    """Return pixels with amounts of haematoxylin, eosin and DAB, by Beer and Lambert."""
    density = np.array(amounts) @ HED_VECTORS
    return np.rint(255 * np.exp(-density)).astype(np.uint8)[None]


def test_a_stain_is_shown_alone_in_its_own_colour() -> None:
    image = stained((0.8, 0.1, 0.9), (0.6, 0.3, 0.0), (0.0, 0.0, 0.7))

    np.testing.assert_allclose(
        Tone("DAB").on(image).astype(int), stained((0, 0, 0.9), (0, 0, 0), (0, 0, 0.7)), atol=4
    )
    np.testing.assert_allclose(
        Tone("haematoxylin").on(image).astype(int),
        stained((0.8, 0, 0), (0.6, 0, 0), (0, 0, 0)),
        atol=4,
    )


def test_contrast_is_a_factor_on_optical_density() -> None:
    image = stained((0.2, 0.3, 0.1), (0.0, 0.0, 0.0))

    np.testing.assert_allclose(
        Tone(contrast=2.0).on(image).astype(int),
        stained((0.4, 0.6, 0.2), (0.0, 0.0, 0.0)),
        atol=3,
    )


def test_colours_as_they_are_need_no_second_cache() -> None:
    source = Tiles(Size(8, 6), lambda box, _: np.zeros((box.height, box.width, 3), np.uint8))

    assert Tone().of(source) is source
    assert Tone().next_channel.next_channel.next_channel == Tone()


def test_a_thin_plate_takes_every_pair_to_its_place_and_keeps_what_is_straight() -> None:
    rng = np.random.default_rng(3)
    fixed = np.array([(x, y) for x in (200, 900, 1800) for y in (150, 800, 1400)], float)
    fixed += rng.uniform(-90, 90, (9, 2))
    fit = Projective.affine([[0.9, -0.2, 50.0], [0.2, 0.9, -30.0]])
    moving = fit(fixed) + rng.normal(0, 15, (9, 2))

    through = bent(fit, fixed, moving, Size(2000, 1600))

    np.testing.assert_allclose(through(fixed), moving, atol=1.0)
    straight = bent(fit, fixed, fit(fixed), Size(2000, 1600))
    np.testing.assert_allclose(straight([[333.0, 1444.0]]), fit([[333.0, 1444.0]]), atol=1e-6)
