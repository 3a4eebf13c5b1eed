"""Names of slides: what is guessed from them, and what a pattern says."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from pipeline.errors import UsageError
from pipeline.manifest.names import Pattern, SlideName, guess


@pytest.mark.parametrize(
    ("path", "case", "stain"),
    [
        ("p012_HE.ndpi", "p012", "HE"),
        ("p012_he.ome.tif", "p012", "HE"),
        ("p012 H&E.svs", "p012", "HE"),
        ("012HE.svs", "012", "HE"),
        ("HER2-p012.svs", "p012", "HER2"),
        ("p012_her-2.svs", "p012", "HER2"),
        ("p012_Ki-67_20x.svs", "p012_20x", "KI67"),
        ("p012.PD-L1.svs", "p012", "PDL1"),
        ("p012_CD3.svs", "p012", "CD3"),
        ("p012_ER.svs", "p012", "ER"),
        ("p53_HE.svs", "p53", "HE"),
        ("HE/p012.svs", "p012", "HE"),
        ("IHC HER2/batch1/p012.svs", "p012", "HER2"),
        ("p012/HE.svs", "p012", "HE"),
        ("p012/IHC/her2.svs", "p012", "HER2"),
        ("Heidelberg_HE.svs", "Heidelberg", "HE"),
    ],
)
def test_guessed(path: str, case: str, stain: str) -> None:
    found = guess(Path(path))

    assert found is not None
    assert (found.case, found.stain) == (case, stain)


@pytest.mark.parametrize("path", ["overview.svs", "Hermann.svs", "erna/PRS.svs", "HE.svs"])
def test_a_name_without_stain_or_case_is_not_guessed(path: str) -> None:
    assert guess(Path(path)) is None


def test_a_barcode_of_tcga_says_the_patient() -> None:
    found = guess(Path("TCGA-CR-7395-01A-01-TS1_HE.svs"))

    assert found == SlideName("TCGA-CR-7395-01A-01-TS1", "HE", "TCGA-CR-7395")


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("{case}_HE", "a/p1_HE.svs", SlideName("p1", "HE")),
        ("{case}_he.svs", "a/p1_HE.SVS", SlideName("p1", "HE")),
        ("{patient}/{case}_HE*", "p7/b_HE_v2.svs", SlideName("b", "HE", "p7")),
        ("{patient}-{case}_HE", "p7-b_HE.svs", SlideName("b", "HE", "p7")),
        ("{case}/{case}_HE", "p1/p1_HE.svs", SlideName("p1", "HE")),
        ("{case}/{case}_HE", "p1/p2_HE.svs", None),
        ("{case}.HE", "p1+HE.svs", None),
        ("*/{case}_HE", "p1_HE.svs", None),
    ],
)
def test_a_pattern_of_he_slides(text: str, path: str, expected: SlideName | None) -> None:
    assert Pattern(text, is_he=True).checked().match(Path(path)) == expected


def test_a_pattern_of_ihc_slides_says_the_stain() -> None:
    pattern = Pattern("{case}_{stain}.svs", is_he=False).checked()

    assert pattern.match(Path("p1_ki-67.svs")) == SlideName("p1", "KI67")
    assert pattern.match(Path("p1_Masson.svs")) == SlideName("p1", "Masson")
    assert Pattern("{case}_b", is_he=False).match(Path("p1_b.svs")) == SlideName("p1", "IHC")


@pytest.mark.parametrize(
    ("text", "words"), [("HE_*", "has no {case}"), ("{case}_{slide}", "{slide} means nothing")]
)
def test_a_pattern_that_cannot_work_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Pattern(text, is_he=True).checked()
