from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registration.files.plain_json import json_text
from registration.files.text import PACKED, json_record, read_json, read_text
from registration.files.words import (
    did_you_mean,
    excerpt,
    listed,
    nearest_entry,
    reason,
    shortened,
    split_files,
)


class OddFileError(Exception):
    pass


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_json_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('{"näme": [1, 2.5]}'.encode(encoding))
    assert read_json(path, OddFileError) == {"näme": [1, 2.5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n2}', r"a\.json, line 2: not JSON: "),
        ("", r"a\.json, line 1: not JSON: "),
        ("9" * 5000, "a number of thousands of digits"),
        ("[" * 500 + "]" * 500, "nested more than 100 levels deep"),
        ('{"a":' * 101 + "{}" + "}" * 101, "nested more than 100 levels deep"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 100 levels deep"),
        ('["]]\\"]]", ' + "[" * 100 + "]" * 101, "nested more than 100 levels deep"),
        ('"\0"', "line 1: a NUL character"),
    ],
)
def test_what_is_no_usable_json_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(OddFileError, match=message) as refused:
        read_json(path, OddFileError)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["[" * 200, '"' + "[" * 200, "\\" * 4 + "[" * 200, '\\"{' * 200])
def test_brackets_in_strings_are_no_levels(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    value = {text: ["[" * (5 << 20), text]}
    path.write_text(json.dumps(value))
    assert read_json(path, OddFileError) == value


def test_what_is_no_readable_file_is_one_sentence(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, message in (
        (tmp_path / "none", "file not found"),
        (tmp_path, "is a folder"),
        (Path("/dev/zero"), "is a device"),
        (loop, "cannot be read"),
        (tmp_path / ("n" * 300), "cannot be read: File name too long"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / "none" / "x", "file not found"),
    ):
        with pytest.raises(OddFileError, match=message):
            read_text(path, OddFileError)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"text")
    os.close(writing)
    assert read_text(Path(f"/dev/fd/{reading}"), OddFileError) == "text"
    os.close(reading)


def test_a_pipe_that_nobody_writes_to_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_text(tmp_path / "pipe", OddFileError) == ""


@pytest.mark.parametrize("content", ["", "[1]", '{"key": ', '"x"', "[" * 1000, "9" * 5000, "\0"])
def test_a_note_that_is_none_is_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "note.json").write_text(content)
    assert json_record(tmp_path / "note.json") == json_record(tmp_path / "none.json") == {}


def test_json_has_no_number_that_is_none() -> None:
    assert json_text({"a": [float("nan"), float("inf"), 1.5], "b": Path("x")}).split() == [
        *("{", '"a":', "[", "null,", "null,", "1.5", "],", '"b":', '"x"', "}")
    ]


def test_words(tmp_path: Path) -> None:
    (tmp_path / "P012_IHC.ndpi").touch()
    assert did_you_mean("bacth", ["batch", "epochs"]) == ". Did you mean batch?"
    assert did_you_mean("xyz", ["batch"]) == ""
    assert nearest_entry(tmp_path / "p012_ihc.ndpi") == tmp_path / "P012_IHC.ndpi"
    assert nearest_entry(tmp_path / "other") is None
    assert excerpt(None) == "nothing"
    assert excerpt("a") == "'a'"
    assert len(excerpt("x" * 10**7)) == len(excerpt(list(range(10**5)))) == 60
    assert listed([str(k) for k in range(10)]).splitlines()[-1] == "... and 2 more"
    assert listed(["a", "b"]) == "a\nb"


def test_what_the_system_refuses_is_said_without_its_number() -> None:
    assert reason(OSError(28, "No space left on device", "a.csv")) == "No space left on device"
    assert reason(OSError("cut short")) == "cut short"
    assert reason(ValueError("NUL in a name")) == "NUL in a name"


def test_a_long_name_keeps_both_ends() -> None:
    assert shortened("slide_landmarks.csv") == "slide_landmarks.csv"
    short = shortened("case-7_" + "x" * 100 + "_landmarks.csv")
    assert (len(short), short[:7], short[-14:]) == (39, "case-7_", "_landmarks.csv")


def test_commas_in_names_are_told_from_the_comma_that_joins_two(tmp_path: Path) -> None:
    folder = tmp_path / "Smith, J"
    folder.mkdir()
    for name in ("he, 2.csv", "ihc.csv"):
        (folder / name).touch()
    he, ihc = "Smith, J/he, 2.csv", "Smith, J/ihc.csv"
    assert split_files(he, tmp_path) == [he]
    assert split_files(f"{he},{ihc}", tmp_path) == [he, ihc]
    assert split_files(f"{he}, {ihc}", tmp_path) == [he, ihc]
    assert split_files(f",{ihc}", tmp_path) == ["", ihc]
    assert split_files("none.csv,other.csv", tmp_path) == ["none.csv", "other.csv"]
    assert split_files("Smith, J/new.csv", tmp_path) == ["Smith, J/new.csv"]
    assert split_files("Smith, J/new.csv, b.csv", tmp_path) == ["Smith, J/new.csv", "b.csv"]
    assert split_files("n" * 300 + ",x", tmp_path) == ["n" * 300, "x"]


@pytest.mark.parametrize("begin", PACKED)
def test_what_is_packed_is_to_be_unpacked(tmp_path: Path, begin: bytes) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(begin + bytes(range(256)))

    with pytest.raises(ValueError, match=r"points\.csv is compressed, or a workbook: unpack it"):
        read_text(path, ValueError)
