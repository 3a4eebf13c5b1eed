"""The blank filter: tissue, and what is not worth having of it, against the truth that drew it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.patches.content import (
    CellFeatures,
    ContentMap,
    content_map,
    in_focus,
    inked,
    inside_rims,
    work_downsample,
)
from registration.execution import InProcess, no_progress
from registration.geometry import Box, Size
from registration.slide import Slide, open_slide
from registration.synth import SynthSettings
from registration.synth.case import Ground, ground_mask
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.synth.paint import Painter
from registration.synth.section import cut_sections
from registration.tissue import TissueMap

SETTINGS = SynthSettings(
    size=Size(3072, 2560), seed=31, her2="2+", damage=("pen", "bubble", "blur", "missing")
)


@pytest.fixture(scope="module", params=["he", "ihc"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The content map of one damaged section, and the truth on the same cells."""
    cut = next(cut for cut in cut_sections(SETTINGS)[:2] if cut.section == request.param)
    path = tmp_path_factory.mktemp("damaged") / f"{request.param}.ndpi"
    write_ndpi(path, NdpiSpec(cut.size, cut.mpp), Painter(cut).bands())
    with open_slide(path) as slide:
        found = content_map(slide, TissueMap.of(slide), InProcess(), no_progress)
    truth = ground_mask(cut)
    return found.usable[: truth.shape[0], : truth.shape[1]], truth


DAMAGE = Ground.PEN | Ground.BUBBLE | Ground.FOLD | Ground.BLUR | Ground.TEAR | Ground.MISSING


def test_whole_tissue_counts_and_glass_does_not(seen) -> None:
    usable, truth = seen

    whole = (truth & Ground.TISSUE > 0) & (truth & (DAMAGE | Ground.EMPTY) == 0)
    glass = cv2.erode((truth == 0).astype(np.uint8), np.ones((5, 5))) > 0

    assert usable[whole].mean() > 0.9
    assert usable[glass].mean() < 0.005


def test_damage_does_not_count(seen) -> None:
    usable, truth = seen
    shares = {}
    for kind in (Ground.PEN, Ground.BUBBLE, Ground.BLUR, Ground.MISSING):
        side = 3 if kind == Ground.PEN else 5
        damaged = cv2.erode((truth & kind > 0).astype(np.uint8), np.ones((side, side))) > 0
        if damaged.any():
            shares[kind.name] = float(usable[damaged].mean())

    assert len(shares) == 2, "each section has two of the four"
    assert max(shares.values()) < 0.06, shares


def test_the_share_of_a_patch_is_right_to_a_few_per_cent(seen) -> None:
    usable, truth = seen
    good = (truth & Ground.TISSUE > 0) & (truth & (DAMAGE | Ground.EMPTY) == 0)

    found, true = (cv2.blur(np.float32(p), (16, 16))[8:-8:8, 8:-8:8] for p in (usable, good))

    assert np.abs(found - true).mean() < 0.04


def test_a_map_is_asked_in_level_0_pixels_and_knows_nothing_off_the_slide() -> None:
    usable = np.zeros((3, 4), np.float32)
    usable[1, 2] = 0.75
    points = np.array([[64.0, 32.0], [95.4, 63.4], [63.0, 32.0], [-40.0, 32.0], [500.0, 40.0]])

    assert ContentMap(usable, 32.0).at(points).tolist() == [0.75, 0.75, 0, 0, 0]


@pytest.mark.parametrize(
    ("mpp", "downsample"), [(0.46, 4), (0.25, 8), (0.5, 4), (0.2282, 8), (0.35, 5), (3.0, 1)]
)
def test_stored_levels_are_preferred(mpp: float, downsample: float) -> None:
    assert work_downsample(mpp) == downsample


@pytest.mark.parametrize(
    ("density", "ink"),
    [
        ((1.7, 0.9, 0.25), True),  # blue ink
        ((2.0, 1.54, 0.62), True),  # the same over H&E
        ((1.5, 0.35, 0.9), True),  # green ink
        ((1.6, 1.9, 1.5), True),  # black ink over H&E
        ((1.15, 1.6, 0.9), False),  # very dark H&E, as in BCI
        ((0.6, 1.25, 1.7), False),  # strong DAB
        ((0.7, 0.55, 0.3), False),  # pale blue counterstain
    ],
)
def test_ink_is_told_from_stain(density: tuple[float, ...], ink: bool) -> None:
    plane = np.zeros((12, 16, 3), np.float32)
    plane[3:9, 4:12] = density

    assert inked(plane)[5, 8] == ink
    assert not inked(plane)[0, 0]


def ring(thickness: int, gap: bool = False) -> np.ndarray:
    picture = np.zeros((60, 80), np.uint8)
    cv2.ellipse(picture, (45, 28), (20, 15), 0, 0, 300 if gap else 360, 1, thickness)
    return picture > 0


def test_only_what_a_thin_closed_rim_surrounds_is_a_bubble() -> None:
    assert inside_rims(ring(2), 15.0)[28, 45]
    assert not inside_rims(ring(2), 15.0)[5, 5]
    assert not inside_rims(ring(2, gap=True), 15.0)[28, 45]
    assert not inside_rims(ring(9), 15.0)[28, 45]  # a pathologist's pen drawn around a tumour


def test_blurred_tissue_is_told_by_its_missing_fine_detail() -> None:
    features = CellFeatures.empty(Size(40, 30))
    features.coarse[:] = 1e-3
    features.fine[:, :20] = 1.4e-3
    features.fine[:, 20:] = 4e-4

    sharp = in_focus(features, np.zeros((30, 40), bool), 15.0)

    assert sharp[:, :14].all()
    assert not sharp[:, 20:].any()


def test_faint_tissue_counts_and_fat_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.full((1024, 1536, 3), 245.0)
    texture = cv2.GaussianBlur(rng.normal(size=(600, 500)), (0, 0), 2)[..., None]
    image[200:800, 100:600] = 236 + 45 * texture  # HER2 0, hardly stained
    for y in range(200, 800, 120):  # fat: walls of 3 µm around holes of 55
        for x in range(800, 1400, 120):
            cv2.circle(image, (x, y), 60, (200, 150, 180), 6)
    noisy = np.clip(image + rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "slide.png"), noisy[..., ::-1])
    slide: Slide = open_slide(tmp_path / "slide.png", 0.46)
    everywhere = TissueMap(np.ones((64, 96), bool), 16.0)

    usable = content_map(slide, everywhere, InProcess(), no_progress).usable

    def share(box: Box) -> float:
        rows, columns = box.slices()
        return float(usable[rows, columns].mean())

    assert share(Box(4, 8, 14, 16)) > 0.9
    assert share(Box(26, 7, 16, 16)) < 0.25
