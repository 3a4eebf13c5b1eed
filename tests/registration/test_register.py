"""Register a genuine NDPI pair end to end, and what a killed or repeated run does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration import register as run_module
from registration.errors import RunError
from registration.execution import InProcess, workers
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.nonrigid import block_store
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.quality.quality import target_errors
from registration.recipes import RegistrationSettings
from registration.register import register_pair, run_key
from registration.result import Registration, write_review
from registration.slides.slide import open_slide
from registration.synth.case import write_case
from registration.synth.settings import SynthSettings

SETTINGS = RegistrationSettings(rows=2, columns=3)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("case")
    return write_case(
        folder, SynthSettings(size=1536, seed=5, her2="2+", warp_px=14, rotation_deg=8.0, picks=6)
    )


@pytest.fixture(scope="module")
def pair(case) -> SlidePair:
    return SlidePair(open_slide(case.he), open_slide(case.ihc))


@pytest.fixture(scope="module")
def options(case) -> RunOptions:
    return RunOptions(
        landmarks=read_landmarks(case.landmarks), truth=read_landmarks(case.truth, minimum=1)
    )


@pytest.fixture(scope="module")
def registered(
    pair: SlidePair, options: RunOptions, tmp_path_factory: pytest.TempPathFactory
) -> Registration:
    return register_pair(pair, tmp_path_factory.mktemp("run"), SETTINGS, options)


def test_lands_on_the_truth(registered: Registration, options: RunOptions) -> None:
    fixed, moving = options.truth.oriented("he")

    errors = target_errors(registered.chain, fixed, moving)

    assert np.median(errors) < 0.5
    assert np.percentile(errors, 90) < 1.5
    assert registered.verdict == "pass", registered.reasons
    assert registered.quality.tre["after_all"].median_px == pytest.approx(np.median(errors))


def test_does_not_fold_and_has_no_seam(registered: Registration) -> None:
    assert registered.quality.folding.jacobian_min > 0
    assert registered.quality.seams.jump_p95_px <= 0.1


def test_points_go_back_and_forth(registered: Registration, options: RunOptions) -> None:
    fixed, _ = options.truth.oriented("he")

    there_and_back = registered.chain.inverse(registered.chain(fixed))

    assert np.abs(there_and_back - fixed).max() < 0.05


def test_what_is_loaded_is_what_was_written(registered: Registration, options: RunOptions) -> None:
    loaded = Registration.load(registered.folder)
    fixed, _ = options.truth.oriented("he")

    np.testing.assert_allclose(loaded.chain(fixed), registered.chain(fixed), atol=1e-9)
    assert loaded.blocks == registered.blocks
    assert loaded.verdict == registered.verdict
    assert loaded.settings == registered.settings


def test_the_registered_slide_opens_with_its_resolution(
    registered: Registration, pair: SlidePair
) -> None:
    with open_slide(registered.folder / registered.image) as slide:
        assert slide.size == pair.ihc.size
        assert slide.mpp == pytest.approx(0.46, rel=1e-3)


@pytest.mark.slow
def test_another_number_of_workers_gives_identical_output(
    registered: Registration, pair: SlidePair, options: RunOptions, tmp_path: Path
) -> None:
    with workers(2) as pool:
        again = register_pair(pair, tmp_path, SETTINGS, options, pool)

    assert again.chain.steps[0].coefficients.tobytes() == (
        registered.chain.steps[0].coefficients.tobytes()
    )
    image = again.image
    assert (tmp_path / image).read_bytes() == (registered.folder / image).read_bytes()


def test_a_finished_run_is_taken_as_it_is(
    registered: Registration, pair: SlidePair, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_register", lambda job: pytest.fail("registered again"))

    again = register_pair(pair, registered.folder, SETTINGS, options)

    assert again.key == registered.key


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(
    registered: Registration,
    pair: SlidePair,
    options: RunOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    original = block_store.register_block

    def counting(task):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(task.block.name)
        return original(task)

    monkeypatch.setattr(block_store, "register_block", counting)
    options = replace(options, image=None)
    with pytest.raises(KeyboardInterrupt):
        register_pair(pair, tmp_path, SETTINGS, options)
    first = list(seen)
    seen.clear()
    seen.extend(["not", "counted"])

    monkeypatch.setattr(
        block_store, "register_block", lambda task: seen.append(task.block.name) or original(task)
    )
    finished = register_pair(pair, tmp_path, SETTINGS, options)

    blocks_of_both = first[-3:] + seen[2:]
    assert len(set(blocks_of_both)) == len(blocks_of_both)
    np.testing.assert_array_equal(
        finished.chain.steps[0].coefficients, registered.chain.steps[0].coefficients
    )
    assert not list(tmp_path.glob(".work-*"))


def test_every_setting_changes_the_key(pair: SlidePair, options: RunOptions) -> None:
    fewer = replace(options, landmarks=options.landmarks.take(np.arange(5)))
    keys = {
        run_key(pair, SETTINGS, options),
        run_key(pair, replace(SETTINGS, rows=4), options),
        run_key(pair, replace(SETTINGS, recipe="paper"), options),
        run_key(pair, replace(SETTINGS, channel="grey"), options),
        run_key(replace(pair, moving="ihc"), SETTINGS, options),
        run_key(pair, SETTINGS, fewer),
        run_key(pair, SETTINGS, replace(options, image=None)),
    }

    assert len(keys) == 7


def test_a_review_is_kept(registered: Registration) -> None:
    write_review(registered.folder, "rejected")
    assert Registration.load(registered.folder).review == "rejected"
    write_review(registered.folder, None)


def test_foreign_and_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"registration\.json is missing"):
        Registration.load(tmp_path)
    (tmp_path / "registration.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(RunError, match="not written by"):
        Registration.load(tmp_path)


@pytest.mark.slow
def test_the_paper_recipe_writes_a_transform_file_per_block(
    pair: SlidePair, options: RunOptions, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, recipe="paper")

    registered = register_pair(pair, tmp_path, settings, options, InProcess())

    files = sorted(path.name for path in (tmp_path / "transforms").iterdir())
    kept = [block.name for block in registered.blocks if block.status == "registered"]
    assert {f"TransformParameters.{name}.txt" for name in kept} <= set(files)
    loaded = Registration.load(tmp_path)
    truth: Landmarks = options.truth
    fixed, _ = truth.oriented("he")
    np.testing.assert_allclose(loaded.chain(fixed), registered.chain(fixed), atol=1e-9)


@pytest.mark.slow
def test_two_sections_that_changed_places_do_not_end_the_run(tmp_path: Path) -> None:
    """Landmarks of one section alone: the other has no counterpart where they say."""
    rng = np.random.default_rng(3)
    pieces = [_section(rng), _section(rng)]
    glass = np.full((420, 60, 3), 246, np.uint8)
    for name, (left, right) in {"he": (0, 1), "ihc": (1, 0)}.items():
        slide = np.hstack([glass, pieces[left], glass, pieces[right], glass])
        cv2.imwrite(str(tmp_path / f"{name}.png"), slide[..., ::-1])
    pair = SlidePair(*(open_slide(tmp_path / f"{name}.png", mpp=2.0) for name in ("he", "ihc")))
    on_ihc = np.array([[130.0, 110.0], [390.0, 90.0], [370.0, 310.0], [120.0, 330.0]])
    picked = Landmarks.of(on_ihc + np.array([480.0, 0.0]), on_ihc)
    assert pair.fixed_slide.size.width == 1020

    found = register_pair(pair, tmp_path / "run", SETTINGS, RunOptions(picked, image=None))

    assert found.verdict != "pass"
    assert Registration.load(tmp_path / "run").blocks == found.blocks


def _section(rng: np.random.Generator) -> np.ndarray:
    """A stained disc with dark nuclei, ``(420, 420, 3)``."""
    image = np.full((420, 420, 3), 246, np.uint8)
    cv2.circle(image, (210, 210), 190, (214, 150, 190), -1)
    for x, y in rng.uniform(40, 380, (900, 2)).astype(int).tolist():
        if np.hypot(x - 210, y - 210) < 180:
            cv2.circle(image, (x, y), int(rng.integers(2, 5)), (96, 66, 150), -1)
    return image
