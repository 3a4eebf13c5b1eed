"""How slides lie in the window: what is looked at stays, and coordinates never change."""

from __future__ import annotations

import numpy as np
import pytest

from napari_plugin.views import Frame, Views
from registration.geometry import Size
from registration.transforms import Projective

HE = Frame(Size(1000, 600), 0.5)
IHC = Frame(Size(400, 900), 0.25)


def test_both_slides_begin_upright_in_um_with_their_centres_together() -> None:
    views = Views.of(HE, IHC)

    np.testing.assert_allclose(views.he([[499.5, 299.5]]), [[0, 0]], atol=1e-9)
    np.testing.assert_allclose(views.ihc([[199.5, 449.5]]), [[0, 0]], atol=1e-9)
    np.testing.assert_allclose(views.he([[0.0, 0.0]]), [[-249.75, -149.75]])
    np.testing.assert_allclose(views.ihc([[399.0, 0.0]]), [[49.875, -112.375]])


def test_turning_is_clockwise_as_seen_and_keeps_the_place_looked_at() -> None:
    views = Views.of(HE, IHC)
    about = (10.0, -20.0)
    looked_at = views.he.inverse([about])
    to_the_right = views.he.inverse([(15.0, -20.0)])

    turned = views.turned("he", 90, about)

    np.testing.assert_allclose(turned.he(looked_at), [about], atol=1e-9)
    np.testing.assert_allclose(turned.he(to_the_right), [(10.0, -15.0)], atol=1e-9)  # y points down
    assert turned.ihc is views.ihc


def test_flip_and_zoom_keep_the_place_looked_at() -> None:
    views = Views.of(HE, IHC)
    about = (3.0, 4.0)
    looked_at = views.ihc.inverse([about])
    aside = views.ihc.inverse([(5.0, 5.0)])

    flipped = views.flipped("ihc", about)
    zoomed = views.zoomed("ihc", 2.0, about)

    for changed in (flipped, zoomed):
        np.testing.assert_allclose(changed.ihc(looked_at), [about], atol=1e-9)
        assert not changed.follows  # a hand on the IHC slide ends its following
    np.testing.assert_allclose(flipped.ihc(aside), [(1.0, 5.0)], atol=1e-9)
    np.testing.assert_allclose(zoomed.ihc(aside), [(7.0, 6.0)], atol=1e-9)


def test_following_lays_partners_on_each_other_however_the_he_view_is_turned() -> None:
    ihc_to_he = Projective.affine([[0.0, -0.5, 800.0], [0.5, 0.0, 100.0]])
    ihc_point = np.array([[120.0, 30.0]])
    views = Views.of(HE, IHC).turned("he", 35, (0, 0)).flipped("he", (1, 2))

    following = views.following(ihc_to_he)

    np.testing.assert_allclose(following.ihc(ihc_point), following.he(ihc_to_he(ihc_point)))
    assert views.following(None) is views


def test_bringing_together_only_shifts() -> None:
    views = Views.of(HE, IHC)

    together = views.brought_together((100.0, 50.0), (300.0, 20.0))

    np.testing.assert_allclose(together.he([[100.0, 50.0]]), together.ihc([[300.0, 20.0]]))
    np.testing.assert_array_equal(together.ihc.matrix[:2, :2], views.ihc.matrix[:2, :2])


@pytest.mark.parametrize(
    ("xy", "inside"), [((0, 0), True), ((999.4, 599.4), True), ((599, 700), False)]
)
def test_frame_knows_its_pixels(xy: tuple[float, float], inside: bool) -> None:
    assert HE.holds(xy) is inside
