"""Patients to splits, HER2 levels, labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError, UsageError
from pipeline.labels import ignored_columns, read_labels
from pipeline.split import Label, SplitSettings, assign_splits, check_leakage, oddities
from registration.errors import SettingsError
from registration.files.her2 import HER2_LEVELS, parse_her2


def cohort(per_level: int) -> list[Label]:
    return [
        Label(f"p{number:03d}-{level}", level)
        for level in HER2_LEVELS
        for number in range(per_level)
    ]


def test_every_level_gives_its_share_to_test_and_val() -> None:
    splits = assign_splits(cohort(20), SplitSettings(test=0.25, val=0.1))

    for level in HER2_LEVELS:
        counts = Counter(split for patient, split in splits.items() if patient.endswith(level))
        assert counts["test"] in (4, 5, 6), (level, counts)
        assert counts["val"] in (1, 2, 3), (level, counts)
    assert Counter(splits.values()) == {"train": 52, "test": 20, "val": 8}


def test_the_same_patients_give_the_same_splits_in_any_order() -> None:
    cases = cohort(5)

    assert assign_splits(cases, SplitSettings()) == assign_splits(cases[::-1], SplitSettings())
    assert assign_splits(cases, SplitSettings(seed=1)) != assign_splits(cases, SplitSettings())


def test_a_patient_with_several_slides_stays_whole_at_the_highest_level() -> None:
    cases = [*cohort(5), Label("two", "1+"), Label("two", "3+"), Label("two", None)]

    assert set(assign_splits(cases, SplitSettings())) == {case.patient for case in cases}


def test_given_splits_are_kept_and_count() -> None:
    cases = [Label(f"g{k}", "2+", "test") for k in range(4)] + cohort(3)

    splits = assign_splits(cases, SplitSettings(test=0.25))

    assert all(splits[f"g{k}"] == "test" for k in range(4))
    assert Counter(splits.values())["test"] == 4


def test_two_patients_give_one_to_test_and_one_alone_is_for_training() -> None:
    two = assign_splits([Label("a", "0"), Label("b", "3+")], SplitSettings())

    assert sorted(two.values()) == ["test", "train"]
    assert assign_splits([Label("a")], SplitSettings()) == {"a": "train"}


def test_a_patient_given_two_splits_is_refused() -> None:
    with pytest.raises(DatasetError, match="patient a is given both split train and split test"):
        assign_splits([Label("a", None, "train"), Label("a", None, "test")], SplitSettings())


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from([*HER2_LEVELS, None])),
        min_size=1,
        max_size=40,
    ),
    st.floats(0, 0.5),
    st.floats(0, 0.4),
    st.integers(0, 5),
)
def test_no_patient_is_ever_in_two_splits(drawn, test: float, val: float, seed: int) -> None:
    cases = [Label(f"p{patient}", level) for patient, level in drawn]

    splits = assign_splits(cases, SplitSettings(test=test, val=val, seed=seed))

    assert set(splits) == {case.patient for case in cases}
    assert "test" not in splits.values() or test > 0
    rows = [
        {
            "case": str(k),
            "patient": case.patient,
            "he_hash": f"h{k}",
            "ihc_hash": None,
            "split": splits[case.patient],
        }
        for k, case in enumerate(cases)
    ]
    check_leakage(rows)


def row(case: str, patient: str, slide: str, split: str) -> dict[str, object]:
    return {
        "case": case,
        "patient": patient,
        "he_hash": slide,
        "ihc_hash": "i" + case,
        "split": split,
    }


def test_leaks_of_patients_and_of_slides_are_named() -> None:
    with pytest.raises(DatasetError, match=r"patient p is in test and train \(cases a, b\)"):
        check_leakage([row("a", "p", "1", "train"), row("b", "p", "2", "test")])
    with pytest.raises(DatasetError, match=r"slide s1 is in test and train \(cases a, b\)"):
        check_leakage([row("a", "p", "s1", "train"), row("b", "q", "s1", "test")])


def test_a_split_without_patients_and_a_level_that_is_only_tested_are_told() -> None:
    one = [Label("a", "0")]
    two = [Label("a", "0"), Label("b", "3+")]

    assert oddities(one, {"a": "train"}, SplitSettings()) == (
        "no patient is left for test; add patients, or give every case a split in the labels",
    )
    assert oddities(two, {"a": "train", "b": "test"}, SplitSettings()) == (
        "HER2 3+ is in test alone: nothing of it is trained on",
    )
    assert oddities(two, {"a": "train", "b": "train"}, SplitSettings(test=0)) == ()


@pytest.mark.parametrize(("test", "val"), [(0.7, 0.3), (-0.1, 0.0), (1.0, 0.0)])
def test_shares_that_leave_nobody_to_train_on_are_refused(test: float, val: float) -> None:
    with pytest.raises(SettingsError, match=r"leaves nobody to train on|less than 1, found"):
        SplitSettings.of({"test": test, "val": val})


@pytest.mark.parametrize(
    ("written", "level"),
    [(0, "0"), ("0", "0"), (1, "1+"), ("1+", "1+"), (" 2 ", "2+"), ("3+", "3+"), (3, "3+")],
)
def test_her2_levels_as_people_write_them(written: object, level: str) -> None:
    assert parse_her2(written) == level


@pytest.mark.parametrize("written", ["4+", "+", "", True, 2.0, None, "positive", -1])
def test_what_is_no_her2_level(written: object) -> None:
    with pytest.raises(ValueError, match="expected a HER2 level"):
        parse_her2(written)


def test_labels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("\ufeffcase,patient,her2,split\np1a,p1,1,\np2,007,3+,test\n\np3,p3,,\n")

    assert read_labels(path, ["p1a", "p2", "p3"]) == {
        "p1a": Label("p1", "1+", None),
        "p2": Label("007", "3+", "test"),
        "p3": Label("p3", None, None),
    }


def test_every_wrong_label_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("case,patient,her2,split\na,p,5,\nb,,0,\nc,p,0,training\nd12,p,0,\n")

    with pytest.raises(UsageError) as refused:
        read_labels(path, ["a", "d13"])

    message = str(refused.value)
    assert "line 2: expected a HER2 level" in message
    assert "line 3: the patient is missing" in message
    assert "line 4: expected the split" in message
    assert "no line for case d13 (nearest: d12): add" in message
    assert len(message.splitlines()) == 4, "case a has a line, if a wrong one"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("case;patient;her2\n0012;Müller;2+\n", "cp1252"),
        ("sep=;\r\ncase;patient;her2\r\n0012;Müller;2+\r\n", "utf-8-sig"),
        ("case\tpatient\ther2\r\n0012\tMüller\t2\r\n", "utf-16"),
        ('her2,notes,patient,case\n2+,"a, b",Müller,0012\n', "utf-8"),
    ],
)
def test_labels_as_excel_saves_them(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    assert read_labels(path, ["0012"]) == {"0012": Label("Müller", "2+")}


def test_without_a_column_of_patients_each_case_is_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("case,her2,Notes,\na,0,x,\nb\n")
    assert read_labels(path, "ab") == {"a": Label("a", "0"), "b": Label("b")}
    assert ignored_columns(path) == ["Notes"]


def test_contradictory_lines_are_both_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("case,patient,her2,split\na,p,0,test\nb,p,0,train\n\na,p,3+,test\n")
    with pytest.raises(UsageError) as refused:
        read_labels(path, "ab")
    first, second = str(refused.value).splitlines()
    assert "line 3: patient 'p' is given the split train, and test in line 2" in first
    assert "line 5: case 'a' stands in line 2 already" in second


def test_a_file_of_something_else_is_no_label_file(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match="line 1: expected the columns case,patient,her2,split"):
        read_labels(path, ["a"])
    with pytest.raises(UsageError, match="file not found"):
        read_labels(tmp_path / "none.csv", ["a"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a;1,23457E+12;1+\nb;1,23457E+12;2+\n", "line 2: patient '1,23457E.12' was rounded"),
        ("1,2E+10;p;1+\n", "line 2: case '1,2E.10' was rounded"),
        ("a;p;1+\nb;;\n", "line 3: the patient is missing; of merged cells only the first"),
        ("Studie;;\na;p;1+\nb;;\n", None),
    ],
)
def test_what_a_spreadsheet_has_lost_is_named(
    tmp_path: Path, rows: str, message: str | None
) -> None:
    path = tmp_path / "labels.csv"
    header = "case;patient;her2\n"
    path.write_text(header + rows if message else rows.replace("\n", f"\n{header}", 1))
    with pytest.raises(UsageError, match=message or "line 1: expected the columns case,patient"):
        read_labels(path, ["a"])
