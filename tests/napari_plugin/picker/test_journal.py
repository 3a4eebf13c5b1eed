"""Nothing that was picked is lost: autosave, recovery after a killed process, foreign formats."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from napari_plugin.picker.journal import Journal, PairOfSlides
from napari_plugin.picker.model import Picker
from napari_plugin.views import Frame
from registration.errors import LandmarkError
from registration.geometry import Size
from registration.landmarks.landmarks import read_landmarks

HE = Frame(Size(2000, 1500), 0.5)
IHC = Frame(Size(1800, 1700), 0.25)

CLICKS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from napari_plugin import kept
from napari_plugin.picker.journal import Journal
from napari_plugin.picker.model import Picker
from napari_plugin.views import Frame
from registration.geometry import Size

kept.WAIT_S = 300.0  # a busy disk may take longer than a window waits
picker = Picker(Frame(Size(2000, 1500), 0.5), Frame(Size(1800, 1700), 0.25), Journal(Path(sys.argv[1])))
for k in range(3):
    picker.click("he", (100.25 + k, 50.5 * k))
    picker.click("ihc", (200.75 + k, 60.0 * k))
picker.suggest([((11.0, 12.0), (13.0, 14.0))], "suggested")
picker.click("he", (900.125, 800.0))
os.kill(os.getpid(), signal.SIGKILL)
"""


def picked(path: Path, count: int = 2) -> Picker:
    picker = Picker(HE, IHC, Journal(path))
    for k in range(count):
        picker.click("he", (100.0 + 10 * k, 200.0 + k * k))
        picker.click("ihc", (150.0 + 10 * k, 250.0 + k))
    return picker


@pytest.mark.skipif(os.name != "posix", reason="kills a process the POSIX way")
def test_a_killed_process_loses_nothing_that_was_clicked(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"

    killed = subprocess.run([sys.executable, "-c", CLICKS_AND_DIES, str(path)], check=False)
    picker = Picker(HE, IHC, Journal(path))

    assert killed.returncode == -signal.SIGKILL
    assert len(read_landmarks(path, minimum=0)) == 3
    assert [pair.name for pair in picker.picks.pairs] == ["1", "2", "3", "4", "5"]
    assert picker.picks.pair("3").ihc == (202.75, 120.0)
    assert picker.picks.pair("4").proposal == "pair"
    assert picker.picks.half is not None
    assert picker.picks.half.he == (900.125, 800.0)
    assert "taken up again" in picker.message


def test_killed_between_its_two_files_the_newer_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picker = picked(path, 2)
    before = path.read_bytes()
    picker.click("he", (900.0, 900.0))
    picker.click("ihc", (910.0, 910.0))
    path.write_bytes(before)  # as if the process died before the landmark file was renamed

    again = Picker(HE, IHC, Journal(path))

    assert len(again.picks.pairs) == 3


def test_a_file_that_somebody_else_changed_wins(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picked(path, 2)
    path.write_text("id,he_x,he_y,ihc_x,ihc_y,enabled\nnew,1,2,3,4,true\n", encoding="utf-8")

    again = Picker(HE, IHC, Journal(path))

    assert [pair.name for pair in again.picks.pairs] == ["new"]


def test_a_half_picked_pair_survives_a_file_that_somebody_else_changed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picker = picked(path, 2)
    picker.click("he", (3.0, 4.0))
    picker.close()
    path.write_text("id,he_x,he_y,ihc_x,ihc_y,enabled\n3,1,2,3,4,true\n", encoding="utf-8")

    again = Picker(HE, IHC, Journal(path))

    assert [(pair.name, pair.he) for pair in again.picks.pairs] == [
        ("3", (1.0, 2.0)),
        ("4", (3.0, 4.0)),
    ]
    assert "Pair 4 is half picked" in again.message
    again.click("ihc", (5.0, 6.0))
    assert read_landmarks(path, minimum=0).names == ("3", "4")


@pytest.mark.parametrize("change", ["appended", "replaced"])
def test_a_file_changed_while_the_window_is_open_is_not_overwritten(
    tmp_path: Path, change: str
) -> None:
    picker = picked(tmp_path / "pairs.csv")
    theirs = tmp_path / "pairs.csv"
    text = theirs.read_text() + "theirs,1,2,3,4,true\n" if change == "appended" else "id\n"
    theirs.write_text(text)

    picker.click("he", (500.0, 600.0))
    told = picker.message
    picker.click("ihc", (510.0, 610.0))
    picker.click("he", (700.0, 600.0))
    picker.click("ihc", (710.0, 610.0))

    assert theirs.read_text() == text
    assert "pairs_2.csv" in told
    assert len(read_landmarks(tmp_path / "pairs_2.csv", minimum=0)) == 4


def test_a_landmark_file_that_was_deleted_is_written_again(tmp_path: Path) -> None:
    picker = picked(tmp_path / "pairs.csv")
    (tmp_path / "pairs.csv").unlink()

    picker.click("he", (500.0, 600.0))
    picker.click("ihc", (510.0, 610.0))

    assert len(read_landmarks(tmp_path / "pairs.csv", minimum=0)) == 3


def test_a_closed_session_leaves_one_file_and_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picked(path, 2).close()
    again = Picker(HE, IHC, Journal(path))
    again.delete("1")
    again.close()

    assert sorted(file.name for file in tmp_path.iterdir()) == ["pairs.csv", "pairs.csv.bak"]
    assert read_landmarks(path, minimum=0).names == ("2",)
    assert read_landmarks(path.with_name("pairs.csv.bak"), minimum=0).names == ("1", "2")


def test_a_half_picked_pair_survives_closing(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picker = picked(path, 1)
    picker.click("he", (3.0, 4.0))
    picker.close()

    assert Picker(HE, IHC, Journal(path)).picks.half is not None


def test_opening_and_closing_writes_nothing(tmp_path: Path) -> None:
    Picker(HE, IHC, Journal(tmp_path / "pairs.csv")).close()

    assert list(tmp_path.iterdir()) == []


def test_all_pairs_deleted_is_a_state_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picker = picked(path, 1)
    picker.delete("1")
    picker.close()

    assert Picker(HE, IHC, Journal(path)).picks.pairs == ()


def test_bigwarp_pairs_are_taken_over_and_the_file_is_left_alone(tmp_path: Path) -> None:
    bigwarp = tmp_path / "big.csv"
    text = '"Pt-0","true","10.5","20.0","30.0","40.0"\n"Pt-1","false","1.0","2.0","3.0","4.0"\n'
    bigwarp.write_text(text, encoding="utf-8")

    picker = Picker(HE, IHC, Journal.of_argument(str(bigwarp)))
    picker.delete("Pt-1")

    assert bigwarp.read_text(encoding="utf-8") == text
    stored = read_landmarks(tmp_path / "big_landmarks.csv", minimum=0)
    assert stored.he.tolist() == [[10.5, 20.0]]


def test_a_file_that_cannot_be_written_is_told_and_the_pairs_stay(tmp_path: Path) -> None:
    folder = tmp_path / "a file, no folder"
    folder.write_text("", encoding="utf-8")

    picker = picked(folder / "pairs.csv", 1)

    assert picker.message.startswith(f"Not saved, {folder / 'pairs.csv'}: ")
    assert "Errno" not in picker.message
    assert picker.saved == "NOT SAVED: pairs.csv"
    assert len(picker.picks.pairs) == 1
    picker.save_as(Journal(tmp_path / "elsewhere.csv"))
    assert len(read_landmarks(tmp_path / "elsewhere.csv", minimum=0)) == 1


def test_pairs_that_cannot_be_saved_are_written_elsewhere_when_the_window_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text("another file", encoding="utf-8")
    picker = picked(folder / "pairs.csv", 2)
    assert picker.saved == "Saved as you click: pairs.csv"
    shutil.rmtree(folder)  # the share is gone
    folder.write_text("", encoding="utf-8")
    picker.delete("1")
    assert picker.message.startswith("Not saved")

    message = picker.close()

    assert message.endswith(f"its pairs are in {tmp_path / 'pairs_2.csv'}.")
    assert len(read_landmarks(tmp_path / "pairs_2.csv", minimum=0)) == 1
    assert (tmp_path / "pairs.csv").read_text(encoding="utf-8") == "another file"


def test_closing_saved_pairs_writes_no_other_file(tmp_path: Path) -> None:
    assert picked(tmp_path / "pairs.csv", 2).close() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_commas_in_the_names_of_folders_join_no_files(tmp_path: Path) -> None:
    folder = tmp_path / "Smith, John"
    folder.mkdir()
    assert Journal.of_argument(f"{folder}/pairs.csv").path == folder / "pairs.csv"
    for name in ("HE.csv", "IHC.csv"):
        (folder / name).write_text("x,y\n1,2\n3,4\n5,6\n7,9\n")
    both = Journal.of_argument(f"{folder}/HE.csv,{folder}/IHC.csv")
    assert both.path == folder / "HE_landmarks.csv"


def test_without_a_name_the_file_lies_beside_the_slide(tmp_path: Path) -> None:
    found = Journal.beside(tmp_path / "s1.ndpi", tmp_path / "s1_ki67.ndpi")

    assert found.path == tmp_path / "s1_s1_ki67_landmarks.csv"


OURS = PairOfSlides(("aa 2000x1500 0.5", "bb 1800x1700 0.25"), (HE.size, IHC.size))
OTHERS = PairOfSlides(("aa 2000x1500 0.5", "cc 1800x1700 0.25"), (HE.size, IHC.size))


def test_pairs_of_other_slides_are_refused_and_a_default_name_makes_way(tmp_path: Path) -> None:
    he, ihc = tmp_path / "he.svs", tmp_path / "ihc.svs"
    first = Picker(HE, IHC, Journal.beside(he, ihc, OURS))
    first.click("he", (10, 20))
    first.click("ihc", (30, 40))
    first.close()
    before = first.journal.path.read_bytes()

    with pytest.raises(LandmarkError, match="another IHC slide"):
        Picker(HE, IHC, Journal.of_argument(str(first.journal.path), OTHERS))
    other = Picker(HE, IHC, Journal.beside(he, ihc, OTHERS))

    assert other.journal.path.name == "he_ihc_2_landmarks.csv"
    assert other.picks.pairs == ()
    assert first.journal.path.read_bytes() == before
    assert len(Picker(HE, IHC, Journal.beside(he, ihc, OURS)).picks.pairs) == 1


def test_an_open_end_of_other_slides_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    half = Picker(HE, IHC, Journal(path, slides=OURS))
    half.click("he", (10, 20))
    half.close()

    with pytest.raises(LandmarkError, match="another IHC slide"):
        Picker(HE, IHC, Journal(path, slides=OTHERS))


def test_pairs_that_lie_off_the_slides_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("id,he_x,he_y,ihc_x,ihc_y\n1,1999,5,1801,5\n", encoding="utf-8")

    with pytest.raises(LandmarkError, match="other slides"):
        Picker(HE, IHC, Journal(path, slides=OURS))


def test_a_row_added_by_hand_needs_not_name_the_slides(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    picker = Picker(HE, IHC, Journal(path, slides=OURS))
    picker.click("he", (10, 20))
    picker.click("ihc", (30, 40))
    picker.close()
    path.write_text(path.read_text() + "extra,1,2,3,4,true\n")

    assert [one.name for one in Picker(HE, IHC, Journal(path, slides=OURS)).picks.pairs] == [
        "1",
        "extra",
    ]


def test_the_piece_that_a_pair_lies_on_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("id,he_x,he_y,ihc_x,ihc_y,enabled,piece\n1,1,2,3,4,true,piece 2\n")

    picker = Picker(HE, IHC, Journal(path))
    picker.click("he", (10, 20))
    picker.click("ihc", (30, 40))

    assert read_landmarks(path, minimum=0).pieces == ("piece 2", "")


def test_a_bigwarp_file_that_was_edited_is_taken_over_again(tmp_path: Path) -> None:
    bigwarp = tmp_path / "big.csv"
    bigwarp.write_text('"Pt-0","true","10.5","20.0","30.0","40.0"\n', encoding="utf-8")
    first = Picker(HE, IHC, Journal.of_argument(str(bigwarp)))
    first.close()
    bigwarp.write_text('"Pt-0","true","11.5","20.0","30.0","40.0"\n', encoding="utf-8")
    later = first.journal.path.stat().st_mtime + 10
    os.utime(bigwarp, (later, later))

    again = Picker(HE, IHC, Journal.of_argument(str(bigwarp)))

    assert again.picks.pair("Pt-0").he == (11.5, 20.0)
    assert read_landmarks(first.journal.path, minimum=0).he.tolist() == [[11.5, 20.0]]
    assert "taken over" in again.message


def test_points_of_qupath_are_counted_from_where_it_counts(tmp_path: Path) -> None:
    def exported(name: str, x: float) -> Path:
        point = {"type": "Point", "coordinates": [x + 0.5, 7.5]}
        feature = {"type": "Feature", "geometry": point, "properties": {"name": "a"}}
        path = tmp_path / name
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
        return path

    slides = PairOfSlides(("a 1x1 1", "b 1x1 1"), (HE.size, IHC.size), ((870, 20), (0, 0)))
    argument = f"{exported('he.geojson', 10)},{exported('ihc.geojson', 30)}"

    picked = Picker(HE, IHC, Journal.of_argument(argument, slides)).picks.pairs

    assert [(tuple(pair.he), tuple(pair.ihc)) for pair in picked] == [((880, 27), (30, 7))]
