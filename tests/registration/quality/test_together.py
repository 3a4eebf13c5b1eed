"""Tissue that no patch alone confirms is found by its surroundings, and only where it lies right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.textures import smooth_noise
from registration.execution import InProcess
from registration.geometry import Box, Image
from registration.pair import SlidePair
from registration.quality.residual import ResidualTask, measure_residual
from registration.quality.support import support_of
from registration.quality.together import looked_again, masked_correlation
from registration.residual_map import ResidualMap
from registration.slides.slide import Slide, open_slide
from registration.tissue import TissueMap
from registration.transforms import Chain, Projective

MPP = 0.92
HEIGHT, WIDTH = 1000, 1300


COLOUR = np.array([0.7, 1.1, 0.5])
"""Optical density of the drawn stain in red, green and blue."""


def cells(rng: np.random.Generator, inside: np.ndarray) -> np.ndarray:
    """Return fine structure as a patch shows it: smoothed noise, only where it is wanted."""
    return 0.12 * smooth_noise(rng, inside.shape, 2.5) * inside


def section(seed: int, *, own: np.ndarray, nests: np.ndarray) -> Image:
    """Return a section whose cells are its own in some places; its nests are darker everywhere."""
    shared, alone = np.random.default_rng(0), np.random.default_rng(seed)
    density = 0.5 + cells(shared, ~own) + cells(alone, own) + 0.2 * nests
    density[:60] = density[-60:] = 0
    density[:, :60] = density[:, -60:] = 0
    return np.asarray(245 * np.exp(-np.maximum(density, 0)[..., None] * COLOUR), np.uint8)


def nests_at(shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return nests of about 100 px: what remains when every cell of a section is another."""
    noise = smooth_noise(np.random.default_rng(5), (HEIGHT, WIDTH), 40)
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    return np.asarray(cv2.warpAffine(noise, moved, (WIDTH, HEIGHT), borderMode=2) > 0)


def slides(folder: Path, shift_um: float) -> tuple[Slide, Slide]:
    """Return two slides; in a part of the tissue all cells differ and the nests are shifted."""
    own = np.zeros((HEIGHT, WIDTH), bool)
    own[250:750, 400:900] = True
    shift = shift_um / MPP
    moved = np.where(own, nests_at((shift, shift / 3)), nests_at())
    images = section(1, own=own, nests=nests_at()), section(2, own=own, nests=moved)
    paths = [folder / f"{side}.png" for side in ("fixed", "moving")]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    fixed, moving = (open_slide(path, MPP) for path in paths)
    return fixed, moving


def looked(folder: Path, shift_um: float) -> tuple[ResidualMap, ResidualMap]:
    """Return the places as they are measured and as they are after the second look."""
    fixed, moving = slides(folder, shift_um)
    chain = Chain((Projective.identity(),))
    task = ResidualTask(fixed, moving, chain, Box.of(fixed.size), TissueMap.of(fixed))
    places = measure_residual(task)
    return places, looked_again(places, SlidePair(moving, fixed), chain, InProcess())


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResidualMap, ResidualMap]:
    return looked(tmp_path_factory.mktemp("aligned"), 0.0)


def middle(places: ResidualMap) -> np.ndarray:
    """Return which places have none but others of changed tissue around them."""
    return np.all((places.points > [500, 350]) & (places.points < [800, 650]), axis=1)


@pytest.mark.slow
def test_nests_confirm_tissue_of_which_every_cell_changed(
    aligned: tuple[ResidualMap, ResidualMap],
) -> None:
    before, after = (support_of(places) for places in aligned)

    assert not before.confirmed[middle(aligned[0])].any()
    assert after.confirmed[middle(aligned[0])].mean() > 0.5
    assert (after.gaps >= 0).sum() < (before.gaps >= 0).sum() / 2


@pytest.mark.slow
def test_tissue_that_lies_elsewhere_stays_unconfirmed(tmp_path: Path) -> None:
    before, after = looked(tmp_path, 25.0)

    assert middle(before).sum() > 12
    assert not support_of(after).confirmed[middle(before)].any()


@pytest.mark.slow
def test_places_that_match_are_left_as_they_are(aligned: tuple[ResidualMap, ResidualMap]) -> None:
    before, after = aligned

    confirmed = support_of(before).gaps < 0
    np.testing.assert_array_equal(after.shift_um[confirmed], before.shift_um[confirmed])


def test_correlation_of_a_mask_is_that_of_its_pixels_alone() -> None:
    rng = np.random.default_rng(3)
    fixed, moving = rng.random((9, 12), np.float32), rng.random((15, 17), np.float32)
    mask = rng.random((9, 12)) > 0.4

    found = masked_correlation(fixed, moving, mask)

    assert found.shape == (7, 6)
    patch = moving[4 : 4 + 9, 2 : 2 + 12]
    a, b = (part[mask] - part[mask].mean() for part in (fixed, patch))
    noise = 0.02**2
    expected = (a * b).mean() / np.sqrt(((a**2).mean() + noise) * ((b**2).mean() + noise))
    assert found[4, 2] == pytest.approx(expected, abs=1e-5)
