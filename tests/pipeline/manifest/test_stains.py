"""Cases with several stains: one case per stain, one H&E frame, mistakes at their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cohort.state import Cohort
from pipeline.errors import ManifestError
from pipeline.manifest.manifest import load_manifest

MANIFEST = """\
out: out
cases:
  - id: p1
    patient: a
    he: he.png
    ihc:
      HER2: {slide: her2.png, her2: 2+, mpp: 0.5}
      ER: er.png
    split: test
  - {id: p2, patient: b, he: he2.png, ihc: her2b.png, stain: HER2}
register: {image: none}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("he", "her2", "er", "he2", "her2b"):
        (tmp_path / f"{name}.png").touch()
    return tmp_path


def written(base: Path, text: str = MANIFEST) -> Path:
    path = base / "cohort.yaml"
    path.write_text(text)
    return path


def test_each_stain_is_a_case_on_the_frame_of_the_he_slide(base: Path) -> None:
    cohort = Cohort.load(written(base))

    her2, er, alone = cohort.manifest.cases
    assert [case.id for case in cohort.manifest.cases] == ["p1_HER2", "p1_ER", "p2"]
    assert (her2.he, her2.patient, her2.split) == (er.he, er.patient, er.split)
    assert (her2.stain, her2.her2, her2.mpp_ihc) == ("HER2", "2+", 0.5)
    assert (er.ihc.name, er.her2, er.mpp_ihc) == ("er.png", None, None)
    moving = [cohort.request(case).settings.moving for case in (her2, er, alone)]
    assert moving == ["ihc", "ihc", "he"]
    assert cohort.request(er).settings.image == "none"
    stains = [case.stain for case in cohort.dataset_plan().cases]
    assert stains == ["HER2", "ER", "HER2"]


def test_the_her2_level_of_a_case_is_that_of_its_her2_slide(base: Path) -> None:
    text = MANIFEST.replace(", her2: 2+", "").replace("    split: test", "    her2: 2+")

    her2, er, _ = Cohort.load(written(base, text)).manifest.cases

    assert (her2.her2, er.her2) == ("2+", None)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("ER: er.png", "ER: err.png", "8:11: case p1_ER: ihc: IHC slide not found: err.png"),
        ("her2: 2+", "her2: 9+", "7:37: case p1_HER2: her2: expected a HER2 level"),
        ("mpp: 0.5", "size: 0.5", "7:41: case p1_HER2: size: unknown key"),
        ("slide: her2.png, ", "", "7:13: case p1_HER2: ihc is missing"),
        ("ER: er", "E R: er", "8:12: case p1_E R: id: expected letters"),
        ("stain: HER2", "stain: [1]", "case p2: stain"),
    ],
)
def test_mistakes_have_the_place_where_they_stand(
    base: Path, old: str, new: str, complaint: str
) -> None:
    path = written(base, MANIFEST.replace(old, new))

    with pytest.raises(ManifestError) as refused:
        load_manifest(path)

    assert complaint in str(refused.value).replace(f"{path}:", ""), str(refused.value)


def test_rows_of_a_table_with_a_stain_each(base: Path) -> None:
    path = base / "cases.csv"
    path.write_text(
        "case,patient,he,stain,ihc\np1,a,he.png,HER2,her2.png\np1,a,he.png,ER,er.png\n"
        "p2,b,he2.png,HER2,her2b.png\n"
    )

    cases = load_manifest(path).cases

    assert [(case.id, case.he_fixed) for case in cases] == [
        ("p1_HER2", True),
        ("p1_ER", True),
        ("p2", False),
    ]
