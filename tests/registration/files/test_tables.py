from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from registration.files.tables import Table, read_rows, read_table, table_text
from registration.landmarks.landmarks import Landmarks, read_landmarks, write_landmarks


class OddTableError(Exception):
    pass


def table(tmp_path: Path, text: str | bytes, encoding: str = "utf-8", name: str = "t.csv") -> Table:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table(path, OddTableError)


def cells(read: Table) -> list[tuple[str, ...]]:
    return [row.cells for row in read.rows]


@pytest.mark.parametrize(
    "text",
    [
        "name,x\nMüller,1.5\n",
        "name;x\r\nMüller;1,5\r\n",
        "name\tx\rMüller\t1.5\r",
        "sep=;\nname;x\nMüller;1.5\n",
        '"sep=|"\r\nname|x\r\nMüller|1.5\r\n',
        "SEP=\t\nname\tx\nMüller\t1,5\n",
        '\n  \n"name" , x\n"Müller" , 1.5\n'.replace('" ,', '",'),
        "name;x;;\nMüller;1.5;;\n",
        'name,x\n"Müller","1.5"\n,\n',
    ],
)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_every_way_of_saving_gives_the_same_cells(tmp_path: Path, text: str, encoding: str) -> None:
    read = table(tmp_path, text, encoding)
    ((row, record),) = read.records(("name", "x"))
    assert record["name"] == "Müller"
    assert row.number(1, "x") == 1.5


def test_the_commonest_separator_outside_quotes_counts(tmp_path: Path) -> None:
    read = table(tmp_path, '"a,b,c,d";x\n"e,f,g";2,5\n')
    assert cells(read) == [("a,b,c,d", "x"), ("e,f,g", "2,5")]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    read = table(tmp_path, 'sep=,\nid,note\n\n1,"two\nlines"\n2,end\n')
    assert [row.line for row in read.rows] == [2, 4, 6]
    assert read.rows[1].cells == ("1", "two\nlines")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv is empty"),
        ("sep=;\n", "t.csv is empty"),
        ("a,b\n1,2,3\n", "line 2: expected 2 columns, found 3"),
        ("a,b\n1\n", "line 2: expected 2 columns, found 1"),
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n', "line 3: a quote opens here and never closes"),
        ('a,b\n"1,2\n3",4\n', "line 2: a quote opens here and closes lines below"),
        ('a,b\n"1"x,2\n', "line 2: "),
        ("a,b\n1,2\n3,\0\n", "line 3: a NUL character"),
        (f"a,b\n1,{'9' * 140_000}\n", "line 2: a cell of more than 131,072 characters"),
        (b"a,b\n\x81\x8d\x8f,2\n", "not text in a known encoding"),
        (b"\xff\xfea\x00,", "not text in a known encoding"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(OddTableError, match=message) as refused:
        table(tmp_path, text)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(
            (word, True)
            for word in ("TRUE", "1", "yes", "WAHR", "VRAI", "VERDADERO", "Sí", "DOĞRU")
        ),
        *(
            (word, False)
            for word in ("FALSCH", "FAUX", "FALSO", "0", "no", "NEIN", "ЛОЖЬ", "FAŁSZ")
        ),
        *((word, None) for word in ("", "maybe", "2", "tru")),
    ],
)
def test_flags_are_read_in_the_languages_of_spreadsheets(
    tmp_path: Path, word: str, value: bool | None
) -> None:
    row = table(tmp_path, f"id,kept\n1,{word}\n").rows[1]
    if value is None:
        with pytest.raises(OddTableError, match=r"line 2: expected true or false for kept, found"):
            row.flag(1, "kept")
    else:
        assert row.flag(1, "kept") is value


@pytest.mark.parametrize(
    ("text", "value"),
    [("a;b\n1,25;2", 1.25), ("a\tb\n1,25\t2", 1.25), ("a;b\n1.25;2", 1.25), ("a,b\n1.25,2", 1.25)],
)
def test_decimal_commas_where_the_comma_does_not_separate(
    tmp_path: Path, text: str, value: float
) -> None:
    assert table(tmp_path, text).rows[1].number(0, "a") == value


@pytest.mark.parametrize(
    "text", ['a,b\n"1,25",2', "a;b\n1.234,5;2", "a;b\n1,2,3;2", "a,b\nnan,2", "a,b\n1_000,2"]
)
def test_numbers_that_could_mean_two_things_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(OddTableError, match=r"line 2: expected a (finite )?number for a"):
        table(tmp_path, text).rows[1].number(0, "a")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a;b\n1.234;567", None),
        ("a;b\n1.234;2.345", None),
        ("a;b\n1.234;567,5", None),
        ("a;b\n1,234;567.5", None),
        ("a\tb\n1,234\t567.5", None),
        ("a;b\n1,234;567", None),
        ("a;b\n1.234;567.5", 1.234),
        ("a;b\n1,234;567,5", 1.234),
        ("a\tb\n1.234\t0.460", 1.234),
        ("a,b\n1.234,5678,9012,3", 1.234),
        ("a;b\n0.460;2", 0.46),
        ("a;b\n12.345e3;2", 12345.0),
        ("a;b\n1 234,5;2", None),
        ("a;b\n1'234,5;2", None),
        ("a;b\n1\u202f234;2", None),
    ],
)
def test_thousands_set_apart_are_no_fractions(
    tmp_path: Path, text: str, value: float | None
) -> None:
    text = text.replace("a,b\n", "a,b,c,d\n")
    row = table(tmp_path, text).rows[1]
    if value is None:
        with pytest.raises(OddTableError, match=r"line 2: .*(write 1.2340 or 1234|thousands)"):
            row.number(0, "a")
    else:
        assert row.number(0, "a") == value


def test_columns_at_the_end_that_are_empty_are_none(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "sep=;\nx;;y;;\n1;2;;;\n;;;;\n")) == [
        ("x", "", "y"),
        ("1", "2", ""),
    ]
    path = tmp_path / "l.csv"
    path.write_bytes("he_x;he_y;ihc_x;ihc_y;;\n1,5;2;3;4;;\n5,5;2;3;4;;\n".encode("utf-16"))
    landmarks = read_landmarks(path, minimum=2)
    assert (landmarks.names, landmarks.he.tolist()) == (("1", "2"), [[1.5, 2.0], [5.5, 2.0]])


def test_bigwarp_landmarks_that_a_german_excel_saved(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("Pt-0;WAHR;1,5;2;3;4;;\nPt-1;FALSCH;1,5;2;3;4;;\n")
    landmarks = read_landmarks(path, minimum=1)
    assert landmarks.enabled.tolist() == [True, False]
    assert landmarks.he.tolist()[0] == [1.5, 2.0]


def test_our_landmarks_with_cut_rows_whatever_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    text = "sep=;\nid;he_x;he_y;ihc_x;ihc_y;he_slide;ihc_slide\na;1,5;2;3;4;x;y\nb;1,5;2;3;4\n"
    path.write_bytes(text.encode("utf-16"))
    assert read_landmarks(path, minimum=2).names == ("a", "b")


def test_a_long_number_that_a_spreadsheet_has_rounded_names_nobody(tmp_path: Path) -> None:
    first, second, third = table(tmp_path, "p;q\n1,23457E+12;a\n12E3;b\n12345678901;c\n").rows[1:]
    with pytest.raises(OddTableError, match=r"line 2: patient .1,23457E.12. was rounded"):
        first.identifier(0, "patient")
    assert [row.identifier(0, "patient") for row in (second, third)] == ["12E3", "12345678901"]


def test_a_wanted_column_must_not_be_there_twice_and_others_may(tmp_path: Path) -> None:
    read = table(tmp_path, "note,X,note,,\n1,2,3,4,\n")
    assert read.columns(("x", "y", "")) == {"x": 1, "": 3}
    assert read.others(("x",)) == ["note", "note"]
    with pytest.raises(OddTableError, match="line 1: 2 columns are called 'note'"):
        read.columns(("note",))


def test_short_rows_only_where_they_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1\n")
    assert read_table(path, OddTableError, short_rows=True).rows[1].cells == ("1", "", "")


def test_rows_are_given_as_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1, 2 \n")
    assert [row.cells for row in read_rows(path, OddTableError)] == [("a", "b"), ("1", " 2 ")]


def test_parquet_and_what_only_claims_to_be(tmp_path: Path) -> None:
    from pyarrow import Table as Arrow
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(Arrow.from_pylist([{"kept": True, "mpp": 0.5, "x": None}]), path)
    (row,) = read_table(path, OddTableError).rows[1:]
    assert (row.flag(0, "kept"), row.number(1, "mpp"), row.cells[2]) == (True, 0.5, "")
    for content in (b"", b"kept,x\n1,2\n", b"PAR1" + bytes(40) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(OddTableError, match=r"t\.parquet is no Parquet table"):
            read_table(path, OddTableError)


def test_the_limit_of_a_cell_is_that_of_the_library() -> None:
    assert csv.field_size_limit() == 131_072


NAMES = (
    *("=cmd|' /C calc'!A0", "+1+1", "-a", "@SUM(A1)", "\tx", "'=1", "''@", "-5", "+3.5", "-1,5"),
    *("plain", "it's", "a,b", 'say "x"', "two\nlines", "<img src=x onerror=alert(1)>", "'"),
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_is_a_formula_and_all_come_back(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "names.csv"

    path.write_text(table_text([["name", "n"], *([name, 1] for name in NAMES)], delimiter))

    raw = list(csv.reader(io.StringIO(path.read_text()), delimiter=delimiter))[1:]
    dangerous = [cell for cell, _ in raw if cell[0] in "=+-@\t\r"]
    assert dangerous == ["-5", "+3.5", "-1,5"]
    found = [row.cells[0] for row in read_rows(path, ValueError)][1:]
    assert found == list(NAMES)


def test_landmarks_of_any_name_come_back(tmp_path: Path) -> None:
    points = np.arange(2.0 * len(NAMES)).reshape(-1, 2)
    names = [name.strip() for name in NAMES]

    write_landmarks(tmp_path / "l.csv", Landmarks.of(points, points + 1, names))

    assert list(read_landmarks(tmp_path / "l.csv").names) == names
