"""Children of this program: unmoved by foreign files, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from registration.children import environment, python, start
from tests.patience import PATIENCE_S, wait_for

TRAPS = (
    "pipeline",
    "training",
    "registration",
    "napari_plugin",
    "distributed",
    "random",
    "queue",
    "struct",
)

HOLDS_THE_LOCK = """
import ctypes, os, sys, time
from registration.execution import workers

def hold(path):
    open(path, "w").write(str(os.getpid()))
    ctypes.PyDLL(None).sleep(300)  # as elastix does: no other thread of Python's runs meanwhile

with workers(2) as pool:
    list(pool.map(hold, sys.argv[1:3]))
"""

WITHOUT_GUARD = """
import os, sys
from registration.children import spawning
from registration.execution import workers

with workers(2) as pool:
    print(list(pool.map(abs, [-1, -2, 3])))

main, before = sys.modules["__main__"], dict(os.environ)
with spawning() as context:
    child = context.Process(target=print, args=("spawned",))
    child.start()
child.join()
print(sys.modules["__main__"] is main, os.environ == before)
"""


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A folder with files that are called like our packages and others, as users have."""
    folder = tmp_path / "user"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text(
            "raise SystemExit('a file of the user was taken for ours')"
        )
    return folder


def test_a_child_finds_ours_whatever_lies_in_the_current_folder(traps: Path) -> None:
    words = python("-c", "import pipeline.errors as found; print(found.__file__)")

    done = subprocess.run(
        words, cwd=traps, env=environment(), capture_output=True, text=True, check=True
    )

    assert Path(done.stdout.strip()) == Path(__file__).parents[2] / "pipeline" / "errors.py"


def test_a_script_without_a_guard_beside_such_files(traps: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_GUARD)

    done = subprocess.run(
        [sys.executable, str(script)], cwd=traps, env=environment(), capture_output=True, text=True
    )

    assert done.stdout.split("\n") == ["[1, 2, 3]", "spawned", "True True", ""], done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child ends at its next step")
def test_no_worker_outlives_a_parent_that_alone_is_killed(tmp_path: Path) -> None:
    marks = [tmp_path / "one", tmp_path / "two"]
    parent = subprocess.Popen(
        python("-c", HOLDS_THE_LOCK, *map(str, marks)), env=environment(), start_new_session=True
    )
    wait_for(
        lambda: parent.poll() is not None or all(m.exists() and m.read_text() for m in marks),
        "both workers are at work",
    )
    assert parent.poll() is None
    family = psutil.Process(parent.pid).children(recursive=True)
    assert {process.pid for process in family} >= {int(mark.read_text()) for mark in marks}

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()

    _, alive = psutil.wait_procs(family, PATIENCE_S)
    assert alive == []


def test_a_child_ends_when_its_pipe_closes() -> None:
    words = "from registration.children import end_with_parent as e; e(); print('up', flush=True); "
    child = start(python("-c", words + "import time; time.sleep(300)"), stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"up\n"

    child.stdin.close()

    assert child.wait(PATIENCE_S) == 130
    child.stdout.close()
