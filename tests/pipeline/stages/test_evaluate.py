"""A virtual slide against the real one: tile by tile, resumed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.stages import evaluate as stage
from pipeline.stages.evaluate import (
    RECORD_NAME,
    SlideEvaluationRequest,
    evaluate_slide,
    plan_slide_evaluation,
)
from registration.geometry import Image
from registration.synth import SynthSettings, render_pair
from training.data.images import to_batch
from training.evaluation.summary import MODEL, REAL
from training.metrics.published import psnr
from training.metrics.stain import stain_scores
from training.settings.evaluate import EvaluateSettings

SETTINGS = EvaluateSettings(mpp=0.46, shift_px=0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Image, Image]:
    """A drawn IHC slide of 1,536 px, and a virtual one whose right part is shifted."""
    folder = tmp_path_factory.mktemp("slides")
    _, real, _ = render_pair(SynthSettings(size=1536, seed=3, her2="3+", rotation_deg=0))
    virtual = cv2.GaussianBlur(real, (0, 0), 1.0)
    virtual[:, 768:] = np.roll(virtual[:, 768:], 60, axis=0)
    for name, image in (("real", real), ("virtual", virtual)):
        cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
    return folder, real, virtual


def request_of(folder: Path, out: Path) -> SlideEvaluationRequest:
    return SlideEvaluationRequest(folder / "virtual.png", folder / "real.png", out, SETTINGS)


@pytest.mark.slow
def test_tiles_are_scored_like_images(images: tuple[Path, Image, Image], tmp_path: Path) -> None:
    folder, real, virtual = images

    found, _ = evaluate_slide(request_of(folder, tmp_path), lambda done, total: None)

    names = [pair.name for pair in found.pairs]
    assert "512_512" in names
    for number, name in enumerate(names):
        x, y = map(int, name.split("_"))
        a, b = (to_batch(image[y : y + 512, x : x + 512]) for image in (real, virtual))
        assert found.values[MODEL]["psnr"][number] == pytest.approx(psnr(a, b).item())
        expected = stain_scores(a, b).error.item()
        assert found.values[MODEL]["dab_error"][number] == pytest.approx(expected)
    left, right = (
        np.array(
            [
                own
                for own, pair in zip(found.values[MODEL]["nuclei_kept"], found.pairs, strict=True)
                if (pair.name.startswith("1024")) == far
            ]
        )
        for far in (False, True)
    )
    assert left.min() > right.max()
    assert found.values["moved"]["nuclei_kept"].mean() < left.mean()
    assert np.isnan(found.values[REAL]["psnr"]).all()
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "Where on the slide is it right?" in page
    assert "H&amp;E (the input)" not in page
    assert not (tmp_path / RECORD_NAME).exists()


def test_an_h_and_e_slide_in_the_place_of_the_real_one_is_told(
    images: tuple[Path, Image, Image], tmp_path: Path
) -> None:
    he, real, _ = render_pair(SynthSettings(size=1536, seed=3, her2="3+", rotation_deg=0))
    for name, image in (("he", he), ("real", real)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
        request = SlideEvaluationRequest(
            images[0] / "virtual.png", tmp_path / f"{name}.png", tmp_path / "out", SETTINGS
        )
        with stage._opened(request) as slides:
            notes = " ".join(stage._about(request, stage._frame(request, *slides)).notes)
        assert ("he.png looks like H&E, not an immunostain" in notes) == (name == "he")


@pytest.mark.slow
def test_a_killed_run_goes_on(
    images: tuple[Path, Image, Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = images[0]
    whole, _ = evaluate_slide(request_of(folder, tmp_path / "whole"), lambda done, total: None)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_slide(request_of(folder, tmp_path / "killed"), stop)
    record = tmp_path / "killed" / RECORD_NAME
    kept = [json.loads(line)[0] for line in record.read_text().splitlines()[1:]]
    with record.open("a") as file:
        file.write('["half a li')
    looked = []
    nuclei = stage.nuclei_of
    monkeypatch.setattr(stage, "nuclei_of", lambda *given: looked.append(1) or nuclei(*given))
    again, _ = evaluate_slide(request_of(folder, tmp_path / "killed"), lambda done, total: None)

    assert kept == [pair.name for pair in whole.pairs[:2]]
    assert len(looked) == 5 * (len(whole.pairs) - 2)  # the real tile and four others of each
    for name, values in whole.values[MODEL].items():
        np.testing.assert_array_equal(again.values[MODEL][name], values)
    assert again.counts == whole.counts


def test_slides_of_different_frames_are_refused(
    images: tuple[Path, Image, Image], tmp_path: Path
) -> None:
    folder, real, _ = images
    cv2.imwrite(str(tmp_path / "other.png"), real[:-40])
    request = SlideEvaluationRequest(
        tmp_path / "other.png", folder / "real.png", tmp_path / "out", SETTINGS
    )

    with pytest.raises(UsageError, match="do not show the same frame"):
        plan_slide_evaluation(request)


def test_settings_that_say_nothing_of_slides_are_refused(
    images: tuple[Path, Image, Image], tmp_path: Path
) -> None:
    folder = images[0]
    settings = EvaluateSettings(mpp=0.46, save_images=True)
    request = SlideEvaluationRequest(
        folder / "virtual.png", folder / "real.png", tmp_path, settings
    )

    with pytest.raises(UsageError, match="--slide goes without --save-images"):
        plan_slide_evaluation(request)
