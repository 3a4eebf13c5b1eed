"""Control images: blur against SciPy, means against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from training.data.images import ImageFile, write_png
from training.data.pairs import PatchPair
from training.evaluation.controls import blurred, control_candidates, mean_image


def write_pair(folder: Path, name: str, shape: tuple[int, int], seed: int) -> PatchPair:
    rng = np.random.default_rng(seed)
    paths = [folder / stain / f"{name}.png" for stain in ("he", "ihc")]
    for path in paths:
        write_png(path, rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
    return PatchPair(name, ImageFile(paths[0]), ImageFile(paths[1]))


def test_blur_equals_scipy() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 61, 3), dtype=np.uint8)

    found = blurred(image, 2.0)

    expected = ndimage.gaussian_filter(image.astype(float), (2, 2, 0), mode="mirror", truncate=5)
    assert np.abs(found - expected).max() < 1.0


def test_the_mean_is_that_of_the_training_images(tmp_path: Path) -> None:
    train = [write_pair(tmp_path, f"train{k}", (12, 20), k) for k in range(3)]
    scored = write_pair(tmp_path, "test", (12, 20), 9)

    mean = mean_image(train, [scored])

    expected = np.mean([pair.ihc.read() for pair in train], axis=0)
    found = mean.beside(scored, scored.ihc.read())
    assert np.array_equal(found, np.rint(expected))
    assert mean.note == "mean of the 3 training images"


def test_without_training_images_each_image_is_compared_with_the_others(tmp_path: Path) -> None:
    scored = [write_pair(tmp_path, f"test{k}", (12, 20), k) for k in range(3)]

    mean = mean_image((), scored)

    others = np.mean([pair.ihc.read() for pair in scored[1:]], axis=0)
    found = mean.beside(scored[0], scored[0].ihc.read())
    assert np.array_equal(found, np.rint(others))
    assert mean.note == "mean of the 3 evaluated images, itself left out"


def test_images_of_several_sizes_have_a_mean_colour(tmp_path: Path) -> None:
    train = [write_pair(tmp_path, "a", (10, 16), 1), write_pair(tmp_path, "b", (8, 24), 2)]
    real = np.zeros((9, 11, 3), np.uint8)

    mean = mean_image(train, ())

    colour = np.mean([pair.ihc.read().mean(axis=(0, 1)) for pair in train], axis=0)
    found = mean.beside(write_pair(tmp_path, "c", (9, 11), 3), real)
    assert found.shape == real.shape
    assert found[4, 7] == pytest.approx(colour, abs=0.51)
    assert mean.note.startswith("mean colour of")


def test_large_training_sets_are_sampled_and_it_says_so(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "only", (8, 8), 1)

    mean = mean_image([pair] * 450, ())

    assert mean.note == "mean of 150 of the 450 training images"


def test_the_controls_are_blur_mean_and_the_input_itself(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "one", (16, 24), 4)
    he, real = pair.read()

    made = {c.key: c.make(pair, he, real) for c in control_candidates([pair], [pair])}

    assert list(made) == ["blur2", "blur4", "blur8", "mean", "he", "moved", "real"]
    assert (made["moved"] == np.roll(real, (8, 12), axis=(0, 1))).all()
    assert made["real"] is real
    assert np.array_equal(made["he"], he)
    assert made["blur2"].std() > made["blur4"].std() > made["blur8"].std()
    assert np.array_equal(made["mean"], real)
