"""Evidence of single cells: shares beyond chance, common shifts, and what kind of sections."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration.cell_evidence import CellCount, CellField
from registration.files.plain_json import json_text
from registration.quality.cells import (
    FEWEST_FIELDS,
    MOST_FIELDS,
    CellTask,
    Found,
    can_compare,
    cell_fields,
    compared,
    evidence_of,
    look_at,
    sections_of,
)
from registration.slides.slide import Slide, open_slide
from registration.synth import SynthSettings, render_pair
from registration.tissue import TissueMap
from registration.transforms import Chain, Projective

MPP_HE, MPP_IHC = 0.8, 0.92
SIDE = 400.0


def places(shared: float, shift: tuple[float, float], jitter: float, seed: int = 0) -> Found:
    """Two sections of 600 nuclei of which a share is in both, shifted and scattered."""
    rng = np.random.default_rng(seed)
    fixed = rng.uniform(0, SIDE, (600, 2))
    both = round(shared * len(fixed))
    partners = fixed[:both] + shift + rng.normal(0, jitter, (both, 2))
    moving = np.concatenate([partners, rng.uniform(-20, SIDE + 20, (660 - both, 2))])
    return Found(fixed, moving, np.full(2, -20.0), np.full(2, SIDE + 20), seed=(seed,))


@pytest.mark.parametrize("shared", [0.0, 0.2, 0.5, 1.0])
def test_the_share_beyond_chance_is_the_share_in_both_sections(shared: float) -> None:
    counts = [compared(places(shared, (0.3, 0.2), 0.4, seed)) for seed in range(6)]
    evidence = evidence_of([CellField(0, 0, count) for count in counts])

    assert evidence is not None
    # A little less: some true partners are nearer to another nucleus.
    assert shared - 0.07 <= evidence.beyond <= shared + 0.04
    assert evidence.beyond_low <= evidence.beyond <= evidence.beyond_high
    assert evidence.chance == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -1.0), (-8.0, 6.0)])
def test_a_common_shift_is_measured_and_what_is_left_is_scatter(shift: tuple[float, float]) -> None:
    count = compared(places(0.5, shift, 0.6))

    assert (count.shift_x_um, count.shift_y_um) == pytest.approx(shift, abs=0.3)
    # The median length of a two-dimensional normal deviation.
    assert count.scatter_um == pytest.approx(0.6 * math.sqrt(2 * math.log(2)), abs=0.15)
    assert count.aligned > 300 > count.paired or math.hypot(*shift) < 4


def test_sections_that_share_nothing_have_no_common_shift() -> None:
    found = [compared(places(0.0, (0, 0), 1.0, seed)) for seed in range(12)]

    assert sum(math.isfinite(count.shift_x_um) for count in found) <= 3
    assert abs(np.mean([count.paired - count.chance for count in found])) < 15


def test_what_a_regular_tissue_pairs_by_chance_is_no_evidence() -> None:
    xs, ys = np.meshgrid(np.arange(0, 200, 8.0), np.arange(0, 200, 8.0))
    rng = np.random.default_rng(0)
    grid = np.stack([xs.ravel(), ys.ravel()], axis=1)
    fixed, moving = (grid + rng.normal(0, 1.5, grid.shape) for _ in range(2))

    count = compared(Found(fixed, moving, np.zeros(2), np.full(2, 200.0), seed=(1,)))

    assert count.paired > 0.4 * count.fixed
    assert count.paired - count.chance < 0.35 * count.fixed


def test_too_few_nuclei_say_nothing() -> None:
    few = CellCount(20, 20, 20, 1.0, 0.3, 0.0, 0.0, 20, 0.3)

    assert evidence_of([CellField(0, 0, few)] * 2) is None
    assert evidence_of([]) is None


@pytest.mark.parametrize(
    ("agreeing", "aligned", "scatter", "said"),
    [
        (1.0, 0.95, 0.3, "same section"),
        (1.0, 0.95, 2.5, "consecutive sections"),
        (1.0, 0.5, 0.3, "consecutive sections"),
        (1.0, 0.8, 0.3, "undecided"),
        (0.3, 0.95, 0.3, "not known"),
    ],
)
def test_kinds_of_sections(agreeing: float, aligned: float, scatter: float, said: str) -> None:
    assert sections_of(agreeing, aligned, scatter) == said


def drawn(folder: Path, changed: float) -> tuple[Slide, Slide, Chain]:
    """Draw a pair of unequal resolutions whose sections differ in a share of their nuclei."""
    settings = SynthSettings(
        size=1152, seed=81, changed_nuclei=changed, mpp_he=MPP_HE, mpp_ihc=MPP_IHC, rotation_deg=20
    )
    *images, truth = render_pair(settings)
    for name, image in zip(("he", "ihc"), images, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
    he, ihc = open_slide(folder / "he.png", MPP_HE), open_slide(folder / "ihc.png", MPP_IHC)
    return he, ihc, truth


@pytest.fixture(scope="module")
def restained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Slide, Slide, Chain]:
    return drawn(tmp_path_factory.mktemp("restained"), 0.0)


@pytest.mark.parametrize("error_um", [(0.0, 0.0), (4.0, -3.0)])
def test_a_drawn_pair_tells_its_error_without_looking_at_the_registration(
    restained, error_um: tuple[float, float]
) -> None:
    he, ihc, truth = restained
    error = Projective.translation(*(np.array(error_um) / MPP_IHC))
    fields = [
        look_at(CellTask(ihc, he, Chain((error, *truth.steps)), box))
        for box in cell_fields(ihc, TissueMap.of(ihc))
    ]

    evidence = evidence_of([field for field in fields if field is not None])

    assert evidence is not None
    # What is seen lies where the truth has it: against the error, in the fixed slide's frame.
    assert (evidence.shift_x_um, evidence.shift_y_um) == pytest.approx(
        (-error_um[0], -error_um[1]), abs=0.25
    )
    assert evidence.sections == "same section"
    assert evidence.scatter_um < 0.6
    if error_um == (0.0, 0.0):
        assert evidence.beyond > 0.85
    json_text({"fields": len(evidence.fields)})


def test_fields_lie_on_tissue_and_do_not_cover_it_twice(restained) -> None:
    _, ihc, _ = restained
    tissue = TissueMap.of(ihc)

    boxes = cell_fields(ihc, tissue)

    middles = np.array([box.center for box in boxes])
    assert tissue.at(middles).all()
    area = sum(box.width * box.height for box in boxes)
    assert area <= tissue.mask.sum() * tissue.downsample**2


def test_the_pieces_of_a_slide_share_its_fields_but_each_has_some(restained) -> None:
    _, ihc, _ = restained
    large = TissueMap(np.ones((100, 100), bool), 200.0)

    counts = [len(cell_fields(ihc, large, pieces)) for pieces in (1, 2, 60)]

    assert counts == [MOST_FIELDS, MOST_FIELDS // 2, FEWEST_FIELDS]


def test_a_field_that_maps_nowhere_is_left_out(restained) -> None:
    he, ihc, _ = restained
    box = cell_fields(ihc, TissueMap.of(ihc))[0]

    assert look_at(CellTask(ihc, he, Chain((Projective.translation(1e6, 0),)), box)) is None


def test_coarse_slides_are_not_compared(restained, tmp_path: Path) -> None:
    he, _, _ = restained
    small = cv2.imread(str(he.path))[::4, ::4]
    cv2.imwrite(str(tmp_path / "coarse.png"), small)

    assert not can_compare(he, open_slide(tmp_path / "coarse.png", 4 * MPP_HE))
