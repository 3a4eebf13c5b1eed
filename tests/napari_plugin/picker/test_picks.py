"""Rules of picking and the model around them, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_plugin.picker.journal import Journal
from napari_plugin.picker.model import Picker
from napari_plugin.picker.picks import Picks, RefusedError
from napari_plugin.views import Frame
from registration.geometry import Size
from registration.landmarks.landmarks import read_landmarks

HE = Frame(Size(2000, 1500), 0.5)
IHC = Frame(Size(1800, 1700), 0.25)


@pytest.fixture
def picker(tmp_path: Path) -> Picker:
    return Picker(HE, IHC, Journal(tmp_path / "pairs.csv"))


def pick(picker: Picker, *places: tuple[float, float, float, float]) -> None:
    for he_x, he_y, ihc_x, ihc_y in places:
        assert picker.click("he", (he_x, he_y))
        assert picker.click("ihc", (ihc_x, ihc_y))


CORNERS = (
    (100, 100, 120, 90),
    (1800, 120, 1700, 150),
    (1750, 1400, 1650, 1600),
    (150, 1350, 130, 1500),
)


def test_pairs_are_picked_he_first_and_strictly_in_turn(picker: Picker) -> None:
    assert not picker.click("ihc", (10, 10))
    assert "H&E slide first" in picker.message

    assert picker.click("he", (100, 200))
    assert "IHC" in picker.headline
    assert not picker.click("he", (300, 400))
    assert "still needs its point on the IHC" in picker.message

    assert picker.click("ihc", (110, 190))
    pair = picker.picks.pair("1")
    assert (pair.he, pair.ihc) == ((100, 200), (110, 190))
    assert picker.progress == "1 pair · 3 more pairs needed"


def test_a_click_beside_the_slide_is_refused(picker: Picker) -> None:
    assert not picker.click("he", (2000, 10))
    assert "beside the H&E slide" in picker.message
    assert picker.picks == Picks()


def test_everything_can_be_undone_and_redone(picker: Picker) -> None:
    states = [picker.picks.pairs]

    def done() -> None:
        states.append(picker.picks.pairs)

    pick(picker, *CORNERS[:2])
    states = [picker.picks.pairs]
    picker.move("1", "ihc", (500, 600))
    done()
    picker.toggle("2")
    done()
    picker.click("he", (900, 900))
    done()
    picker.give_up_half()
    done()
    picker.suggest([((10, 10), (20, 20)), ((30, 40), (50, 60))], "suggested")
    done()
    picker.accept()
    done()
    picker.reject_suggestions()
    done()
    picker.delete("1")
    done()

    for expected in reversed(states[:-1]):
        picker.undo()
        assert picker.picks.pairs == expected
    for expected in states[1:]:
        picker.redo()
        assert picker.picks.pairs == expected
    picker.undo()
    picker.move("2", "he", (77, 88))
    assert not picker.can_redo


def test_undo_takes_a_click_back_together_with_the_place_proposed_for_it(picker: Picker) -> None:
    picker.click("he", (100, 100))
    picker.propose_place("1", (130, 140), "found")
    assert picker.picks.pair("1").proposal == "place"

    picker.undo()

    assert picker.picks.pairs == ()


def test_a_proposed_place_counts_only_when_accepted_or_corrected(picker: Picker) -> None:
    picker.click("he", (100, 100))
    picker.propose_place("1", (130, 140), "found")
    assert len(picker.picks.landmarks()) == 0

    assert not picker.click("he", (200, 100))  # proposals do not pile up
    assert "Pair 1 waits" in picker.message
    picker.click("ihc", (131, 141))  # a click puts it right
    picker.click("he", (200, 100))
    picker.propose_place("2", (130, 280), "found")
    picker.accept()

    landmarks = picker.picks.landmarks()
    assert landmarks.names == ("1", "2")
    assert landmarks.ihc.tolist() == [[131, 141], [130, 280]]


def test_a_guess_is_named_never_accepted_and_no_evidence(picker: Picker) -> None:
    picker.click("he", (100, 100))
    picker.propose_place("1", (130, 140), "no clear match", matched=False)
    assert "guess" in picker.headline

    picker.accept()
    picker.accept_all()

    assert len(picker.picks.landmarks()) == 0
    assert picker.assessment.counted == 0
    picker.accept()
    assert "only a guess" in picker.message
    picker.move("1", "ihc", (133, 144))  # a person put it where it belongs
    assert picker.picks.landmarks().ihc.tolist() == [[133, 144]]


def test_escape_drops_a_proposed_place(picker: Picker) -> None:
    picker.click("he", (100, 100))
    picker.propose_place("1", (130, 140), "found")

    picker.give_up_half()

    assert picker.picks.pairs == ()


def test_unconfirmed_suggestions_are_named_and_accepted_one_by_one(picker: Picker) -> None:
    places = [((10.0, 10.0), (20.0, 20.0)), ((300.0, 400.0), (500.0, 600.0))]
    picker.suggest(places, "suggested, but not confirmed: 0 % agree", confirmed=False)
    assert "NOT CONFIRMED" in picker.headline
    assert "0 % agree" in picker.message

    picker.accept_all()

    assert len(picker.picks.landmarks()) == 0
    picker.accept()
    assert picker.picks.landmarks().names == ("1",)


def test_accepting_from_afar_selects_and_a_rejected_suggestion_leads_to_the_next(
    picker: Picker,
) -> None:
    pick(picker, *CORNERS[:2])
    picker.suggest([((900.0, 900), (20.0, 20)), ((300.0, 700), (50.0, 60))], "suggested")
    picker.select("1")

    picker.accept()
    assert (len(picker.picks.landmarks()), picker.picks.selected) == (2, "3")
    picker.delete()

    assert picker.picks.selected == "4"


def test_places_that_are_pairs_already_are_not_suggested(picker: Picker) -> None:
    pick(picker, *CORNERS[:2])

    picker.suggest([((101.0, 99.0), (20.0, 20.0)), ((900.0, 900.0), (50.0, 60.0))], "suggested")

    assert [pair.he for pair in picker.picks.proposals] == [(900.0, 900.0)]


def test_a_listener_that_fails_does_not_stop_the_others(picker: Picker) -> None:
    told = []

    def fails() -> None:
        raise RuntimeError("broken")

    picker.listeners += [fails, lambda: told.append(1)]
    with pytest.raises(RuntimeError, match="broken"):
        picker.click("he", (5, 5))

    assert told == [1]


def test_a_late_proposal_does_not_move_a_point_that_was_clicked(picker: Picker) -> None:
    picker.click("he", (100, 100))
    picker.click("ihc", (90, 80))

    picker.propose_place("1", (500, 500), "late")

    assert picker.picks.pair("1").ihc == (90, 80)


def test_new_suggestions_replace_old_ones_and_spare_accepted_pairs(picker: Picker) -> None:
    picker.suggest([((10, 10), (20, 20)), ((30, 40), (50, 60))], "")
    picker.accept()

    picker.suggest([((70, 80), (90, 100))], "")

    assert [(pair.name, pair.proposal) for pair in picker.picks.pairs] == [("1", ""), ("2", "pair")]


def test_numbers_are_not_used_twice(picker: Picker) -> None:
    pick(picker, *CORNERS[:3])
    picker.delete("2")
    picker.click("he", (5, 5))

    assert [pair.name for pair in picker.picks.pairs] == ["1", "3", "4"]


def test_pairs_switched_off_are_kept_in_the_file_and_left_out_of_the_fit(picker: Picker) -> None:
    pick(picker, *CORNERS, (900, 700, 850, 800))
    picker.toggle("5")

    stored = read_landmarks(picker.journal.path)

    assert stored.names == ("1", "2", "3", "4", "5")
    assert stored.enabled.tolist() == [True] * 4 + [False]
    assert picker.assessment.counted == 4


def test_selection_runs_round(picker: Picker) -> None:
    pick(picker, *CORNERS)

    picker.select(picker.picks.neighbour(1))
    first = picker.picks.selected
    picker.select(picker.picks.neighbour(-1))

    assert (first, picker.picks.selected) == ("1", "4")


def test_picks_refuse_in_words() -> None:
    with pytest.raises(RefusedError, match="H&E slide first"):
        Picks().picked("ihc", (1.0, 2.0))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["he", "ihc", "move", "toggle", "delete", "accept", "suggest", "place"]),
        st.integers(0, 1400),
        st.integers(1, 4),
    ),
    max_size=30,
)


def act(picker: Picker, kind: str, xy: tuple[float, float], name: str) -> None:
    known = name in [pair.name for pair in picker.picks.pairs]
    if kind in ("he", "ihc"):
        picker.click("he" if kind == "he" else "ihc", xy)
    elif kind == "suggest":
        picker.suggest([(xy, xy)], "")
    elif kind == "accept":
        picker.accept()
    elif kind == "move" and known:
        picker.move(name, "he", xy)
    elif kind == "toggle" and known:
        picker.toggle(name)
    elif kind == "delete" and known:
        picker.delete(name)
    elif kind == "place":
        picker.propose_place(name, xy, "")


@settings(max_examples=25)
@given(actions=ACTIONS)
def test_whatever_is_done_pairs_stay_paired_and_the_file_holds_them(
    actions: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "pairs.csv"
    picker = Picker(HE, IHC, Journal(path))
    for kind, place, number in actions:
        act(picker, kind, (float(place), float((7 * place) % 1400)), str(number))
        assert sum(not pair.is_whole for pair in picker.picks.pairs) <= 1

    picked = picker.picks.landmarks()
    again = Picker(HE, IHC, Journal(path))  # as after a crash: nothing was closed
    assert again.picks.pairs == picker.picks.pairs
    if len(picked):
        stored = read_landmarks(path, minimum=0)
        np.testing.assert_allclose(stored.he, picked.he, atol=1e-4)
        assert stored.names == picked.names
