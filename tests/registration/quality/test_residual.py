"""The residual measure against registrations that are off by a known amount."""

from __future__ import annotations

import numpy as np
import pytest

from registration.geometry import Box
from registration.pair import SlidePair
from registration.quality.residual import ResidualTask, match_downsample, measure_residual
from registration.residual_map import ResidualMap
from registration.slides.slide import open_slide
from registration.synth import SynthSettings, load_truth, write_case
from registration.tissue import TissueMap
from registration.transforms import Chain, Projective


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory):
    settings = SynthSettings(size=1536, seed=21, her2="1+", warp_px=0.0, rotation_deg=5.0)
    return write_case(tmp_path_factory.mktemp("residual"), settings)


def spoiled(case, dx: float, dy: float) -> tuple[SlidePair, ResidualMap]:
    """Measure the exact map of a case with a shift put before it."""
    pair = SlidePair(open_slide(case.he), open_slide(case.ihc))
    exact = load_truth(case.folder)
    chain = Chain((Projective.translation(dx, dy), *exact.steps))
    tissue = TissueMap.of(pair.ihc)
    task = ResidualTask(pair.ihc, pair.he, chain, Box.of(pair.ihc.size), tissue)
    return pair, measure_residual(task)


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (9.0, -5.0)])
def test_the_shift_that_is_left_is_measured(case, dx: float, dy: float) -> None:
    pair, places = spoiled(case, dx, dy)

    shift = np.median(places.shift_um[places.matched], axis=0)

    assert places.matched.mean() > 0.4
    assert shift == pytest.approx([-dx * pair.he.mpp, -dy * pair.he.mpp], abs=0.25)


def test_what_does_not_correspond_matches_by_chance_alone(case) -> None:
    _, places = spoiled(case, 400.0, -300.0)

    assert places.matched.mean() < 0.2


def test_large_slides_are_matched_at_two_micrometres(case) -> None:
    slide = open_slide(case.he)

    assert match_downsample(slide) == pytest.approx(1536 / 1200)
