"""Two processes on one result: the second is refused, and a killed one holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from registration.children import environment, python
from registration.errors import InUseError, OutputError
from registration.files.alone import alone_with, one_at_a_time
from registration.files.outputs import check_folder

HOLDS = """
import sys, time
from pathlib import Path
from registration.files.alone import alone_with
with alone_with(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def held(result: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        python("-c", HOLDS, str(result)), env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    result = tmp_path / "new" / "run"
    with held(result) as first:
        with (
            pytest.raises(InUseError, match=r"another process is at work on .*run"),
            alone_with(result),
        ):
            pass
        with alone_with(tmp_path / "new" / "other"):
            pass
        os.kill(first.pid, signal.SIGKILL)

    with alone_with(result):
        assert result.parent.is_dir()


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone_with(tmp_path / "a" / "b" / "run"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []

    with alone_with(tmp_path / "a" / "run"):
        (tmp_path / "a" / "run").mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "run"]


def test_where_nothing_may_be_written_beside_it_too(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")

    with (
        alone_with(in_the_way / "run"),
        pytest.raises(InUseError),
        alone_with(in_the_way / "run"),
    ):
        pass


def test_a_function_is_alone_with_what_it_makes(tmp_path: Path) -> None:
    @one_at_a_time(lambda out, *_: out)
    def make(out: Path | None, word: str) -> str:
        return make(out, "again") if word == "once" else word

    assert make(tmp_path / "run", "plain") == "plain"
    assert make(None, "once") == "again"
    with pytest.raises(InUseError):
        make(tmp_path / "run", "once")


@pytest.mark.parametrize("name", ["loop", "nul\0"])
def test_what_is_no_name_is_left_to_who_writes_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / "loop")

    with alone_with(tmp_path / name), pytest.raises(OutputError, match="cannot be written"):
        check_folder(tmp_path / name)
