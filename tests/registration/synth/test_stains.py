"""Several stains of one block: one H&E section, IHC sections of their own, truth of each."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from skimage.color import rgb2hed

from registration.errors import SynthError
from registration.geometry import Box, Size
from registration.slides.slide import open_slide
from registration.synth import CohortPlan, SynthSettings, load_truth, write_cohort
from registration.synth.cells import TUMOUR, positive_share
from registration.synth.glass import painter_of
from registration.synth.section import cut_sections
from registration.synth.settings import GlassSettings, Stain

SETTINGS = SynthSettings(size=Size(768, 640), seed=1, her2="3+", picks=6, truth_points=60)
PLAN = CohortPlan(SETTINGS, cases=1, her2=("3+",), stains=("HER2", "KI67"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stains") / "out"
    write_cohort(folder, PLAN)
    return folder


def test_one_he_slide_and_a_slide_per_stain(drawn: Path) -> None:
    (case,) = yaml.safe_load((drawn / "manifest.yaml").read_text())["cases"]

    assert case["he"] == "case01/case01_he.ndpi"
    assert list(case["ihc"]) == ["HER2", "KI67"]
    assert case["ihc"]["HER2"]["her2"] == "3+"
    assert "her2" not in case["ihc"]["KI67"]
    assert len(list(drawn.rglob("*.ndpi"))) == 3


def test_a_stain_has_the_he_section_of_the_others_and_a_deformation_of_its_own(drawn: Path) -> None:
    grid = np.array([[x, y] for x in (150.0, 400, 600) for y in (150.0, 300, 500)])
    maps = [load_truth(drawn / "case01" / stain)(grid) for stain in PLAN.stains]
    he = [
        painter_of(replace(SETTINGS, stain=stain), "he").tile(Box(200, 200, 64, 64))
        for stain in PLAN.stains
    ]

    assert np.linalg.norm(maps[0] - maps[1], axis=1).mean() > 10
    np.testing.assert_array_equal(he[0], he[1])


@pytest.mark.parametrize("stain", ["HER2", "KI67"])
def test_truth_pairs_lie_on_nuclei_of_both_slides(drawn: Path, stain: str) -> None:
    folder = drawn / "case01"
    with (folder / stain / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = np.array([[float(row[k]) for k in ("he_x", "he_y", "ihc_x", "ihc_y")] for row in rows])

    assert np.abs(load_truth(folder / stain)(points[:, 2:]) - points[:, :2]).max() < 1e-3
    slide = open_slide(folder / stain / f"case01_{stain.lower()}.ndpi")
    image = slide.read(Box.of(slide.size))[..., 0].astype(float)
    at = np.rint(points[:, 2:]).astype(int)
    assert np.mean(image.mean() - image[at[:, 1], at[:, 0]] > 20) > 0.85


def test_positive_nuclei_are_brown_and_negative_ones_are_not(drawn: Path) -> None:
    folder = drawn / "case01" / "KI67"
    with (folder / "truth" / "nuclei.csv").open() as file:
        rows = list(csv.DictReader(file))
    slide = open_slide(folder / "case01_ki67.ndpi")
    dab = rgb2hed(slide.read(Box.of(slide.size)))[..., 2]
    at = np.array([[round(float(row["ihc_x"])), round(float(row["ihc_y"]))] for row in rows])
    positive = np.array([row["positive"] == "true" for row in rows])
    seen = dab[at[:, 1], at[:, 0]]

    assert len(rows) > 30
    assert np.median(seen[positive]) > 3 * np.median(seen[~positive])
    limit = (np.median(seen[positive]) + np.median(seen[~positive])) / 2
    assert np.mean((seen > limit) == positive) > 0.85
    stored = json.loads((folder / "truth" / "truth.json").read_text())
    assert stored["positive_share"] == pytest.approx(positive.mean(), abs=0.12)


def test_er_marks_most_tumour_nuclei_and_ki67_few() -> None:
    shares = {}
    stains: tuple[Stain, ...] = ("HER2", "KI67", "ER")
    for stain in stains:
        settings = replace(SETTINGS, stain=stain)
        cells = cut_sections(settings)[1].cells
        shares[stain] = float((cells.antigen[cells.kind == TUMOUR] > 0).mean())
        assert shares[stain] == pytest.approx(positive_share(settings) or 0, abs=0.01)

    assert shares["HER2"] == 0
    assert shares["KI67"] < 0.5 < shares["ER"]


def test_sections_share_most_nuclei_with_he() -> None:
    cells = cut_sections(replace(SETTINGS, size=2048, stain="KI67"))[0].cells

    for mine, other in ((cells.in_he, cells.in_ihc), (cells.in_ihc, cells.in_he)):
        assert np.mean(~other[mine]) == pytest.approx(SETTINGS.changed_nuclei, abs=0.02)


def test_pieces_are_turned_otherwise_on_the_glass_of_another_stain() -> None:
    settings = replace(SETTINGS, size=640, glass=GlassSettings(2))
    glasses = [painter_of(replace(settings, stain=stain), "he") for stain in PLAN.stains]
    box = Box(0, 0, 256, 256)

    np.testing.assert_array_equal(*(glass.tile(box) for glass in glasses))
    first, second = (painter_of(replace(settings, stain=stain), "ihc") for stain in PLAN.stains)
    centre = Box(first.size.width // 4, first.size.height // 2, 128, 128)
    assert np.abs(first.tile(centre).astype(int) - second.tile(centre)).mean() > 3


def test_the_same_plan_again_draws_nothing_and_a_lost_stain_alone(drawn: Path) -> None:
    lost, kept = (drawn / "case01" / s / f"case01_{s.lower()}.ndpi" for s in ("KI67", "HER2"))
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()

    write_cohort(drawn, PLAN)

    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == before


def test_an_unknown_stain_is_refused() -> None:
    with pytest.raises(SynthError, match="stain 'PAS' is not one of HER2, KI67, ER"):
        replace(SETTINGS, stain="PAS")  # type: ignore[arg-type]
