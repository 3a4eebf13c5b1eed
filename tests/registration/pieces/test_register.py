"""Two cores that changed places and a piece of control tissue, registered from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from registration.errors import SettingsError
from registration.landmarks.landmarks import read_landmarks
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.piece_map import PieceMap, piece_numbers
from registration.recipes import RegistrationSettings
from registration.register import register_pair
from registration.result import Registration
from registration.slides.slide import open_slide
from registration.synth import GlassSettings, SynthCase, SynthSettings, write_case

SETTINGS = SynthSettings(
    size=576,
    seed=7,
    her2="0",
    mpp_he=2.0,
    mpp_ihc=2.0,
    outline="core",
    mirrored=True,
    truth_points=100,
    glass=GlassSettings(2, "permuted", control=True),
)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    return write_case(tmp_path_factory.mktemp("glass") / "cores", SETTINGS)


@pytest.mark.slow
def test_each_core_finds_its_own_and_control_tissue_none(case: SynthCase, tmp_path: Path) -> None:
    truth = read_landmarks(case.truth, minimum=1)
    pair = SlidePair(open_slide(case.he), open_slide(case.ihc))
    settings = RegistrationSettings(rows=1, columns=1)

    register_pair(pair, tmp_path / "run", settings, RunOptions(truth=truth, image=None))

    found = Registration.load(tmp_path / "run")
    assert [piece.status for piece in found.pieces] == ["registered", "registered", "only on IHC"]
    assert [piece.verdict for piece in found.pieces[:2]] == ["pass", "pass"]
    assert found.verdict == "pass"
    assert found.start.mirrored
    assert found.quality.tre["after_all"].p90_px <= 2.0
    assert isinstance(found.chain, PieceMap)
    assert np.isin(piece_numbers(found.chain, truth.ihc), (1, 2)).all()
    assert {block.piece for block in found.blocks} == {1, 2}
    assert set(found.landmarks.pieces or ()) == {"1", "2"}


@pytest.mark.slow
def test_the_paper_s_recipe_refuses_pieces_that_one_alignment_does_not_serve(
    case: SynthCase, tmp_path: Path
) -> None:
    pair = SlidePair(open_slide(case.he), open_slide(case.ihc))
    options = RunOptions(read_landmarks(case.landmarks), image=None)

    with pytest.raises(
        SettingsError, match=r"no single alignment serves.*leave out --recipe paper"
    ):
        register_pair(pair, tmp_path / "run", RegistrationSettings(recipe="paper"), options)

    assert not (tmp_path / "run" / "registration.json").exists()
