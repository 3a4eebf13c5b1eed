"""A µm per pixel that is wrong on one slide is told by the scale at which the sections match."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from registration.pair import SlidePair
from registration.slides.slide import Slide, open_slide
from registration.start.scale import scale_doubt
from registration.synth import SynthCase, SynthSettings, write_case

HE_MPP, IHC_MPP = 0.3, 0.46


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    settings = SynthSettings(size=1024, seed=41, mpp_he=HE_MPP, mpp_ihc=IHC_MPP, warp_px=8.0)
    return write_case(tmp_path_factory.mktemp("case"), settings)


@pytest.fixture
def slides(case: SynthCase) -> Iterator[tuple[Slide, Slide]]:
    with ExitStack() as opened:
        yield tuple(opened.enter_context(open_slide(path)) for path in (case.he, case.ihc))


@pytest.mark.parametrize(
    ("he", "ihc", "moving"),
    [
        (2 * HE_MPP, IHC_MPP, "he"),
        (IHC_MPP, HE_MPP, "ihc"),
        *(
            pytest.param(*values, moving, marks=pytest.mark.slow)
            for moving in ("he", "ihc")
            for values in (
                (HE_MPP / 2, IHC_MPP),
                (HE_MPP, 2 * IHC_MPP),
                (HE_MPP / 4, IHC_MPP),
                (HE_MPP * 2.54, IHC_MPP),
                (HE_MPP, IHC_MPP / 2.54),
            )
        ),
    ],
)
def test_a_scale_that_is_wrong_on_one_slide_is_told_with_the_right_one(
    slides: tuple[Slide, Slide], he: float, ihc: float, moving: str
) -> None:
    pair = SlidePair(slides[0].taken_at(he), slides[1].taken_at(ihc), moving)  # type: ignore[arg-type]

    doubt = scale_doubt(pair)

    assert doubt is not None
    found = re.fullmatch(
        r"the sections match if H&E has about (\S+) µm/px, not \S+, or IHC about (\S+), not \S+: "
        "one of the two is wrong(, or they are exchanged)?",
        doubt,
    )
    assert found is not None
    assert float(found[1]) == pytest.approx(HE_MPP * ihc / IHC_MPP, rel=0.06)
    assert float(found[2]) == pytest.approx(IHC_MPP * he / HE_MPP, rel=0.06)
    assert (found[3] is not None) == (he == IHC_MPP)


def test_slides_without_a_small_level_are_not_read_so_often(
    slides: tuple[Slide, Slide], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = SlidePair(slides[0].taken_at(2 * HE_MPP), slides[1])
    smallest = min(slide.levels[-1].size.width * slide.levels[-1].size.height for slide in slides)

    monkeypatch.setattr("registration.start.scale.MOST_READ_PX", smallest - 1)

    assert scale_doubt(pair) is None


@pytest.mark.slow
def test_nothing_is_said_of_right_scales_and_of_those_wrong_on_both_slides(
    slides: tuple[Slide, Slide],
) -> None:
    he, ihc = slides
    assert scale_doubt(SlidePair(he, ihc)) is None
    assert scale_doubt(SlidePair(he.taken_at(2 * HE_MPP), ihc.taken_at(2 * IHC_MPP))) is None
