"""The blank filter: tissue, and what is not worth having of it, against the truth that drew it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.textures import smooth_noise
from pipeline.patches.blank.artefacts import inked, inside_rims, out_of_focus
from pipeline.patches.blank.bins import BinFeatures, ink_coloured
from pipeline.patches.blank.filter import ContentMap, bare_glass, content_map, work_downsample
from pipeline.patches.blank.folds import folded
from registration.execution import InProcess, no_progress
from registration.geometry import Box, Size
from registration.slides.slide import Slide, open_slide
from registration.synth import SynthSettings
from registration.synth.masks import Ground, ground_mask
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.synth.paint import Painter
from registration.synth.section import cut_sections
from registration.synth.settings import DamageKind
from registration.tissue import TissueMap

DAMAGE: tuple[DamageKind, ...] = ("pen", "bubble", "blur", "missing", "fold", "tear")
SETTINGS = SynthSettings(size=Size(3072, 2560), seed=31, her2="2+", damage=DAMAGE)


@pytest.fixture(scope="module", params=["he", "ihc"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The content map of one damaged section, and the truth on the same bins."""
    cut = next(cut for cut in cut_sections(SETTINGS)[:2] if cut.section == request.param)
    path = tmp_path_factory.mktemp("damaged") / f"{request.param}.ndpi"
    write_ndpi(path, NdpiSpec(cut.size, cut.mpp), Painter(cut).bands())
    with open_slide(path) as slide:
        found = content_map(slide, TissueMap.of(slide), InProcess(), no_progress)
    truth = ground_mask(cut)
    return found.usable[: truth.shape[0], : truth.shape[1]], truth


SPOILT = Ground.PEN | Ground.BUBBLE | Ground.FOLD | Ground.BLUR | Ground.TEAR | Ground.MISSING


def whole_tissue(truth: np.ndarray) -> np.ndarray:
    return (truth & Ground.TISSUE > 0) & (truth & (SPOILT | Ground.EMPTY) == 0)


def test_whole_tissue_counts_and_glass_does_not(seen) -> None:
    usable, truth = seen

    glass = cv2.erode((truth == 0).astype(np.uint8), np.ones((5, 5))) > 0

    assert usable[whole_tissue(truth)].mean() > 0.94
    assert usable[glass].mean() < 0.005


def test_damage_does_not_count(seen) -> None:
    usable, truth = seen
    shares = {}
    for kind in (Ground.PEN, Ground.BUBBLE, Ground.BLUR, Ground.MISSING, Ground.FOLD):
        inside = cv2.erode((truth & kind > 0).astype(np.uint8), np.ones((3, 3))) > 0
        if inside.any():
            shares[kind.name] = float(usable[inside].mean())

    assert len(shares) >= 2, "each section has three kinds, one of them perhaps the thin tear"
    assert max(shares.values()) < 0.06, shares


def test_the_share_of_a_patch_is_right_and_neither_too_large_nor_too_small(seen) -> None:
    usable, truth = seen

    planes = (usable, whole_tissue(truth))
    found, true = (cv2.blur(np.float32(p), (16, 16))[8:-8:8, 8:-8:8] for p in planes)

    assert np.abs(found - true).mean() < 0.015
    assert abs((found - true).mean()) < 0.008


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
    plane = np.zeros((24, 32, 3), np.float32)
    plane[6:18, 8:24] = density

    share = inked(plane, ink_coloured(plane).astype(np.float32), 7.5)

    assert share[11, 16] == ink
    assert not share[0, 0]


def test_a_dark_nucleus_is_no_ink_but_the_edge_of_a_stroke_is_partly() -> None:
    density = np.full((40, 60, 3), (0.5, 0.4, 0.3), np.float32)
    density[:, 40:52] = (1.9, 1.2, 0.5)
    ink = np.zeros((40, 60), np.float32)
    ink[:, 40:52], ink[:, 39], ink[20, 10] = 1, 0.25, 0.8

    share = inked(density, ink, 7.5)

    assert share[20, [10, 38, 39, 45]].tolist() == [0, 0, 0.25, 1]


def ring(thickness: int, gap: bool = False) -> np.ndarray:
    picture = np.zeros((60, 80), np.uint8)
    cv2.ellipse(picture, (45, 28), (20, 15), 0, 0, 300 if gap else 360, 1, thickness)
    return picture > 0


def test_only_what_a_thin_closed_rim_surrounds_is_a_bubble() -> None:
    assert inside_rims(ring(2), 7.5)[28, 45] == 1
    assert not inside_rims(ring(2), 7.5)[5, 5]
    assert not inside_rims(ring(2, gap=True), 7.5)[28, 45]
    assert not inside_rims(ring(9), 7.5)[28, 45]  # a pathologist's pen drawn around a tumour


def test_the_border_of_a_bubble_runs_along_the_middle_of_its_rim() -> None:
    rim = ring(3)

    area = inside_rims(rim, 7.5).sum()

    assert area == pytest.approx(np.pi * 20 * 15, rel=0.06)


def test_a_crooked_dark_line_around_tissue_is_no_bubble() -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    radius = 20 + 9 * np.cos(5 * angle)
    line = np.stack([45 + radius * np.cos(angle), 32 + radius * np.sin(angle)], axis=1)
    picture = np.zeros((70, 90), np.uint8)
    cv2.polylines(picture, [np.rint(line).astype(np.int32)], True, 1, 2)

    assert not inside_rims(picture > 0, 7.5).any()


def tissue_features(size: Size) -> BinFeatures:
    """Tissue in focus, stained all alike but for some noise."""
    features = BinFeatures.empty(size)
    features.cover[:] = 1
    noise = np.random.default_rng(3).normal(0, 0.05, (*size.shape, 3))
    features.layer[:] = (0.2, 0.3, 0.25) * np.exp(noise)
    features.coarse[:], features.fine[:] = 1e-3, 1.4e-3
    return features


def test_blurred_tissue_is_told_by_its_missing_fine_detail() -> None:
    features = tissue_features(Size(80, 60))
    features.fine[:, 50:] = 4e-4

    lost = out_of_focus(features, np.zeros((60, 80), bool), 7.5)

    assert not lost[:, :47].any()
    assert lost[:, 51:].all()


def test_what_shows_no_structure_is_judged_by_what_surrounds_it() -> None:
    features = tissue_features(Size(160, 80))
    features.fine[10:70, 10:70] = 4e-4  # out of focus, in the middle so far that nothing is left
    for columns in (slice(22, 58), slice(102, 138)):
        features.coarse[22:58, columns] = features.fine[22:58, columns] = 1e-7

    lost = out_of_focus(features, np.zeros((80, 160), bool), 7.5)

    assert lost[14:66, 14:66].all()
    assert not lost[:, 76:].any()


@pytest.mark.parametrize("across", [False, True])
def test_a_fold_doubles_what_lies_beside_it_and_a_cord_of_other_hue_does_not(across: bool) -> None:
    features = tissue_features(Size(160, 128))
    noise = features.layer / np.array((0.2, 0.3, 0.25), np.float32)
    features.layer[:64] = (0.30, 0.62, 0.40)  # nests, twice as dense, of another hue
    features.layer[96:104] = (0.30, 0.62, 0.40)  # a cord of them in the stroma
    features.layer[:64] *= noise[:64]
    features.layer[96:104] *= noise[96:104]
    band = (slice(20, 110), slice(70, 76)) if across else (slice(76, 82), slice(20, 140))
    features.layer[band] *= 2
    features.fine[band] *= 0.7

    fold = folded(features, np.zeros((128, 160), bool), 7.5)

    assert fold[band].mean() > 0.85
    outside = np.ones(fold.shape, bool)
    outside[band] = False
    assert fold[outside].mean() < 0.01


def test_dense_tissue_beside_what_cannot_be_seen_is_no_fold() -> None:
    features = tissue_features(Size(160, 128))
    features.layer[76:82] *= 2
    spoilt = np.zeros((128, 160), bool)
    spoilt[82:] = True

    assert folded(features, np.zeros_like(spoilt), 7.5)[76:82, 20:140].all()
    assert not folded(features, spoilt, 7.5).any()


def test_faint_tissue_counts_and_fat_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.full((1024, 1536, 3), 245.0)
    texture = smooth_noise(rng, (600, 500), 2)[..., None]
    image[200:800, 100:600] = 236 + 6.3 * texture  # HER2 0, hardly stained
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


def drawn_slide(path: Path, image: np.ndarray) -> Slide:
    """A slide of 0.46 µm/px with a little noise."""
    noisy = image + np.random.default_rng(1).normal(0, 1, image.shape)
    cv2.imwrite(str(path), np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., ::-1])
    return open_slide(path, 0.46)


def usable_share(slide: Slide, box: Box) -> float:
    """The usable share of a box of the slide's 32 px bins; the margin around tissue is glass."""
    everywhere = TissueMap.of(slide).grown(100)
    usable = content_map(slide, everywhere, InProcess(), no_progress).usable
    rows, columns = box.slices()
    return float(usable[rows, columns].mean())


@pytest.mark.parametrize("stain", [(70, 20, 60), (185, 170, 190)])
def test_dense_tissue_takes_no_more_room_than_faint(
    stain: tuple[int, int, int], tmp_path: Path
) -> None:
    image = np.full((1280, 1536, 3), 245.0)
    for x in range(268, 1100, 128):  # bars of 64 px, 29 µm
        image[256:1024, x : x + 64] = stain
    image += np.random.default_rng(2).normal(0, 12, image.shape) * (image < 240)

    share = usable_share(drawn_slide(tmp_path / "bars.png", image), Box(8, 10, 24, 20))

    assert share == pytest.approx(0.5, abs=0.012)


def test_evenly_pale_secretion_counts_and_an_empty_lumen_does_not(tmp_path: Path) -> None:
    image = np.full((1280, 1536, 3), 245.0)
    image[200:1080, 200:1336] = (190, 120, 170)
    image += np.random.default_rng(2).normal(0, 15, image.shape) * (image < 240)
    image[480:800, 320:640] = 237  # optical density 0.033
    image[480:800, 896:1216] = 245
    slide = drawn_slide(tmp_path / "lumens.png", image)

    assert usable_share(slide, Box(11, 16, 8, 8)) > 0.98
    assert usable_share(slide, Box(29, 16, 8, 8)) < 0.01


def test_ink_on_the_glass_does_not_darken_what_is_taken_for_glass(tmp_path: Path) -> None:
    image = np.full((1280, 1536, 3), 245.0)
    image[400:900, 400:900] = (190, 120, 170)
    image[100:300, 1000:1500] = (45, 100, 191)  # blue ink
    slide = drawn_slide(tmp_path / "ink.png", image)

    glass = bare_glass(slide, TissueMap.of(slide).on(Box(0, 0, 1536, 1280), Size(96, 80)))

    assert np.abs(glass.density + np.log(245 / 255)).max() < 0.003
    assert glass.pale < 0.02
