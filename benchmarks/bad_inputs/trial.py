"""One command on a bad input, in a child process, and what is wrong with how it ended."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.bad_inputs.families import Attack
from pipeline.cli.app import app
from pipeline.cli.ending import MOST_LINES, ended

LIMIT_S = 60.0
LIMIT_BYTES = 2 * 2**30
ADDRESS_SPACE = 12 * 2**30
"""Of a child: what asks for more is refused by the system, which must end in words as well."""
MOST_LETTERS = 12_000
LETTERS_OF_NAME = 40
LINES_OF_LOG = 7
POLL_S = 0.02
OWN = ("out", "study", "runs")
"""What the names of outputs begin with."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended."""

    code: int
    said: str
    """On stderr, with the end of the log of a fault of our own."""
    printed: str
    seconds: float
    peak_bytes: int
    """Of memory, beyond what the parent held of its own when it began: a child starts with that."""


MODULES = (
    *("dataset", "evaluate", "patch", "register", "run", "status", "study", "synth", "train"),
    *("translate", "warp_points", "ablate"),
)
USED = (
    *("training.run.loop", "training.evaluation.run", "training.study.report"),
    *("training.inference.checkpoints", "pipeline.stages.translate", "registration.register"),
    *("pipeline.dataset.external", "pipeline.cohort.run", "pipeline.cli.train_progress"),
)
"""What the commands load only when they run."""


def load_commands() -> None:
    """Load every command once, so that the children need not."""
    for name in (*(f"pipeline.cli.{module}" for module in MODULES), *USED):
        importlib.import_module(name)
    gc.freeze()


def nothing() -> None:
    """Do nothing."""


def tried(
    words: Sequence[object],
    folder: Path,
    limit_s: float = LIMIT_S,
    before: Callable[[], None] = nothing,
) -> Ending:
    """Run a command in a child process, its working folder and what it says in ``folder``.

    ``before`` is called in the child first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began, memory = time.monotonic(), psutil.Process().memory_info()
    held = memory.rss - memory.shared  # a child maps files anew
    child = os.fork()
    if child == 0:
        _run([str(word) for word in words], folder, before)
    status, usage = _waited(child, began + limit_s)
    said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    for log in folder.glob("bci-pipeline-fault-*"):
        said += "\n".join(log.read_text().splitlines()[-LINES_OF_LOG:])
    seconds = time.monotonic() - began
    printed = (folder / "stdout").read_text(encoding="utf-8", errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Ending(code, said, printed, seconds, usage.ru_maxrss * 1024 - held)


def _run(words: list[str], folder: Path, before: Callable[[], None]) -> None:
    """Be the child: never returns."""
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    code = 99
    try:
        before()
        code = ended(lambda: app(words), words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _waited(child: int, end: float) -> tuple[int, resource.struct_rusage]:
    """Wait for a child and what it started; kill them when their time is over."""
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return status, usage
        time.sleep(POLL_S)


def faults(attack: Attack, here: Path, canary: Path, limit_s: float = LIMIT_S) -> Iterator[str]:
    """Run an attack that lies in ``here``; yield what is wrong with how it ended."""
    before = _listed(here)
    ending = tried(attack.arguments, here.with_name(f"{here.name}.said"), limit_s)
    said = ending.said
    if ending.code not in (0, 1, 2):
        yield f"exit code {ending.code}: {said[-600:]}"
    if "Traceback" in said or len(said.splitlines()) > MOST_LINES or len(said) > MOST_LETTERS:
        yield f"says too much: {said[:600]}"
    names = [name[:LETTERS_OF_NAME] for name in (attack.bad.name, attack.bad.parent.name)]
    if ending.code in (1, 2) and not any(name in said + ending.printed for name in names):
        yield f"does not name {names[0]}: {said[:600]}"
    if ending.seconds > limit_s:
        yield f"took {ending.seconds:.0f} s"
    if ending.peak_bytes > LIMIT_BYTES:
        yield f"took {ending.peak_bytes / 2**30:.1f} GiB"
    after = _listed(here)
    own = {path for path in after if path.split("/")[0].lstrip(".").startswith(OWN)}
    given = tuple(f"{name}/" for name in attack.may_change)
    changed = {path for path in after | before if after.get(path) != before.get(path)} - own
    if strange := sorted(path for path in changed if not f"{path}/".startswith(given)):
        yield f"wrote {strange}"
    if canary.exists():
        canary.unlink()
        yield "ran code"


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Return sizes and times of all files below a folder, folders excepted."""
    found = {}
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            about = path.lstat()
            found[str(path.relative_to(folder))] = (about.st_size, about.st_mtime_ns)
    return found
