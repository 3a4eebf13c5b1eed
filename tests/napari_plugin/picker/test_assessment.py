"""What the panel says of a set of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_plugin.picker.assessment import Assessment, assess
from napari_plugin.picker.doubt import suspects
from napari_plugin.picker.picks import Picks
from napari_plugin.views import Frame
from registration.geometry import Size, farthest_first
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

    assert found.worst == str(wrong + 1)
    assert found.worst in found.doubtful
    assert str(wrong + 1) in found.names_at_fault
    assert sum("look" in message.lower() for message in found.problems) == 1


def test_a_doubtful_pair_is_told_even_where_few_pairs_prove_little() -> None:
    rng = np.random.default_rng(1)
    he = IHC_TO_HE(PLACES[:6]) + rng.normal(0, 4, (6, 2))
    he[4] += (150.0, -110.0)

    found = judged(PLACES[:6], he)

    assert found.worst == "5"
    assert found.worst in found.doubtful
    assert any("5" in message for message in found.problems)


def test_no_pair_stands_out_among_equals() -> None:
    rng = np.random.default_rng(3)
    found = [judged(PLACES, IHC_TO_HE(PLACES) + rng.normal(0, 4, PLACES.shape)) for _ in range(20)]

    assert all(one.worst is not None for one in found)
    assert sum(one.worst in one.doubtful for one in found) <= 1


SETS = 300
"""The seeds are fixed."""


def layout(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return places as a person spreads them: each the farthest of some from those before."""
    cloud = rng.uniform(0, 1, (60, 2)) * [3400, 3000] + 100
    return cloud[farthest_first(cloud, count, 0)]


def drawn(rng: np.random.Generator, count: int, error_um: float) -> tuple[np.ndarray, np.ndarray]:
    """Return IHC places and H&E places that are off by a normal error in each direction."""
    ihc = layout(rng, count)
    return ihc, IHC_TO_HE(ihc) + rng.normal(0, error_um / HE.mpp, ihc.shape)


@pytest.mark.parametrize("count", [5, 6, 8])
@pytest.mark.parametrize("error_um", [2.0, 10.0])
def test_fewer_than_five_in_a_hundred_good_sets_are_doubted(count: int, error_um: float) -> None:
    rng = np.random.default_rng(count)

    false = sum(bool(suspects(*drawn(rng, count, error_um), HE.mpp)) for _ in range(SETS))

    assert false < 0.05 * SETS


@pytest.mark.parametrize("count", [6, 7, 10])
def test_a_mis_click_of_50_um_is_named_in_95_of_a_hundred_sets(count: int) -> None:
    rng = np.random.default_rng(count)
    named = 0
    for _ in range(SETS):
        ihc, he = drawn(rng, count, 2.5)
        wrong, angle = int(rng.integers(count)), rng.uniform(0, 2 * np.pi)
        he[wrong] += 50 / HE.mpp * np.array([np.cos(angle), np.sin(angle)])
        named += suspects(ihc, he, HE.mpp) == (wrong,)

    assert named >= 0.95 * SETS


def test_swapped_and_mirrored_pairs_are_odd() -> None:
    he = IHC_TO_HE(PLACES)
    swapped = he.copy()
    swapped[[1, 4]] = he[[4, 1]]
    mirrored = Projective.affine([[-0.5, 0.0, 2000.0], [0.0, 0.5, 100.0]])(PLACES)

    assert not judged(PLACES, he).problems
    assert judged(PLACES, swapped).problems
    assert judged(PLACES, mirrored).problems


@pytest.mark.parametrize(("he_mpp", "right"), [(1.0, "0.5"), (0.25, "0.5"), (0.38, "0.5")])
def test_pairs_that_agree_at_another_scale_are_not_ready(he_mpp: float, right: str) -> None:
    exact = Projective.affine([[0.5, 0.0, 900.0], [0.0, 0.5, 100.0]])
    picks = Picks.of(Landmarks.of(exact(PLACES), PLACES))

    assert not assess(picks, HE, IHC).problems
    [said] = assess(picks, Frame(HE.size, he_mpp), IHC).problems
    assert said.startswith(f"The pairs fit if H&E has about {right} µm/px, not {he_mpp:g}, or IHC")


@pytest.mark.parametrize("swollen", [0.9, 1.1])
def test_tissue_that_swells_a_little_is_ready(swollen: float) -> None:
    assert not judged(PLACES, (IHC_TO_HE(PLACES) - 1500) * swollen + 1500).problems


def test_how_far_a_proposal_is_off_is_told_and_counts_for_nothing() -> None:
    picks = Picks.of(Landmarks.of(IHC_TO_HE(PLACES[:5]), PLACES[:5]))
    he = IHC_TO_HE(PLACES[5:6])[0] + [30.0, 40.0]
    ihc = PLACES[5]
    picks = picks.with_suggestions([((he[0], he[1]), (ihc[0], ihc[1]))], "")

    found = assess(picks, HE, IHC)

    assert found.aside_um == {"6": pytest.approx(25.0)}
    assert found.counted == 5


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
