from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration.errors import LandmarkError
from registration.geometry import Size
from registration.landmarks.landmarks import (
    Landmarks,
    check_inside,
    parse_landmark_argument,
    read_landmarks,
    write_landmarks,
)

OURS = """id,he_x,he_y,ihc_x,ihc_y,enabled
a,10,20.5,30,40,true
b,11,21,31,41,false
c,12,22,32,42,true
d,13,23,33,43,1
e,14,24,34,44,yes
"""
BIGWARP = """"Pt-0","true","10.0","20.5","30.0","40.0"
"Pt-1","false","11.0","21.0","31.0","41.0"
"Pt-2","true","12.0","22.0","32.0","42.0"
"Pt-3","true","13.0","23.0","Infinity","Infinity"
"""
HE = np.array([[10, 20.5], [11, 21], [12, 22], [13, 23], [14, 24]])


def written(folder: Path, text: str, name: str = "landmarks.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        OURS,
        OURS.replace("\n", "\r\n"),
        OURS.replace("\n", "\r"),
        "\ufeff" + OURS,
        OURS.replace(",", ";"),
        OURS.replace(",", ";").replace("20.5", "20,5"),
        OURS.replace(",", "\t"),
        OURS.replace(",", ", "),
        OURS.replace("id,he_x", "ID,HE_X"),
        OURS + "\n\n,,,,,\n",
    ],
    ids=[
        "plain",
        "crlf",
        "cr",
        "bom",
        "semicolon",
        "decimal comma",
        "tab",
        "space",
        "upper",
        "blank",
    ],
)
def test_our_table_is_read_however_it_was_saved(tmp_path: Path, text: str) -> None:
    landmarks = read_landmarks(written(tmp_path, text))
    assert landmarks.names == ("a", "b", "c", "d", "e")
    np.testing.assert_array_equal(landmarks.he, HE)
    np.testing.assert_array_equal(landmarks.ihc[:, 0], [30, 31, 32, 33, 34])
    assert landmarks.enabled.tolist() == [True, False, True, True, True]


def test_columns_are_found_by_name_and_others_ignored(tmp_path: Path) -> None:
    text = "note,ihc_y,ihc_x,he_y,he_x\n" + "".join(
        f"n,{i},{i + 1},{i + 2},{i + 3}\n" for i in range(4)
    )
    landmarks = read_landmarks(written(tmp_path, text))
    assert landmarks.names == ("1", "2", "3", "4")
    np.testing.assert_array_equal(landmarks.he[0], [3, 2])
    np.testing.assert_array_equal(landmarks.ihc[0], [1, 0])
    assert landmarks.enabled.all()


def test_only_enabled_pairs_are_used(tmp_path: Path) -> None:
    landmarks = read_landmarks(written(tmp_path, OURS))
    fixed, moving = landmarks.oriented("he")
    np.testing.assert_array_equal(moving, HE[[0, 2, 3, 4]])
    np.testing.assert_array_equal(fixed[:, 0], [30, 32, 33, 34])
    swapped_fixed, swapped_moving = landmarks.oriented("ihc")
    np.testing.assert_array_equal(swapped_fixed, moving)
    np.testing.assert_array_equal(swapped_moving, fixed)
    assert landmarks.active().names == ("a", "c", "d", "e")
    assert len(landmarks) == 5


def test_bigwarp_has_the_moving_he_points_first(tmp_path: Path) -> None:
    landmarks = read_landmarks(written(tmp_path, BIGWARP), minimum=2)
    assert landmarks.names == ("Pt-0", "Pt-1", "Pt-2")
    np.testing.assert_array_equal(landmarks.he, HE[:3])
    np.testing.assert_array_equal(landmarks.ihc[:, 1], [40, 41, 42])
    assert landmarks.enabled.tolist() == [True, False, True]


def anhir(count: int, header: str, shift: float = 0.0, first: int = 0) -> str:
    rows = range(first, first + count)
    if header in ("X,Y", "x,y"):
        return "\n".join([header, *(f"{i + shift},{2 * i}" for i in rows)])
    return "\n".join([header, *(f"{i},{i + shift},{2 * i}" for i in rows)])


@pytest.mark.parametrize("header", [",X,Y", "id,x,y", "X,Y", "x,y"])
def test_two_files_are_paired(tmp_path: Path, header: str) -> None:
    he = written(tmp_path, anhir(6, header), "HE.csv")
    ihc = written(tmp_path, anhir(6, header, shift=100), "IHC.csv")
    landmarks = parse_landmark_argument(f"{he},{ihc}")
    np.testing.assert_array_equal(landmarks.ihc - landmarks.he, np.tile([100, 0], (6, 1)))


def test_points_of_one_file_only_are_left_out(tmp_path: Path) -> None:
    he = written(tmp_path, anhir(8, ",X,Y"), "HE.csv")
    ihc = written(tmp_path, anhir(8, "id,x,y", shift=100, first=2), "IHC.csv")
    landmarks = read_landmarks(he, ihc)
    assert landmarks.names == ("2", "3", "4", "5", "6", "7")
    np.testing.assert_array_equal(landmarks.ihc - landmarks.he, np.tile([100, 0], (6, 1)))


def test_real_pair_whose_he_file_has_more_points(real_data: Path) -> None:
    folder = real_data / "landmarks" / "rat-kidney_7pc"
    landmarks = parse_landmark_argument(f"{folder / 'HE.csv'}, {folder / 'PanCK.csv'}")
    assert len(landmarks) == 69
    np.testing.assert_array_equal(landmarks.he[0], [88.65, 435.04])
    np.testing.assert_array_equal(landmarks.ihc[0], [90.43, 422.98])
    # Consecutive sections lie a few hundredths apart; a pair by row instead of id would be far off.
    assert np.linalg.norm(landmarks.he - landmarks.ihc, axis=1).max() < 80


def qupath(names: list[str | None], shift: float = 0.0) -> str:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [i + shift + 0.5, 2 * i + 0.5]},
            "properties": {"objectType": "annotation"} | ({"name": name} if name else {}),
        }
        for i, name in enumerate(names)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def test_qupath_points_are_paired_by_name(tmp_path: Path) -> None:
    names: list[str | None] = ["a", "b", "c", "d", "e"]
    he = written(tmp_path, qupath(names), "he.geojson")
    ihc = written(tmp_path, qupath(names[::-1], shift=100), "ihc.geojson")
    landmarks = read_landmarks(he, ihc)
    assert landmarks.names == tuple(names)
    np.testing.assert_array_equal(landmarks.he[1], [1, 2])
    np.testing.assert_array_equal(landmarks.ihc[1], [103, 6])


def test_qupath_points_without_names_are_paired_by_order(tmp_path: Path) -> None:
    he = written(tmp_path, qupath([None] * 5), "he.geojson")
    ihc = written(tmp_path, qupath([None] * 5, shift=100), "ihc.geojson")
    landmarks = read_landmarks(he, ihc)
    np.testing.assert_array_equal(landmarks.ihc - landmarks.he, np.tile([100, 0], (5, 1)))


coordinates = st.floats(-1e6, 1e6)
pairs = st.lists(st.tuples(*[coordinates] * 4, st.booleans()), max_size=12)


@given(pairs, st.sampled_from(["1", "Pt-{}", "lumen, left {}", 'the "big" one {}', "ÄÖ {}"]))
def test_written_landmarks_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[tuple[float, float, float, float, bool]],
    name: str,
) -> None:
    numbers = np.array([value[:4] for value in values]).reshape(-1, 4)
    names = tuple(name.format(i) if "{}" in name else str(i) for i in range(len(values)))
    enabled = np.array([value[4] for value in values], bool)
    landmarks = Landmarks(names, numbers[:, :2], numbers[:, 2:], enabled)
    path = tmp_path_factory.mktemp("written") / "landmarks.csv"
    write_landmarks(path, landmarks)
    read = read_landmarks(path, minimum=0)
    assert read.names == names
    np.testing.assert_allclose(read.he, landmarks.he, atol=1e-4)
    np.testing.assert_allclose(read.ihc, landmarks.ihc, atol=1e-4)
    np.testing.assert_array_equal(read.enabled, enabled)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (OURS.replace("31", "nan"), "line 3: expected a finite number for ihc_x, found 'nan'"),
        (OURS.replace("31", "inf"), "line 3: expected a finite number"),
        (OURS.replace("22", "left"), "line 4: expected a number for he_y, found 'left'"),
        (OURS.replace("22", ""), "line 4: expected a number for he_y, found ''"),
        (OURS.replace("c,", "a,"), "line 4: id 'a' is already used in line 2"),
        (OURS.replace("42,true", "42"), "line 4: expected 6 columns, found 5"),
        (OURS.replace("false", "maybe"), "line 3: expected true or false for enabled"),
        (OURS.replace("true", "false"), "2 enabled pairs, at least 4 are needed"),
        (OURS.replace("ihc_y", "y"), "line 1: expected the columns id,he_x,he_y,ihc_x,ihc_y"),
        ("1,2,3,4\n5,6,7,8\n", "line 1: expected the columns"),
        ("id,x,y\n1,2,3\n", r"points of one image: give both files, as --landmarks HE.csv,IHC.csv"),
        (BIGWARP, "2 enabled pairs"),
        (BIGWARP.replace("21.0", "x"), "line 2: expected a number"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(LandmarkError, match=message) as refused:
        read_landmarks(path)
    assert str(path) in str(refused.value)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match="not found"):
        read_landmarks(tmp_path / "none.csv")
    with pytest.raises(LandmarkError, match="is a folder"):
        read_landmarks(tmp_path)
    with pytest.raises(LandmarkError, match=r"line 1: a NUL character; this is no text file"):
        read_landmarks(written(tmp_path, "\0" + OURS))
    with pytest.raises(LandmarkError, match="points of one image"):
        read_landmarks(written(tmp_path, qupath(["a"]), "he.geojson"))
    with pytest.raises(LandmarkError, match="expected one file, or two"):
        parse_landmark_argument("a.csv,b.csv,c.csv")


def test_two_files_that_cannot_be_paired_are_refused(tmp_path: Path) -> None:
    he = written(tmp_path, anhir(6, "X,Y"), "HE.csv")
    ihc = written(tmp_path, anhir(5, "id,x,y"), "IHC.csv")
    with pytest.raises(LandmarkError, match=r"6 points and .* 5; without an id"):
        read_landmarks(he, ihc)
    other = written(tmp_path, anhir(6, "id,x,y", first=50), "other.csv")
    with pytest.raises(LandmarkError, match="0 enabled pairs"):
        read_landmarks(ihc, other)
    with pytest.raises(
        LandmarkError, match=r"line 1: expected the columns id,x,y .* give it alone"
    ):
        read_landmarks(written(tmp_path, OURS), ihc)


def test_a_file_whose_name_has_a_comma_is_one_file(tmp_path: Path) -> None:
    path = written(tmp_path, OURS, "pair 1, picked.csv")
    assert len(parse_landmark_argument(str(path))) == 5


def test_pairs_off_their_slide_are_named(tmp_path: Path) -> None:
    landmarks = read_landmarks(written(tmp_path, OURS))
    check_inside(landmarks, Size(100, 100), Size(100, 100))
    # The disabled pair b is never used, and may lie anywhere.
    check_inside(landmarks, Size(100, 100), Size(35, 45))
    with pytest.raises(
        LandmarkError, match=r"pair d \(line 5\), e \(line 6\): the IHC point .* \(33 x 100 px\)"
    ):
        check_inside(landmarks, Size(100, 100), Size(33, 100))
    with pytest.raises(LandmarkError, match=r"pair a .*c .*d .*e .*: the H&E .* x and y swapped"):
        check_inside(landmarks, Size(25, 15), Size(100, 30))
    with pytest.raises(LandmarkError, match="two slides or files swapped"):
        check_inside(landmarks, Size(100, 100), Size(25, 30))
    with pytest.raises(LandmarkError, match="micrometres"):
        check_inside(landmarks, Size(12, 12), Size(100, 100))


def test_arrays_of_other_lengths_are_no_landmarks() -> None:
    with pytest.raises(ValueError, match="2 names"):
        Landmarks(("a", "b"), np.zeros((3, 2)), np.zeros((3, 2)), np.ones(3, bool))
