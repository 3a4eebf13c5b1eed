"""Pairs from elsewhere: exchanged stains and two sizes are told, before a model learns from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.dataset.exchanged import exchanged, immunostained
from registration.synth import SynthSettings, render_pair
from training.data.pairs import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen pairs, H&E, IHC, and neither."""
    folder = tmp_path_factory.mktemp("pairs")
    he, ihc, _ = render_pair(SynthSettings(size=768, seed=5, her2="2+", rotation_deg=0))
    grey = np.random.default_rng(0).integers(0, 255, (768, 768, 1), np.uint8).repeat(3, axis=2)
    for name, image in (("pink", he), ("brown", ihc), ("grey", grey)):
        (folder / name).mkdir()
        for number in range(15):
            x, y = 128 * (number % 4) + 64, 128 * (number // 4) + 64
            cv2.imwrite(str(folder / name / f"{number}.png"), image[y : y + 128, x : x + 128, ::-1])
    return folder


@pytest.mark.parametrize(
    ("he", "ihc", "odd"),
    [
        ("pink", "brown", False),
        ("brown", "pink", True),
        ("grey", "pink", False),
        ("brown", "grey", False),
        ("pink", "pink", False),
    ],
)
def test_only_pairs_that_are_sure_to_be_exchanged_are_told(
    folder: Path, he: str, ihc: str, odd: bool
) -> None:
    found = exchanged(open_dataset(he=folder / he, ihc=folder / ihc).pairs)

    assert found.startswith("the images look exchanged") == odd
    assert exchanged(()) == ""


@pytest.mark.parametrize(("name", "odd"), [("brown", True), ("pink", False), ("grey", False)])
def test_translate_says_that_a_folder_looks_immunostained(
    folder: Path, tmp_path: Path, name: str, odd: bool
) -> None:
    said = CliRunner().invoke(
        app, ["translate", str(tmp_path / "none.pt"), str(folder / name), "--out", str(tmp_path)]
    )

    assert ("look like immunostains, not H&E: is it the right folder?" in said.stderr) == odd
    assert immunostained(tmp_path) == ""


def test_evaluate_says_that_images_look_exchanged(folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(tmp_path / "none.pt"), "--dry-run"]

    said = CliRunner().invoke(
        app, [*words, "--he", str(folder / "brown"), "--ihc", str(folder / "pink")]
    )

    assert "note: the images look exchanged" in said.stderr


@pytest.mark.parametrize(
    ("words", "code"), [(("dataset",), 1), (("train", "--dry-run", "--no-measure"), 0)]
)
def test_dataset_and_train_say_so(folder: Path, words: tuple[str, ...], code: int) -> None:
    said = CliRunner().invoke(
        app, [*words, "--he", str(folder / "brown"), "--ihc", str(folder / "pink")]
    )

    assert said.exit_code == code, said.output
    assert "the images look exchanged" in said.stdout


def test_a_pair_of_two_sizes_is_told_by_dataset_as_by_train(tmp_path: Path) -> None:
    for name, size in (("HE", 64), ("IHC", 63)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((64, size, 3), np.uint8))

    said = CliRunner().invoke(app, ["dataset", str(tmp_path)])

    assert "a.png is 64 x 64 px, but" in str(said.exception)
