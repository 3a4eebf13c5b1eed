"""What the panel says of a set of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_plugin.picker.assessment import Assessment, assess
from napari_plugin.picker.picks import Picks
from napari_plugin.views import Frame
from registration.geometry import Size
from registration.landmarks.landmarks import Landmarks
from registration.transforms import Projective

HE = Frame(Size(4000, 3000), 0.5)
IHC = Frame(Size(3600, 3200), 0.25)
IHC_TO_HE = Projective.affine([[0.45, -0.25, 900.0], [0.22, 0.48, 100.0]])
PLACES = np.array(
    [[300.0, 250], [3300, 300], [3200, 2900], [350, 2800], [1800, 1500], [2600, 900], [900, 1900]]
)


def judged(ihc: np.ndarray, he: np.ndarray) -> Assessment:
    return assess(Picks.of(Landmarks.of(he, ihc)), HE, IHC)


def test_nothing_yet() -> None:
    found = judged(np.zeros((0, 2)), np.zeros((0, 2)))

    assert (found.needed, found.transform, found.problems) == (4, None, ())


def test_three_pairs_let_the_view_follow_but_are_no_transform() -> None:
    found = judged(PLACES[:3], IHC_TO_HE(PLACES[:3]))

    assert found.transform is None
    assert found.needed == 1
    assert found.follow is not None
    np.testing.assert_allclose(found.follow(PLACES), IHC_TO_HE(PLACES), atol=1e-6)


def test_three_pairs_on_a_line_are_told_and_lead_no_view() -> None:
    line = np.array([[300.0, 300], [1500, 1510], [2700, 2700]])

    found = judged(line, IHC_TO_HE(line))

    assert found.follow is None
    assert any("one line on the IHC slide" in message for message in found.problems)


def test_distances_are_in_um_of_the_he_slide_and_left_out_from_five_pairs_on() -> None:
    he = IHC_TO_HE(PLACES[:5])
    he[4] += (30.0, -40.0)  # 50 px, 25 µm

    four = judged(PLACES[:4], he[:4])
    five = judged(PLACES[:5], he)

    assert max(four.residual_um.values()) < 1e-6
    assert four.left_out_um == {}
    # The other four are exact, so that they tell where pair 5 belongs.
    assert five.left_out_um["5"] == pytest.approx(25.0, abs=1e-3)


@pytest.mark.parametrize("wrong", range(7))
def test_the_wrong_pair_is_the_worst_wherever_it_lies(wrong: int) -> None:
    rng = np.random.default_rng(wrong)
    he = IHC_TO_HE(PLACES) + rng.normal(0, 3, PLACES.shape)
    he[wrong] += (90.0, 60.0)

    found = judged(PLACES, he)

    assert (found.worst, found.stands_out) == (str(wrong + 1), True)
    assert str(wrong + 1) in found.names_at_fault
    assert sum("look" in message.lower() for message in found.problems) == 1


def test_a_doubtful_pair_is_told_even_where_few_pairs_prove_nothing() -> None:
    rng = np.random.default_rng(1)
    he = IHC_TO_HE(PLACES[:6]) + rng.normal(0, 12, (6, 2))
    he[4] += (150.0, -110.0)

    found = judged(PLACES[:6], he)

    assert (found.worst, found.stands_out) == ("5", True)
    assert any("5" in message for message in found.problems)


def test_no_pair_stands_out_among_equals() -> None:
    rng = np.random.default_rng(3)
    found = [judged(PLACES, IHC_TO_HE(PLACES) + rng.normal(0, 4, PLACES.shape)) for _ in range(20)]

    assert all(one.worst is not None for one in found)
    assert sum(one.stands_out for one in found) <= 4


def test_of_exact_pairs_none_is_the_worst() -> None:
    assert judged(PLACES, IHC_TO_HE(PLACES)).worst is None


def test_mirrored_section_is_told_in_words() -> None:
    mirrored = Projective.affine([[-0.5, 0.0, 2000.0], [0.0, 0.5, 100.0]])

    found = judged(PLACES, mirrored(PLACES))

    assert found.transform is not None
    assert any("mirrored" in message for message in found.problems)


def test_duplicate_is_told_before_there_are_four() -> None:
    ihc = PLACES[[0, 0]]

    found = judged(ihc, IHC_TO_HE(ihc))

    assert found.problems == ("Pairs 1 and 2 are at the same place; remove one of them.",)
