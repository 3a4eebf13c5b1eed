"""The patch command on a real cluster, and interrupted: nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.dataset.inspection import inspect_dataset
from pipeline.dataset.table import read_table
from pipeline.patches.settings import PatchSettings
from pipeline.stages.patch import PatchRequest, run_patch
from registration.execution import no_progress
from tests.patience import PATIENCE_S, wait_for

OPTIONS = ("--size", "256", "--stride", "64", "--min-tissue", "0.3", "--name", "small")
SETTINGS = PatchSettings(size=256, stride=64, min_tissue=0.3)
PROGRAM = "from pipeline.cli.app import main; main()"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let Ctrl+C reach the programs started here: a background job's children would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def run(hand_made) -> Path:
    folder: Path = hand_made.registration.folder
    return folder


@pytest.fixture(scope="module")
def undisturbed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as one undisturbed process makes it."""
    out = tmp_path_factory.mktemp("alone") / "dataset"
    run_patch(PatchRequest((run,), out, SETTINGS, name="small"), 1, None, no_progress)
    return out


def started(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as said:
        return subprocess.Popen([sys.executable, *words], stdout=said, stderr=said)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process of its own that nobody restarts."""
    file = tmp_path / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = started(
        ("-m", "dask", "scheduler", *local, "--port", "0", "--scheduler-file", str(file)),
        tmp_path / "scheduler.log",
    )
    wait_for(lambda: file.exists() and file.stat().st_size, "the scheduler")
    worker = ("-m", "dask", "worker", *local, "--nthreads", "1", "--no-nanny")
    where = ("--scheduler-file", str(file), "--local-directory", str(tmp_path))
    pool = [started((*worker, *where), tmp_path / f"worker{k}.log") for k in range(2)]
    for number in range(2):
        log = tmp_path / f"worker{number}.log"
        wait_for(lambda log=log: b"Registered to" in log.read_bytes(), "a worker")
    yield file, pool
    for process in (*pool, scheduler):
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_worker_killed_in_the_middle_costs_nothing(
    cluster, run: Path, undisturbed: Path, tmp_path: Path
) -> None:
    file, pool = cluster
    out, log = tmp_path / "dataset", tmp_path / "patch.log"
    work = out / ".work" / run.name
    words = ("patch", str(run), "--out", str(out), *OPTIONS, "--scheduler", str(file))
    patching = started(("-c", PROGRAM, *words), log)

    wait_for(lambda: b"alignment" in log.read_bytes(), "the alignment stage")
    pool[0].kill()

    assert patching.poll() is None
    assert not (work / "measured.json").exists()
    assert patching.wait(PATIENCE_S) == 0, log.read_text()
    assert pool[1].poll() is None
    rows = read_table(out)
    assert len({row.pair_id for row in rows}) == len(rows) > 100
    assert inspect_dataset(out)["problems"] == []
    assert (out / "SHA256SUMS").read_text() == (undisturbed / "SHA256SUMS").read_text()


def test_an_interrupted_command_goes_on(run: Path, undisturbed: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "dataset", tmp_path / "patch.log"
    images = out / ".work" / run.name / "images"
    words = ("patch", str(run), "--out", str(out), *OPTIONS, "--workers", "1")
    patching = started(("-c", PROGRAM, *words), log)
    wait_for(lambda: len(list(images.glob("*_ihc.png"))) > 3, "the first images")

    os.kill(patching.pid, signal.SIGINT)

    assert patching.wait(PATIENCE_S) == 130, log.read_text()
    assert not (out / "SHA256SUMS").exists()
    first = min(images.glob("*_ihc.png"))
    stamp = first.stat().st_mtime_ns
    again = started(("-c", PROGRAM, *words), log)
    wait_for(lambda: (out / "SHA256SUMS").exists(), "the dataset")
    assert again.wait(PATIENCE_S) == 0
    assert (out / "SHA256SUMS").read_text() == (undisturbed / "SHA256SUMS").read_text()
    taken_up = [path for path in out.glob("IHC/*/*.png") if path.stat().st_mtime_ns == stamp]
    assert taken_up, "an image that was there is another one by now"
