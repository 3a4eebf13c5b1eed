"""Proposed places against the truth of synthetic sections."""

from __future__ import annotations

import numpy as np
import pytest

from napari_plugin.jobs import Job, suggestion_command
from napari_plugin.picker.proposals import Proposer, propose_place, read_suggestions
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.landmarks.projective import fit_affine
from registration.slides.slide import open_slide
from registration.synth import SynthCase, load_truth
from registration.transforms import Projective
from tests.patience import wait_for


@pytest.fixture
def three_picks(pair: SynthCase) -> Projective:
    picked: Landmarks = read_landmarks(pair.landmarks)
    return fit_affine(picked.ihc[:3], picked.he[:3])


def test_places_are_found_far_closer_than_three_picks_predict(
    pair: SynthCase, exact: Landmarks, three_picks: Projective
) -> None:
    astray = Projective.translation(60.0, -45.0).after(three_picks)  # 75 px, 35 µm
    off = []
    with open_slide(pair.he) as he, open_slide(pair.ihc) as ihc:
        for index in range(0, 200, 8):
            he_xy, ihc_xy = exact.he[index], exact.ihc[index]
            place = propose_place(he, ihc, astray, (float(he_xy[0]), float(he_xy[1])))
            if place.matched:
                off.append(np.hypot(*(np.array(place.xy) - ihc_xy)))

    assert len(off) >= 18  # of 25
    assert np.median(off) <= 3.5  # pixels of 0.46 µm
    assert np.quantile(off, 0.9) <= 10


def test_where_nothing_matches_the_prediction_stands(
    pair: SynthCase, three_picks: Projective
) -> None:
    glass = (20.0, 20.0)
    with open_slide(pair.he) as he, open_slide(pair.ihc) as ihc:
        place = propose_place(he, ihc, three_picks, glass)

    assert not place.matched
    assert "no clear match" in place.note
    np.testing.assert_allclose(place.xy, three_picks.inverse([glass])[0])


def test_suggestions_come_from_a_process_of_their_own(pair: SynthCase) -> None:
    job = Job(suggestion_command(pair.he, pair.ihc, None, None))
    wait_for(lambda: not job.is_running, "the end of the job")
    job.news()

    assert job.exit_code == 0, job.said
    pairs, note = read_suggestions(job.output)

    he, ihc = (np.array([pair_[side] for pair_ in pairs]) for side in (0, 1))
    assert len(pairs) >= 6
    assert note == "suggested"
    assert np.median(np.hypot(*(load_truth(pair.folder)(ihc) - he).T)) < 8


def test_a_slide_that_is_gone_is_told(pair: SynthCase) -> None:
    job = Job(suggestion_command(pair.folder / "none.ndpi", pair.ihc, None, None))
    wait_for(lambda: not job.is_running, "the end of the job")
    job.news()

    assert job.exit_code == 2
    assert "slide not found" in "\n".join(job.said)


def test_nothing_is_proposed_on_glass(
    pair: SynthCase, exact: Landmarks, three_picks: Projective
) -> None:
    with open_slide(pair.he) as he, open_slide(pair.ihc) as ihc:
        proposer = Proposer(he, ihc)

        assert proposer.place(three_picks, (3.0, 3.0)) is None
        x, y = exact.he[100].tolist()
        assert proposer.place(three_picks, (x, y)) is not None
