from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration.files.storage import (
    ABANDONED_S,
    HASH_EDGE_BYTES,
    MACHINE,
    content_hash,
    folder_written_whole,
    settings_hash,
    write_json,
    write_npz,
    write_text,
    written_whole,
)


class StoppedError(Exception):
    pass


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def stopped_while_writing(part: Path) -> None:
    part.write_text("half")
    raise StoppedError


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    with written_whole(path) as part:
        part.write_text("half")
        assert not path.exists()
        assert part.suffix == ".json"
    assert path.read_text() == "half"
    assert names(path.parent) == ["report.json"]


def test_who_reads_the_old_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with path.open() as reading:
        write_text(path, "new")
        assert reading.read() == "old"
    assert path.read_text() == "new"


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(StoppedError), written_whole(path) as part:
        stopped_while_writing(part)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.json"]


def test_a_folder_replaces_the_old_one_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.zarr"
    path.mkdir()
    (path / "stale").touch()
    with folder_written_whole(path) as part:
        (part / "fresh").touch()
        assert names(path) == ["stale"]
    assert names(path) == ["fresh"]
    with pytest.raises(StoppedError), folder_written_whole(path) as part:
        stopped_while_writing(part / "half")
    assert names(path) == ["fresh"]
    assert names(tmp_path) == ["image.ome.zarr"]


def test_json_takes_numpy_paths_and_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {
        "scores": np.array([1.5, np.nan]),
        "count": np.int64(3),
        "infinite": float("inf"),
        "folder": Path("a/b"),
        "size": (1, 2),
        4: None,
    }
    write_json(path, value)
    assert json.loads(path.read_text()) == {
        "scores": [1.5, None],
        "count": 3,
        "infinite": None,
        "folder": "a/b",
        "size": [1, 2],
        "4": None,
    }


def test_text_and_arrays_come_back(tmp_path: Path) -> None:
    write_text(tmp_path / "unit.txt", "0.46 µm")
    write_npz(tmp_path / "field.npz", values=np.arange(6).reshape(2, 3))
    assert (tmp_path / "unit.txt").read_text(encoding="utf-8") == "0.46 µm"
    with np.load(tmp_path / "field.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["values"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("position", [0, HASH_EDGE_BYTES - 1, -HASH_EDGE_BYTES, -1])
def test_hash_of_a_slide_sees_both_ends(tmp_path: Path, position: int) -> None:
    content = bytearray(3 * HASH_EDGE_BYTES)
    path = tmp_path / "slide.ndpi"
    path.write_bytes(content)
    before = content_hash(path)
    content[position] ^= 1
    path.write_bytes(content)
    assert content_hash(path) != before


@pytest.mark.parametrize("size", [1, HASH_EDGE_BYTES, HASH_EDGE_BYTES + 5, 2 * HASH_EDGE_BYTES])
def test_hash_of_a_slide_sees_every_byte_of_a_small_one_and_the_size(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "slide.ndpi"
    hashes = set()
    for content in (bytes(size), bytes(size - 1) + b"x", bytes(size + 1)):
        path.write_bytes(content)
        hashes.add(content_hash(path))
    assert len(hashes) == 3


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.text()))
def test_hash_of_settings_ignores_the_order_of_keys(settings: dict[str, object]) -> None:
    turned = dict(reversed(settings.items()))
    assert settings_hash(settings) == settings_hash(turned)
    assert settings_hash(settings, 1) != settings_hash(settings, 2)


def test_hash_of_settings_is_the_same_in_another_process() -> None:
    imported = "from registration.files.storage import settings_hash"
    program = f"{imported}; print(settings_hash({{'b': 1, 'a': 2.5}}))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == settings_hash({"a": 2.5, "b": 1})


@dataclass(frozen=True)
class Settings:
    grid_um: float


def test_only_plain_values_are_hashed() -> None:
    with pytest.raises(TypeError):
        settings_hash(Settings(50.0))


def dead_process() -> int:
    """Return the number of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_what_killed_processes_left_beside_a_file_goes_and_nothing_else(tmp_path: Path) -> None:
    dead, old = dead_process(), time.time() - 2 * ABANDONED_S
    left = [f".p012.{MACHINE}-{dead}.part.tif", f".other.{MACHINE}-{dead}.part"]
    left += [f".p012.01234567-{dead}.part.tif"]
    kept = [f".p012.{MACHINE}-{os.getppid()}.part.tif", f".p013.01234567-{dead}.part.tif"]
    kept += [f"p012.{MACHINE}-{dead}.part.tif", ".p012.4711.part.tif", "p012.tif"]
    (tmp_path / left[1]).mkdir()
    for name in (left[0], f"{left[1]}/tile", left[2], *kept):
        (tmp_path / name).write_bytes(b"something")
    os.utime(tmp_path / left[2], (old, old))

    write_text(tmp_path / "new.txt", "whole")

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "new.txt"])


def test_a_number_that_another_process_has_by_now_protects_nothing(tmp_path: Path) -> None:
    left = tmp_path / f".p012.{MACHINE}-{os.getpid()}.part.tif"
    left.write_bytes(b"of a process before this one")
    before = psutil.Process().create_time() - 100
    os.utime(left, (before, before))

    write_text(tmp_path / "new.txt", "whole")

    assert [path.name for path in tmp_path.iterdir()] == ["new.txt"]
