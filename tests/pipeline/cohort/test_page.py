"""The page of a cohort: what it says, what stands out, and that it works in a browser with 300 cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.browser import PHONE, Browser, check_page
from pipeline.cohort.facts import CaseFacts, _with_result, case_facts
from pipeline.cohort.looks import (
    HE_NAME,
    PICTURE_NAME,
    STAIN_NAME,
    Looks,
    read_looks,
    record_looks,
)
from pipeline.cohort.page import CohortPage, by_slide, outliers
from pipeline.cohort.state import Cohort, State
from pipeline.patches.record import CasePatches
from registration.result import Registration, write_review

GOOD = CaseFacts(
    name="p000",
    patient="a",
    her2="3+",
    word="pass",
    mark="ok",
    reasons=(),
    pieces=1,
    residual_um=2.0,
    tissue_mm2=10.0,
    registered_mm2=9.0,
    candidates=40,
    kept=30,
    lost={"shifted": 6, "no match": 4},
    seconds=300.0,
    mpp=(0.25, 0.25),
    looks=Looks((0.4, 0.5, 0.2, 0.3, 0.3, 0.3), (0.6, 0.6)),
)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """A manifest of one case whose slides do not matter."""
    for name in ("he", "ihc"):
        (tmp_path / f"{name}.png").touch()
    path = tmp_path / "cohort.yaml"
    path.write_text(
        "name: monday\nout: out\ncases:\n  - {id: p000, patient: a, he: he.png, ihc: ihc.png}\n"
    )
    return Cohort.load(path)


def page_of(cohort: Cohort, facts: list[CaseFacts]) -> Path:
    """Write the page of cases that are known already."""
    case = cohort.manifest.cases[0]
    cases = [case.model_copy(update={"id": one.name}) for one in facts]
    manifest = cohort.manifest.model_copy(update={"cases": cases})
    page = CohortPage(replace(cohort, manifest=manifest), {one.name: one for one in facts})
    page.update()
    return page.path


def test_totals_and_the_way_on_come_first(cohort: Cohort) -> None:
    review = replace(
        GOOD, name="p001", word="review", mark="look", reasons=("it folds",), next="look & see"
    )
    failed = CaseFacts("p002", "c", "", "failed", "bad", ("<b>cut short</b>",), next="run it")

    text = page_of(cohort, [GOOD, review, failed]).read_text()

    for words in (
        "20.0\u202fmm²",
        "18.0\u202fmm²",
        "90 % of it",
        "1 case in order.",
        "of 2 patients",
    ):
        assert words.replace("\u202f", " ") in text.replace("\u202f", " "), words
    assert (
        text.index('id="case-p002"') < text.index('id="case-p001"') < text.index('id="case-p000"')
    )
    assert "&lt;b&gt;cut short" in text
    assert "look &amp; see" in text
    assert "75 %" in text


def test_stains_of_one_slide_stand_beside_each_other(
    cohort: Cohort, browser: Browser, tmp_path: Path
) -> None:
    facts = []
    for name, stain in (("p1_HER2", "HER2"), ("p1_KI67", "KI67"), ("p2_HER2", "HER2")):
        folder = tmp_path / name
        folder.mkdir()
        for picture in (HE_NAME, STAIN_NAME):
            Image.new("RGB", (160, 120), (200, 100, len(name))).save(folder / picture)
        own = {"name": name, "stain": stain, "he": tmp_path / name[:2], "folder": folder}
        facts.append(replace(GOOD, **own))
    facts.append(replace(GOOD, name="alone"))

    page = page_of(cohort, facts)

    assert [[one.name for one in some] for some in by_slide(facts)] == [["p1_HER2", "p1_KI67"]]
    check_page(browser, page)
    lefts = browser.evaluate(
        "[...document.querySelectorAll('#stains img')].map(i => [i.getBoundingClientRect().left, "
        "i.getBoundingClientRect().top, i.naturalWidth].map(Math.round))"
    )
    assert len(lefts) == 3
    assert len({top for _, top, _ in lefts}) == 1
    assert [left for left, _, _ in lefts] == sorted({left for left, _, _ in lefts})
    assert all(width == 160 for _, _, width in lefts)


def test_colours_are_compared_within_a_stain() -> None:
    pale = Looks((0.4, 0.5, 0.2, 0.1, 0.1, 0.1), (0.6, 0.6))
    cases = [replace(GOOD, name=f"p{k}_HER2", stain="HER2") for k in range(6)]
    cases += [replace(GOOD, name=f"p{k}_ER", stain="ER", looks=pale) for k in range(6)]

    assert outliers(cases) == {}


def test_what_stands_out_is_named() -> None:
    cases = [replace(GOOD, name=f"p{k:03d}", residual_um=2 + k / 10) for k in range(8)]
    cases[1] = replace(cases[1], mpp=(0.25, 0.5))
    cases[2] = replace(cases[2], residual_um=30.0)
    cases[3] = replace(cases[3], looks=Looks((0.9, 0.5, 0.2, 0.3, 0.3, 0.3), (0.6, 0.6)))
    cases[4] = replace(cases[4], looks=Looks(GOOD.looks.density, (0.05, 0.6)))

    found = outliers(cases)

    assert sorted(found) == ["p001", "p002", "p003", "p004"]
    for name, words in (
        ("p001", "0.25"),
        ("p002", "shift"),
        ("p003", "colours"),
        ("p004", "focus"),
    ):
        assert words in found[name][0]


@pytest.mark.parametrize(
    ("scales", "found"),
    [
        ((1.74, 3.2), ["the slides have 1.74 to 3.2"] * 2),
        ((0.25, 0.25, 0.46), ["most slides have 0.25"]),
        ((0.25, 0.26), []),
    ],
)
def test_a_case_of_another_scale_than_the_others_stands_out(
    scales: tuple[float, ...], found: list[str]
) -> None:
    cases = [replace(GOOD, name=f"p{k}", mpp=(mpp, mpp)) for k, mpp in enumerate(scales)]

    assert [texts[0].split("; ")[1] for texts in outliers(cases).values()] == found


def test_looks_are_measured_where_the_tissue_is(hand_made, tmp_path: Path) -> None:
    record_looks(hand_made.registration, tmp_path)

    looks = read_looks(tmp_path)
    assert looks is not None
    assert min(looks.sharpness) > 0.05
    assert looks.density[:3] != looks.density[3:]
    with Image.open(tmp_path / PICTURE_NAME) as picture:
        assert picture.size == (180, 88)
    (tmp_path / "looks.json").write_text("{}")
    assert read_looks(tmp_path) is None


def test_a_stain_is_shown_where_it_lies_on_the_h_and_e_slide(hand_made, tmp_path: Path) -> None:
    turned = replace(
        hand_made.registration, moving="ihc", chain=hand_made.registration.chain.inverse
    )

    record_looks(turned, tmp_path)

    he, stain = (
        np.asarray(Image.open(tmp_path / name)).min(axis=2) for name in (HE_NAME, STAIN_NAME)
    )
    assert he.shape == stain.shape
    assert np.corrcoef(he.ravel(), stain.ravel())[0, 1] > 0.5


def test_a_registration_that_cannot_be_read_fails_alone(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cohort.manifest.cases[0]
    cohort.run(case).mkdir(parents=True)
    (cohort.run(case) / "registration.json").write_text("{}")
    monkeypatch.setattr(Cohort, "_register_state", lambda self, case: State("done"))

    assert cohort.state(case, "patch").word == "failed"


@pytest.mark.parametrize(
    ("review", "mark", "step"),
    [(None, "look", "review "), ("accepted", "ok", "run "), ("needs landmarks", "look", "pick ")],
)
def test_a_case_says_what_to_do_next(
    hand_made, cohort: Cohort, review: str | None, mark: str, step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # The command that picks names the slides; without their names it is the cohort's review.
    step = step.replace("pick ", f"review {cohort.path}")
    case = cohort.manifest.cases[0]
    folder = hand_made.registration.folder
    monkeypatch.setattr(Cohort, "run", lambda self, case: folder)
    monkeypatch.setattr("pipeline.cohort.state.expected_key", lambda request: "0123456789abcdef")
    write_review(folder, review)
    try:
        facts = case_facts(cohort, case)
    finally:
        write_review(folder, None)

    assert (facts.mark, facts.word) == (mark, review or "review")
    assert f" {step}" in facts.next or facts.next.startswith(step)
    assert facts.registered_mm2 < facts.tissue_mm2
    assert Registration.load(folder).review is None


def test_a_case_that_gives_no_patch_or_whose_patches_failed_is_not_in_order(
    hand_made, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cohort.manifest.cases[0]
    passed = replace(hand_made.registration, verdict="pass", reasons=("all checks passed",))
    none = SimpleNamespace(candidates=(SimpleNamespace(kept=False, reason="no match"),) * 2)
    monkeypatch.setattr(CasePatches, "load", lambda folder: none)

    facts = _with_result(cohort, case, passed, State("done"))
    failed = _with_result(cohort, case, passed, State("failed", "the disk is full"))

    assert (facts.word, facts.mark, facts.kept) == ("pass", "look", 0)
    assert facts.reasons == ("no patch was kept: the two slides are not alike there (2)",)
    assert " review " in facts.next
    assert (failed.word, failed.mark, failed.window) == ("failed", "bad", None)
    assert failed.reasons[-1] == "patches: the disk is full"


def test_on_a_phone_a_case_is_a_card_with_all_it_says(cohort: Cohort, browser: Browser) -> None:
    failed = CaseFacts("p002", "c", "", "failed", "bad", ("cut short",) * 2, next="run --only p2")
    page = page_of(cohort, [GOOD, failed])

    browser.open(page, PHONE)
    box = "document.querySelector('#case-p002 td.words').getBoundingClientRect()"
    assert browser.evaluate(f"{box}.right") <= PHONE[0]
    assert browser.evaluate(f"{box}.left") < 60
    assert browser.evaluate("document.querySelectorAll('#case-p002 .words li').length") == 2
    check_page(browser, page)


def test_three_hundred_cases_in_a_browser(cohort: Cohort, browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = tmp_path / "pair.jpg"
    noise = rng.integers(0, 255, (22, 45, 3), np.uint8)
    Image.fromarray(noise).resize((180, 88)).save(picture, quality=75)
    facts = [
        replace(
            GOOD, name=f"p{k:03d}", patient=f"x{k % 7}", picture=picture, kept=k, candidates=400
        )
        for k in range(299)
    ]
    facts[7] = replace(
        facts[7],
        word="review",
        mark="look",
        reasons=("the registration folds " * 8,),
        next="review a/b",
    )
    facts.append(
        CaseFacts("p299", "z", "", "failed", "bad", ("cut short",), next="run --only p299")
    )

    page = page_of(cohort, facts)

    assert page.stat().st_size < 4 * 2**20
    check_page(browser, page)
    shown = "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).map(r => r.id)"
    assert browser.evaluate(shown)[:2] == ["case-p299", "case-p007"]
    type_in = (
        "((s, t) => { const e = document.querySelector(s); e.value = t; e.dispatchEvent("
        "new Event(e.tagName === 'SELECT' ? 'change' : 'input')) })"
    )
    browser.evaluate(f"{type_in}('[data-word]', 'person')")
    assert browser.evaluate(shown) == ["case-p299", "case-p007"]
    browser.evaluate(f"{type_in}('[data-find]', 'FOLDS')")
    assert browser.evaluate(shown) == ["case-p007"]
    browser.evaluate(f"{type_in}('[data-word]', '')")
    browser.evaluate(f"{type_in}('[data-find]', '')")
    kept = (
        "[...document.querySelectorAll('thead button')].find(b => b.textContent === 'kept').click()"
    )
    browser.evaluate(f"{kept}; {kept}")
    assert browser.evaluate(shown)[:2] == ["case-p298", "case-p297"]
