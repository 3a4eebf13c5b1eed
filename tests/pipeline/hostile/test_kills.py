"""Commands that are killed between any two changes on the disk, and started again."""

from __future__ import annotations

import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.bad_inputs.good import Bench
from benchmarks.bad_inputs.trial import Ending, tried
from benchmarks.bad_inputs.writing import COMMANDS
from registration.children import environment, python
from tests.patience import PATIENCE_S

TOLD = ("timings.json", "events.*", "cohort.html", "log.txt", "*.log")
"""Files that hold nothing but times, or have them in every record."""
TIMES = {
    "report.html": (rb"Registered on [-\d]+", rb"<h3>Time.*?</dl>"),
    "train.html": (
        rb'<section class="verdict.*?</section>',  # it tells of too much waiting
        rb'<svg class="plot"[^>]*aria-label="images per second over step".*?</svg>',
    ),
    "history.csv": (rb",[^,\n]*,[^,\n]*$",),
    "index.json": (rb"(?<=[0-9a-f]{16})-[0-9a-f]{16}",),  # of pixels: when images were written
}
"""What tells of times and durations in a file, by its name."""
CACHE_STATE = re.compile(r"(\.bci-pipeline-cache/[0-9a-f]{16})-[0-9a-f]{16}")
"""The name of a pixel cache, whose second half tells when its images were written."""
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
LIMIT_S = 240.0


class Counter:
    """A number that a child counts up and its parent reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        return int(struct.unpack("q", self._memory[:8])[0])

    def up(self) -> int:
        self._memory[:8] = struct.pack("q", self.value + 1)
        return self.value


def watching(folder: Path, counter: Counter, last: int = 0) -> Callable[[], None]:
    """Return what counts the changes that a process makes, and kills it before the last."""

    def changed(event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and bool(arguments[2] & WRITES) and str(folder) in str(arguments[0])
        if (opens or event in CHANGES) and counter.up() == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(changed)


def finished(words: tuple[object, ...], here: Path, before: Callable[[], None]) -> Ending:
    ending = tried(words, here / "said", LIMIT_S, before)
    assert ending.code in (0, -signal.SIGKILL), (words, ending.code, ending.said)
    return ending


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder by name, without what tells of times."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if not any(path.match(pattern) for pattern in TOLD)]
    names = [CACHE_STATE.sub(r"\1", str(path.relative_to(folder))) for path in files]
    assert len(set(names)) == len(names), "one pixel cache, of the files as they are"
    return {
        name: _undated(path.name, path.read_bytes())
        for name, path in zip(names, files, strict=True)
    }


def _undated(name: str, content: bytes) -> bytes:
    for pattern in TIMES.get(name, ()):
        content, found = re.subn(pattern, b"", content, flags=re.MULTILINE | re.DOTALL)
        assert found, (name, pattern)
    return content


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_goes_on_to_the_same_result(
    name: str, bench: Bench, tmp_path: Path
) -> None:
    command, out, counter = COMMANDS[name], tmp_path / "out", Counter()
    out.mkdir()
    assert finished(command.words(bench, out), tmp_path, watching(out, counter)).code == 0
    undisturbed, changes = contents(out), counter.value
    out.rename(tmp_path / "undisturbed")
    out.mkdir()
    dice = random.Random(name)

    killed = 0
    for _ in range(command.kills):
        last = dice.randint(1, max(1, changes * 2 // 3))
        ending = finished(command.words(bench, out), tmp_path, watching(out, Counter(), last))
        killed += ending.code != 0
    assert killed
    assert finished(command.words(bench, out), tmp_path, watching(out, Counter())).code == 0

    assert contents(out) == undisturbed


COHORT = """
out: out
register: {blocks: 1x2}
patch: {size: 256, layout: bci, max_shift_um: 100, max_filled: 1, min_percentile: 0}
split: {test: 0}
train: {epochs: 1+0, crop: 64, batch: 1, ngf: 4, device: cpu, tensorboard: false}
cases:
  - {id: p1, patient: p1, her2: 0, he: he.png, ihc: ihc.png, mpp_he: 0.4, mpp_ihc: 0.5}
  - {id: p2, patient: p2, her2: 3+, he: he2.png, ihc: ihc2.png, mpp_he: 0.4, mpp_ihc: 0.5}
"""


def _cohort(run: Path, folder: Path) -> Path:
    """Write a manifest of two pairs of slides, which differ in a pixel, with picked landmarks."""
    folder.mkdir()
    picks = run / "landmarks.csv"
    text = COHORT.replace("0.5}", f"0.5, landmarks: {picks}}}")
    for stain in ("he", "ihc"):
        image = np.asarray(Image.open(run.parent / f"{stain}.png").convert("RGB")).copy()
        Image.fromarray(image).save(folder / f"{stain}.png")
        image[0, 0] = 0
        Image.fromarray(image).save(folder / f"{stain}2.png")
    (folder / "cohort.yaml").write_text(text)
    return folder / "cohort.yaml"


def _run_cohort(manifest: Path, files: int | None = None) -> int:
    """Run a cohort; kill it alone once there are so many files: nothing that it started lives on."""
    out = manifest.parent / "out"
    words = python("-m", "pipeline.cli", "run", str(manifest), "--workers", "1")
    with (manifest.parent / "said").open("ab") as said:
        process = subprocess.Popen(
            words, env=environment(), stdout=said, stderr=said, start_new_session=True
        )
    while process.poll() is None:
        if files is not None and entries(out) >= files:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            assert not psutil.wait_procs(family, PATIENCE_S)[1]
        time.sleep(0.05)
    return process.returncode


def entries(folder: Path) -> int:
    """Count what lies below a folder, also while it is worked on."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


@pytest.mark.slow
def test_a_cohort_that_is_killed_goes_on_to_the_same_result(bench: Bench, tmp_path: Path) -> None:
    manifest = _cohort(bench.run, tmp_path / "cohort")
    out = manifest.parent / "out"
    assert _run_cohort(manifest) == 0, (manifest.parent / "said").read_text()
    undisturbed, files = contents(out), entries(out)
    out.rename(tmp_path / "undisturbed")

    for share in (0.15, 0.5, 0.8):
        assert _run_cohort(manifest, round(files * share)) == -signal.SIGKILL
    assert _run_cohort(manifest) == 0, (manifest.parent / "said").read_text()

    found = contents(out)
    assert sorted(found) == sorted(undisturbed)
    assert [name for name in found if found[name] != undisturbed[name]] == []
