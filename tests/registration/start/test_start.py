"""The automatic start on synthetic sections whose alignment is known, and on real ones."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration.errors import LandmarkError, StartError
from registration.geometry import Points
from registration.landmarks.landmarks import read_landmarks
from registration.pair import SlidePair
from registration.slides.slide import Slide, open_slide
from registration.start.choose import choose_alignment, faint
from registration.start.propose import ProposedAlignment, propose_alignment, verify
from registration.start.search import search
from registration.start.views import view_pair
from registration.synth import DAMAGE_KINDS, SynthSettings, render_pair, truth_pairs
from registration.transforms import Projective

SIZE = 1536
Case = tuple[Slide, Slide, Points, Points]
"""Fixed (IHC) and moving (HE) slide, true points on them."""


def make_case(folder: Path, settings: SynthSettings) -> Case:
    he, ihc, _ = render_pair(settings)
    on_he, on_ihc = truth_pairs(settings)
    slides = []
    for name, image, mpp in (("ihc", ihc, settings.mpp_ihc), ("he", he, settings.mpp_he)):
        path = folder / f"{settings.seed}_{name}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        slides.append(open_slide(path, mpp=mpp))
    return slides[0], slides[1], on_ihc, on_he


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Case:
    settings = SynthSettings(size=SIZE, seed=41, her2="2+", rotation_deg=137.0)
    return make_case(tmp_path_factory.mktemp("turned"), settings)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Case:
    settings = SynthSettings(
        size=SIZE,
        seed=42,
        her2="3+",
        rotation_deg=251.0,
        mirrored=True,
        damage=("tear", "pen", "missing"),
        mpp_ihc=0.5,
    )
    return make_case(tmp_path_factory.mktemp("mirrored"), settings)


@pytest.fixture(scope="module")
def turned_start(turned: Case) -> ProposedAlignment:
    return propose_alignment(turned[0], turned[1])


def median_error(transform: Projective, fixed: Points, moving: Points) -> float:
    return float(np.median(np.hypot(*(transform(fixed) - moving).T)))


def about_center(slide: Slide, linear: list[list[float]]) -> Projective:
    matrix = np.array(linear)
    center = np.array([slide.size.width - 1, slide.size.height - 1]) / 2
    return Projective.affine(np.column_stack([matrix, center - matrix @ center]))


@pytest.mark.slow
def test_turned_section(turned: Case, turned_start: ProposedAlignment) -> None:
    _, _, fixed, moving = turned

    assert median_error(turned_start.transform, fixed, moving) < 15
    assert turned_start.verified
    assert turned_start.reasons == ()
    assert not turned_start.mirrored


@pytest.mark.slow
def test_mirrored_damaged_section_at_another_scale(mirrored: Case) -> None:
    fixed_slide, moving_slide, fixed, moving = mirrored

    start = propose_alignment(fixed_slide, moving_slide)

    assert start.mirrored
    assert start.verified
    assert median_error(start.transform, fixed, moving) < 20


def test_landmarks_are_spread_and_right(turned: Case, turned_start: ProposedAlignment) -> None:
    slide, _, fixed, moving = turned
    proposed_fixed, proposed_moving = turned_start.landmarks

    away = np.hypot(*(proposed_fixed[:, None] - fixed[None]).transpose(2, 0, 1))
    local = (moving - turned_start.transform(fixed))[away.argmin(axis=1)]
    error = proposed_moving - turned_start.transform(proposed_fixed) - local
    assert len(proposed_fixed) == len(proposed_moving) == 12
    assert np.median(np.hypot(*error.T)) < 8
    assert np.ptp(proposed_fixed, axis=0).min() > 0.4 * slide.size.height


@pytest.mark.slow
def test_same_start_every_time(turned: Case, turned_start: ProposedAlignment) -> None:
    again = propose_alignment(turned[0], turned[1])

    assert np.array_equal(again.transform.matrix, turned_start.transform.matrix)
    assert again.evidence == turned_start.evidence


def test_sections_of_different_specimens_are_not_verified(turned: Case, mirrored: Case) -> None:
    start = propose_alignment(turned[0], mirrored[1])

    assert not start.verified
    assert len(start.reasons) == 1
    assert len(start.landmarks[0]) >= 4


WRONG: dict[str, Callable[[Slide], Projective]] = {
    "upside down": lambda slide: about_center(slide, [[-1, 0], [0, -1]]),
    "quarter turn": lambda slide: about_center(slide, [[0, -1], [1, 0]]),
    "turned over": lambda slide: about_center(slide, [[-1, 0], [0, 1]]),
    "off by a tenth": lambda slide: Projective.translation(0.1 * slide.size.width, 0),
    "turned by 20 degrees": lambda slide: about_center(slide, [[0.94, -0.342], [0.342, 0.94]]),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_alignment_is_not_verified(
    turned: Case, turned_start: ProposedAlignment, wrong: Callable[[Slide], Projective]
) -> None:
    fixed, moving, _, _ = turned

    evidence = verify(fixed, moving, wrong(moving).after(turned_start.transform))

    assert not evidence.verified
    assert evidence.reasons


def test_right_alignment_is_verified_with_numbers(
    turned: Case, turned_start: ProposedAlignment
) -> None:
    evidence = verify(turned[0], turned[1], turned_start.transform)

    assert evidence.verified
    assert evidence.numbers["share"] > 0.6 > 2 * evidence.numbers["chance"]
    assert evidence.numbers["offset_um"] < 10


def test_slide_without_tissue_is_not_verified(turned: Case, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((900, 1100, 3), 243, np.uint8))

    start = propose_alignment(turned[0], open_slide(tmp_path / "blank.png", mpp=0.46))

    assert not start.verified


@pytest.mark.slow
def test_a_faint_slide_is_said_to_be_faint(turned: Case, mirrored: Case, tmp_path: Path) -> None:
    ihc, he = turned[0], mirrored[1]
    pixels, glass = ihc.thumbnail(SIZE)[0].astype(float), 240.0
    for contrast in (0.05, 1.0):
        path = tmp_path / f"contrast_{contrast}.png"
        cv2.imwrite(str(path), np.uint8(glass + (pixels[..., ::-1] - glass) * contrast))
    bleached = open_slide(tmp_path / "contrast_0.05.png", mpp=ihc.mpp)

    assert not faint(SlidePair(he, open_slide(tmp_path / "contrast_1.0.png", mpp=ihc.mpp)))
    with pytest.raises(StartError, match=r"contrast_0\.05\.png is too faint: .* more contrast"):
        choose_alignment(SlidePair(he, bleached), None, tmp_path)


@pytest.mark.parametrize(("moving", "slide"), [("he", "IHC"), ("ihc", "H&E")])
def test_picks_on_one_line_are_named_with_file_line_and_slide(
    turned: Case, tmp_path: Path, moving: str, slide: str
) -> None:
    ihc, he = turned[:2]
    line = np.linspace(300, 1200, 4)
    rows = [f"{k},{x},{x},{x},{x},true" for k, x in zip("abcd", line, strict=True)]
    path = tmp_path / "picks.csv"
    path.write_text("\n".join(["id,he_x,he_y,ihc_x,ihc_y,enabled", "", *rows]))
    pair = SlidePair(he, ihc, moving)  # type: ignore[arg-type]

    with pytest.raises(LandmarkError) as told:
        choose_alignment(pair, read_landmarks(path), tmp_path)

    assert str(told.value).startswith(
        f"{path}: pairs a (line 3), b (line 4), c (line 5) lie on one"
    )
    assert f"line on the {slide} slide" in str(told.value)


def test_slides_with_dark_ground_are_refused_at_once(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "slides" / "fluorescence.ndpi"
    with (
        open_slide(path) as he,
        open_slide(path) as ihc,
        pytest.raises(StartError, match=r"fluorescence\.ndpi is not brightfield"),
    ):
        choose_alignment(SlidePair(he, ihc), None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_search_covers_every_rotation(turned: Case) -> None:
    fixed_slide, moving_slide, fixed, moving = turned

    candidates = search(*view_pair(fixed_slide, moving_slide), keep=3)

    assert median_error(candidates[0].transform, fixed, moving) < 60
    assert candidates[0].score > 1.5 * candidates[1].score


def read_points(path: Path) -> dict[str, tuple[float, float]]:
    with path.open(newline="") as file:
        return {row["id"]: (float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("folder", "stain", "largest_median_px"),
    [
        ("rat-kidney_7pc", "PanCK", 6.5),
        ("lung-lesion_3_10pc", "CD31", 16.0),
        ("lung-lesion_3_10pc", "proSPC", 24.0),
    ],
)
@pytest.mark.parametrize("he_moves", [True, False])
def test_real_sections(
    real_data: Path, folder: str, stain: str, largest_median_px: float, he_moves: bool
) -> None:
    pair = [real_data / "landmarks" / folder / name for name in (stain, "HE")]
    fixed_name, moving_name = pair if he_moves else pair[::-1]
    fixed_points, moving_points = (
        read_points(name.with_suffix(".csv")) for name in (fixed_name, moving_name)
    )
    shared = [name for name in fixed_points if name in moving_points]

    start = propose_alignment(
        *(open_slide(n.with_suffix(".jpg"), mpp=10) for n in (fixed_name, moving_name))
    )

    fixed = np.array([fixed_points[name] for name in shared])
    moving = np.array([moving_points[name] for name in shared])
    assert start.verified
    assert not start.mirrored
    assert median_error(start.transform, fixed, moving) < largest_median_px


@pytest.mark.slow
def test_scanners_of_unknown_scale(real_data: Path) -> None:
    """N1 and N2 differ by 20 % in scale, and their files claim the same µm per pixel."""
    folder = real_data / "slides" / "same_glass"
    slides = [open_slide(folder / f"{name}_BB_563479_1.ndpi", mpp=0.5) for name in ("N1", "N2")]

    start = propose_alignment(*slides)

    fixed, moving = start.landmarks
    assert start.verified
    assert median_error(start.transform, fixed, moving) < 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300, 312))
def test_any_rotation_mirror_and_damage(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    settings = SynthSettings(
        size=2048,
        seed=seed,
        her2=("0", "1+", "2+", "3+")[seed % 4],
        rotation_deg=float(random.uniform(0, 360)),
        mirrored=seed % 4 == 1,
        damage=tuple(random.choice(DAMAGE_KINDS, size=2, replace=False).tolist()),
    )
    fixed_slide, moving_slide, fixed, moving = make_case(tmp_path, settings)

    start = propose_alignment(fixed_slide, moving_slide)

    assert start.verified
    assert start.mirrored == settings.mirrored
    assert median_error(start.transform, fixed, moving) < 25
