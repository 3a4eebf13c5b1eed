"""Sheets as people send them back, and agreement against published examples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks.browser import Browser, check_page
from registration.files.plain_json import json_text
from training.errors import DataError
from training.metrics.agreement import cohen_kappa, confusion, fleiss_kappa
from training.study.create import StudyImage, blank_sheet
from training.study.report import as_html, as_json, share_text, write_agreement
from training.study.scores import score_study, share
from training.study.sheets import Sheet, Study, read_sheet, read_sheets, read_study

KEY = (
    StudyImage("001", "generated", "a", "0", None),
    StudyImage("002", "real", "b", "3+", None),
    StudyImage("003", "real", "a", "0", None),
    StudyImage("004", "generated", "c", "2+", None),
    StudyImage("005", "generated", "b", "3+", None),
    StudyImage("006", "real", "c", "2+", None),
)
STUDY = Study(Path("study"), "1234abcd", KEY)
GOOD = "study,reader,image,her2\n" + "".join(
    f"1234abcd,Ada,{entry.image},{entry.her2}\n" for entry in KEY
)


def sheet_of(reader: str, *scores: int) -> Sheet:
    names = [entry.image for entry in KEY]
    return Sheet(reader, Path(f"{reader}.csv"), dict(zip(names, scores, strict=True)))


def written(folder: Path, text: str, name: str = "ada.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "\ufeff" + GOOD.replace(",", ";"),
        GOOD.replace(",", "\t").replace("\n", "\r\n"),
        GOOD.replace("1234abcd,Ada,00", "1234abcd,Ada,"),
        GOOD.replace("+", ""),
        GOOD.replace("2+", '"2 +"').replace(",0\n", ",0.0\n"),
        "Image,HER2\n" + "".join(f"{e.image},{e.her2}\n" for e in reversed(KEY)) + ",\n\n",
    ],
    ids=["plain", "semicolons", "tabs", "lost zeros", "no plus", "spaces", "two columns"],
)
def test_sheets_are_read_as_spreadsheets_save_them(text: str, tmp_path: Path) -> None:
    sheet = read_sheet(STUDY, written(tmp_path, text, "Ada.csv"))

    assert sheet.reader == "Ada"
    assert sheet.scores == {"001": 0, "002": 3, "003": 0, "004": 2, "005": 3, "006": 2}


def test_everything_wrong_with_a_sheet_is_listed_at_once(tmp_path: Path) -> None:
    lines = GOOD.splitlines()
    lines[1] = "1234abcd,Ada,001,4+"
    lines[2] = "1234abcd,Ada,002,"
    lines[4] = "1234abcd,Ada,003,1+"
    lines[6] = "1234abcd,Ada,099,1+"

    with pytest.raises(DataError) as caught:
        read_sheet(STUDY, written(tmp_path, "\n".join(lines)))

    assert str(caught.value).splitlines()[1:] == [
        "  line 2: expected a HER2 level, 0, 1+, 2+ or 3+, found '4+'",
        "  line 5: image 003 was scored on line 4 already",
        "  line 7: there is no image '099' in this study",
        "  1 image not scored: 002",
        "  2 images missing: 004, 006",
    ]


def test_a_blank_sheet_a_foreign_one_and_a_doubled_reader_are_refused(tmp_path: Path) -> None:
    blank = written(tmp_path, blank_sheet("1234abcd", KEY), "blank.csv")
    foreign = written(tmp_path, GOOD.replace("1234abcd", "ffff0000"), "foreign.csv")
    first, second = (written(tmp_path, GOOD, name) for name in ("one.csv", "two.csv"))
    no_column = written(tmp_path, "image,level\n001,0\n", "level.csv")

    with pytest.raises(DataError, match="6 images not scored"):
        read_sheet(STUDY, blank)
    with pytest.raises(DataError, match=r"foreign\.csv belongs to study ffff0000, not to 1234abcd"):
        read_sheet(STUDY, foreign)
    with pytest.raises(DataError, match=r"one\.csv and .*two\.csv both come from reader 'Ada'"):
        read_sheets(STUDY, [first, second])
    with pytest.raises(DataError, match="has no column her2; it has image,level"):
        read_sheet(STUDY, no_column)
    with pytest.raises(DataError, match=r"not found: .*gone\.csv"):
        read_sheet(STUDY, tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"no reader study in .*: study\.json is missing"):
        read_study(tmp_path)


def test_accuracy_is_the_papers_and_its_ceiling_beside_it() -> None:
    found = score_study(STUDY, [sheet_of("Ada", 0, 2, 1, 2, 2, 2)]).readers[0]

    assert (found.generated.right, found.generated.count) == (2, 3)
    assert (found.real.right, found.real.count) == (1, 3)
    assert found.same_as_real.right == 2
    assert found.confusion["generated"].tolist() == [
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
    ]


def test_without_levels_in_the_dataset_only_the_readers_own_scores_count() -> None:
    key = tuple(StudyImage(e.image, e.kind, e.pair, None, None) for e in KEY)
    study = Study(Path("study"), "1234abcd", key)

    found = score_study(study, [sheet_of("Ada", 0, 2, 1, 2, 2, 2)]).readers[0]

    assert found.generated.count == 0
    assert np.isnan(found.generated.value)
    assert share_text(found.generated).startswith("not defined")
    assert found.same_as_real.right == 2


@pytest.mark.parametrize(("right", "count"), [(15, 40), (16, 40), (0, 10), (10, 10)])
def test_intervals_are_clopper_and_pearsons(right: int, count: int) -> None:
    found = share(right, count)

    low = beta.ppf(0.025, right, count - right + 1) if right else 0.0
    high = beta.ppf(0.975, right + 1, count - right) if right < count else 1.0
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_papers_15_of_40_is_written_with_its_interval() -> None:
    assert share_text(share(15, 40)) == "37.5 % (15 of 40; 22.7 to 54.2 %)"


def test_cohens_kappa_of_worked_examples() -> None:
    # By hand: agreement 35 / 50 = .7, expected .5 * .6 + .5 * .4 = .5, kappa .2 / .5.
    assert cohen_kappa(np.array([[20.0, 5.0], [10.0, 15.0]]), quadratic=False) == pytest.approx(0.4)
    # By hand: agreement .70, expected .5 * .6 + .3 * .3 + .2 * .1 = .41, kappa .29 / .59.
    table = np.array([[44.0, 5.0, 1.0], [7.0, 20.0, 3.0], [9.0, 5.0, 6.0]])
    assert cohen_kappa(table, quadratic=False) == pytest.approx(29 / 59)


def test_quadratic_weights_equal_the_intraclass_form() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 4, 60)
    b = np.clip(a + rng.integers(-1, 2, 60), 0, 3)

    found = cohen_kappa(confusion(a, b), quadratic=True)

    # Fleiss and Cohen 1973: 1 - E(a - b)^2 / E over independent a, b of (a - b)^2.
    expected = 1 - ((a - b) ** 2).mean() / ((a[:, None] - b[None]) ** 2).mean()
    assert found == pytest.approx(expected)


def test_fleiss_kappa_of_a_worked_example() -> None:
    # Ten subjects, fourteen raters, five categories: kappa 0.210.
    counts = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_resampled_kappas_are_those_of_the_drawn_images() -> None:
    a, b = np.array([0, 1, 2, 3, 3, 1]), np.array([0, 1, 1, 3, 2, 0])
    drawn = np.array([[2.0, 0, 1, 1, 1, 1], [1.0, 1, 1, 1, 1, 1]])

    found = cohen_kappa(confusion(a, b, drawn), quadratic=False)

    chosen = [0, 0, 2, 3, 4, 5]
    assert found[0] == pytest.approx(
        float(cohen_kappa(confusion(a[chosen], b[chosen]), quadratic=False))
    )
    assert found[1] == pytest.approx(float(cohen_kappa(confusion(a, b), quadratic=False)))
    counts = np.stack([(np.stack([a, b]) == level).sum(axis=0) for level in range(4)], axis=1)
    assert fleiss_kappa(counts, drawn)[0] == pytest.approx(float(fleiss_kappa(counts[chosen])))


def test_readers_who_all_say_the_same_have_no_defined_kappa_and_nothing_breaks(
    tmp_path: Path,
) -> None:
    sheets = [sheet_of(name, 2, 2, 2, 2, 2, 2) for name in ("Ada", "Grace", "Mary")]

    agreement = score_study(STUDY, sheets)
    write_agreement(tmp_path, STUDY, sheets, agreement)

    assert len(agreement.kappas) == 2 * (3 * 2 + 1)
    assert all(np.isnan(kappa.value) for kappa in agreement.kappas)
    assert json.loads(json_text(as_json(STUDY, sheets, agreement)))["kappas"][0]["value"] is None
    page = as_html(STUDY, agreement)
    assert "not defined: all scores are equal" in page
    assert "://" not in page


def test_the_page_fits_a_phone_and_a_desk(tmp_path: Path, browser: Browser) -> None:
    sheets = [sheet_of("Ada <b>", 0, 3, 0, 2, 3, 2), sheet_of("Grace", 0, 3, 1, 2, 2, 2)]

    write_agreement(tmp_path, STUDY, sheets, score_study(STUDY, sheets))

    check_page(browser, tmp_path / "agreement.html")
    assert browser.evaluate("document.querySelector('.verdict li').textContent").startswith(
        "Ada <b>: "
    )


def test_images_of_one_patient_give_kappas_without_an_interval() -> None:
    key = tuple(replace(entry, patient="p1") for entry in KEY)
    sheets = [sheet_of("Ada", 0, 3, 0, 2, 3, 2), sheet_of("Grace", 0, 3, 1, 2, 2, 2)]

    kappas = score_study(replace(STUDY, key=key), sheets).kappas

    assert all(np.isfinite(kappa.value) for kappa in kappas)
    assert all(np.isnan(kappa.low) and np.isnan(kappa.high) for kappa in kappas)
