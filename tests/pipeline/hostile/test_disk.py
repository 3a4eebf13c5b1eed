"""Disks that are full or read-only: one message, nothing lost, and on once there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.bad_inputs.good import Bench
from benchmarks.bad_inputs.trial import MOST_LINES, Ending, tried
from benchmarks.bad_inputs.writing import COMMANDS

LIMIT_S = 240.0
Mount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A small disk, and what mounts it with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        words = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        subprocess.run(words, check=True, capture_output=True)

    try:
        mount("size=1m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nobody but root may mount a small disk")
    yield folder, mount
    subprocess.run(("umount", "--lazy", str(folder)), check=True)


def refused(ending: Ending, words: str) -> bool:
    """Return whether a command ended with one message that holds these words."""
    lines = ending.said.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    assert ending.code == 2, ending
    assert len(told) == 1, ending.said
    assert "Traceback" not in ending.said
    assert len(lines) - lines.index(told[0]) <= MOST_LINES
    return words in told[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "register to Zarr"])
def test_a_disk_that_is_read_only_then_full_then_neither(
    name: str, bench: Bench, disk: tuple[Path, Mount], tmp_path: Path
) -> None:
    command, (folder, mount) = COMMANDS[name], disk
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
    (folder / "ballast").write_bytes(bytes(free))

    mount("remount,ro")
    ending = tried(command.words(bench, folder), tmp_path / "said", LIMIT_S)
    assert refused(ending, "cannot be written: "), ending.said
    assert "read-only" in ending.said

    mount("remount,rw,size=1m")
    ending = tried(command.words(bench, folder), tmp_path / "said", LIMIT_S)
    assert refused(ending, "disk is full"), ending.said
    assert str(folder) in ending.said

    (folder / "ballast").unlink()
    mount("remount,size=64m")
    ending = tried(command.words(bench, folder), tmp_path / "said", LIMIT_S)
    assert ending.code == 0, ending.said
