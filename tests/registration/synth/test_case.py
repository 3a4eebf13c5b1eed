"""Case and cohort folders: what they hold, and what happens to folders that are not empty."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from registration.errors import SynthError
from registration.geometry import Box, Size
from registration.slides.slide import open_slide
from registration.synth import (
    CohortPlan,
    Ground,
    SynthCase,
    SynthSettings,
    load_truth,
    write_case,
    write_cohort,
)
from registration.synth.damage import plan_damage
from registration.synth.section import cut_sections

SETTINGS = SynthSettings(
    size=Size(1024, 768), seed=11, picks=6, damage=("missing", "pen"), mpp_ihc=0.5, truth_points=80
)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    return write_case(tmp_path_factory.mktemp("synth") / "one", SETTINGS)


def pairs_of(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[k]) for k in ("he_x", "he_y", "ihc_x", "ihc_y")] for row in rows])


def test_slides_open_with_their_own_mpp_and_size(case: SynthCase) -> None:
    he, ihc = open_slide(case.he), open_slide(case.ihc)

    assert (he.vendor, ihc.vendor) == ("hamamatsu", "hamamatsu")
    assert (he.size, ihc.size) == (SETTINGS.he_size, SETTINGS.ihc_size)
    assert he.mpp == pytest.approx(0.46, rel=1e-6)
    assert ihc.mpp == pytest.approx(0.5, rel=1e-6)


def test_truth_pairs_agree_with_the_stored_map(case: SynthCase) -> None:
    pairs = pairs_of(case.truth)

    mapped = load_truth(case.folder)(pairs[:, 2:])

    assert len(pairs) == 80
    assert np.abs(mapped - pairs[:, :2]).max() < 1e-3
    assert np.ptp(pairs[:, 0]) > 0.5 * SETTINGS.he_size.width
    assert np.ptp(pairs[:, 1]) > 0.5 * SETTINGS.he_size.height


def test_truth_pairs_lie_on_dark_nuclei_in_both_slides(case: SynthCase) -> None:
    pairs = pairs_of(case.truth)
    for path, points in ((case.he, pairs[:, :2]), (case.ihc, pairs[:, 2:])):
        slide = open_slide(path)
        image = slide.read(Box.of(slide.size))[..., 0].astype(float)
        at = np.rint(points).astype(int)
        darkness = image.mean() - image[at[:, 1], at[:, 0]]

        assert np.mean(darkness > 20) > 0.9


def test_picks_are_few_noisy_and_spread(case: SynthCase) -> None:
    picks = pairs_of(case.landmarks)

    error = load_truth(case.folder)(picks[:, 2:]) - picks[:, :2]

    assert len(picks) == 6
    assert 1 < np.sqrt((error**2).mean()) < 15
    assert np.ptp(picks[:, :2], axis=0).min() > 0.5 * min(SETTINGS.he_size.shape)


def test_truth_avoids_damage_and_masks_show_it(case: SynthCase) -> None:
    pairs = pairs_of(case.truth)
    sections = cut_sections(SETTINGS)[:2]
    kinds = []
    for cut, points in zip(sections, (pairs[:, :2], pairs[:, 2:]), strict=True):
        mask = cv2.imread(str(case.truth_folder / f"mask_{cut.section}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == cut.size.downsampled(32).shape
        assert (mask & Ground.TISSUE).any()
        for damage in plan_damage(cut):
            kinds.append(damage.kind)
            assert (mask & Ground[damage.kind.upper()]).any()
            assert damage.shape.distance(points).max() < 0

    assert sorted(kinds) == ["missing", "pen"]


@pytest.mark.slow
def test_two_processes_write_the_same_files(case: SynthCase, tmp_path: Path) -> None:
    again = write_case(tmp_path / "one", SETTINGS, workers=2)

    for name in ("he", "ihc", "landmarks", "truth"):
        assert getattr(again, name).read_bytes() == getattr(case, name).read_bytes()


def test_no_case_no_truth(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="no synthetic case in"):
        load_truth(tmp_path)


PLAN = CohortPlan(
    SynthSettings(size=512, seed=3, truth_points=20), cases=3, her2=("3+", "0"), cases_per_patient=2
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "out"
    write_cohort(folder, PLAN)
    return folder


def test_manifest_lists_every_case(cohort: Path) -> None:
    cases = yaml.safe_load((cohort / "manifest.yaml").read_text())["cases"]

    assert [entry["patient"] for entry in cases] == ["patient01", "patient01", "patient02"]
    assert [entry["her2"] for entry in cases] == ["3+", "3+", "0"]
    for entry in cases:
        assert all((cohort / entry[key]).exists() for key in ("he", "ihc", "landmarks"))


def test_cases_of_one_cohort_differ(cohort: Path) -> None:
    first, second = (open_slide(cohort / f"case0{n}" / f"case0{n}_he.ndpi") for n in (1, 2))

    a, b = (slide.thumbnail(128)[0].astype(int) for slide in (first, second))

    assert np.abs(a - b).mean() > 5


def test_the_same_plan_again_keeps_whole_cases_and_makes_up_missing_ones(cohort: Path) -> None:
    kept, lost = cohort / "case01" / "case01_he.ndpi", cohort / "case02" / "case02_ihc.ndpi"
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()

    write_cohort(cohort, PLAN)

    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content


@pytest.mark.parametrize("place", ["case01/registered/report.html", "case03/notes.txt"])
def test_what_a_person_put_into_a_case_is_not_replaced(cohort: Path, place: str) -> None:
    own = cohort / place
    own.parent.mkdir(exist_ok=True)  # one cohort serves all tests
    own.write_text("an hour of work")

    with pytest.raises(SynthError, match=f"did not write.*{own.name}"):
        write_cohort(cohort, replace(PLAN, cases=1), overwrite=True)

    own.unlink()
    assert (cohort / "case03" / "case03_he.ndpi").exists()


def test_what_is_left_of_an_interrupted_replacement_lists_no_old_cases(tmp_path: Path) -> None:
    small = replace(SETTINGS, size=Size(512, 512), mpp_ihc=0.46, damage=())
    write_cohort(tmp_path, CohortPlan(small, cases=1, her2=("0",)))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    other = CohortPlan(small, cases=1, her2=("3+",))
    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path, other, overwrite=True, progress=interrupt)

    assert not (tmp_path / "manifest.yaml").exists()
    assert list(tmp_path.rglob("*.ndpi")) == []
    write_cohort(tmp_path, other)
    assert "3+" in (tmp_path / "manifest.yaml").read_text()


def test_another_plan_needs_overwrite(cohort: Path) -> None:
    other = replace(PLAN, cases=1)
    with pytest.raises(SynthError, match=r"other settings; .*--overwrite"):
        write_cohort(cohort, other)
    assert (cohort / "case03").exists()

    write_cohort(cohort, other, overwrite=True)

    assert not (cohort / "case03").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(SynthError, match="holds other files"):
        write_cohort(tmp_path, PLAN, overwrite=True)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 256}, "hold no tissue"),
        ({"size": 1000}, "multiple of 64"),
        ({"mpp_he": 5.0}, "not that of a slide scanner"),
        ({"changed_nuclei": 1.5}, "share of changed nuclei"),
        ({"picks": 3}, "needs 4"),
        ({"her2": "4+"}, "HER2 level '4\\+' is not one of 0, 1\\+, 2\\+, 3\\+"),
        ({"damage": ("coffee",)}, "damage 'coffee' is not one of tear"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(SynthError, match=message):
        SynthSettings(**changes)
