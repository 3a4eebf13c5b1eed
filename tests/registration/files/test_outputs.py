from __future__ import annotations

import os
from pathlib import Path

import pytest

from registration.errors import OutputError
from registration.files.outputs import check_file, check_folder, resolved


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "slides" / "he.tif"
    path.parent.mkdir()
    path.write_bytes(b"slide")
    return path


def test_a_new_file_and_a_new_folder_may_be_written(tmp_path: Path, slide: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    check_file(tmp_path / "deep" / "er" / "ihc.tif", [slide])
    check_file(slide.with_name("ihc.tif"), [slide, slide.parent])
    check_folder(tmp_path / "deep" / "er", [slide], [slide.parent])
    check_folder(slide.parent / "run", [slide])
    check_folder(slide.parent / "run", [], [slide.parent])
    assert sorted(tmp_path.rglob("*")) == before, "asking leaves nothing"


@pytest.mark.parametrize("way", ["itself", "dotted", "link", "hard link", "linked folder"])
def test_a_file_that_is_read_is_not_written(tmp_path: Path, slide: Path, way: str) -> None:
    out = tmp_path / "out.tif"
    if way == "itself":
        out = slide
    elif way == "dotted":
        out = slide.parent / ".." / "slides" / "he.tif"
    elif way == "link":
        out.symlink_to(slide)
    elif way == "hard link":
        os.link(slide, out)
    else:
        (tmp_path / "other").symlink_to(slide.parent)
        out = tmp_path / "other" / "he.tif"
    with pytest.raises(OutputError, match="is read by this command"):
        check_file(out, [tmp_path / "absent", slide])


def test_a_file_of_a_folder_that_is_read_is_not_replaced(slide: Path) -> None:
    with pytest.raises(OutputError, match="is read by this command"):
        check_file(slide, [slide.parent])


def test_a_file_of_another_kind_is_not_replaced(slide: Path) -> None:
    with pytest.raises(OutputError, match=r"he\.tif is there already and of another kind .*\.csv"):
        check_file(slide, suffixes=(".csv",))
    check_file(slide, suffixes=(".csv", ".tif"))


@pytest.mark.parametrize("name", ["points.csv", "points.CSV", "points", "p12_v0.5"])
def test_a_name_promises_what_is_written(tmp_path: Path, name: str) -> None:
    check_file(tmp_path / name, suffixes=(".csv", ".txt"))
    with pytest.raises(OutputError, match=r"x\.jpg is not what is written here .*in \.tif"):
        check_file(tmp_path / "x.jpg", suffixes=(".tif",))


def test_what_is_no_earlier_result_is_not_replaced(slide: Path) -> None:
    with pytest.raises(OutputError, match=r"he\.tif is there already and no earlier result"):
        check_file(slide, is_ours=lambda path: path.read_bytes() != b"slide")
    check_file(slide, is_ours=lambda path: path.read_bytes() == b"slide")
    slide.write_bytes(b"")
    check_file(slide, is_ours=lambda path: False)


@pytest.mark.parametrize("out", ["slides", "slides/", ".", "link", "slides/..", "link/../slides"])
def test_a_folder_that_holds_an_input_is_not_written(tmp_path: Path, slide: Path, out: str) -> None:
    (tmp_path / "link").symlink_to(slide.parent)
    for inputs, models in (
        ([slide], []),
        ([], [slide]),
        ([slide.parent], []),
        ([], [slide.parent]),
    ):
        with pytest.raises(OutputError, match=r"is or holds .*, which this command reads"):
            check_folder(tmp_path / out, inputs, models)


def test_a_folder_within_a_folder_that_is_read_is_not_written(tmp_path: Path, slide: Path) -> None:
    (tmp_path / "link").symlink_to(slide.parent)
    for out in (slide.parent / "a" / "b", tmp_path / "link" / "a"):
        with pytest.raises(OutputError, match=r"lies in .*, which this command reads"):
            check_folder(out, [slide.parent])


def test_the_pixels_beside_a_cover_are_an_input(tmp_path: Path) -> None:
    cover = tmp_path / "p1.mrxs"
    cover.touch()
    cover.with_suffix("").mkdir()
    with pytest.raises(OutputError, match="is or holds"):
        check_folder(tmp_path / "p1", [cover])


@pytest.mark.parametrize(
    "out", ["/proc/x", "/proc/x/y", "/dev/null/x", "{}/he.tif/x", "{}/" + "n" * 300, "{}/a\0b"]
)
def test_what_cannot_be_written_is_told_at_once(slide: Path, out: str) -> None:
    path = Path(out.format(slide.parent))
    for check in (check_file, check_folder):
        with pytest.raises(OutputError, match=r"--out .* cannot be written: ") as refused:
            check(path)
        assert len(str(refused.value).splitlines()) == 1


def test_a_file_where_a_folder_belongs_and_the_other_way_round(slide: Path) -> None:
    with pytest.raises(OutputError, match=r"he\.tif is a file; name a folder"):
        check_folder(slide)
    with pytest.raises(OutputError, match="slides is a folder; name a file"):
        check_file(slide.parent)
    with pytest.raises(OutputError, match="no file that can be replaced"):
        check_file(Path("/dev/null"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_told_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        check_folder(tmp_path / "new")


def test_a_name_of_no_file_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / "loop")
    for name in ("loop", "nul\0"):
        assert resolved(tmp_path / name).name == name
    assert resolved(tmp_path / "a" / "..") == tmp_path.resolve()
