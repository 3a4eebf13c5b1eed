"""Work in processes of their own, so that the window never freezes: start, listen, cancel, clean up."""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from registration.children import python, start
from registration.files.commands import mpp_options

GRACE_S = 8.0
"""How long a cancelled process may take to put its things away before it is killed."""
REAP_S = 2.0
DEFAULT_BLOCKS = "4x4"
_PROGRESS = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?(?P<stage>.+): (?P<done>\d+)/(?P<total>\d+)(, .+ left)?$"
)
STAGES = {
    "initial alignment": 0.15,
    "coarse non-rigid pass": 0.1,
    "blocks": 0.45,
    "quality": 0.1,
    "registered slide": 0.2,
}
"""The stages of a registration as it names them, and what share of the time each takes about."""
EARLY = 0.1
"""So far on the way it is too early to tell how long the rest will take."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A line ``stage: done/total`` that a command printed."""

    stage: str
    done: int
    total: int


def read_progress(line: str) -> JobProgress | None:
    """Return the progress that a line tells, or ``None`` for any other line."""
    match = _PROGRESS.match(line.strip())
    return match and JobProgress(match["stage"], int(match["done"]), int(match["total"]))


def way_gone(progress: JobProgress, with_image: bool) -> float:
    """Return how far a registration has come over all its stages, from 0 to 1."""
    shares = {
        name: share for name, share in STAGES.items() if with_image or name != "registered slide"
    }
    gone = 0.0
    for name, share in shares.items():
        if name == progress.stage:
            done = gone + share * progress.done / max(progress.total, 1)
            return done / sum(shares.values())
        gone += share
    return 0.0


def time_left(gone: float, since_s: float) -> str:
    """Say how long the rest will take about, after ``since_s`` seconds for the share ``gone``."""
    if gone < EARLY:
        return ""
    left = since_s * (1 - gone) / gone
    return f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"


class Job:
    """A running command; its standard error is read line by line, its standard output at the end.

    The command leads a process group of its own, so that its workers can be ended with it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self.said: list[str] = []
        """Lines of standard error that were no progress."""
        self._process = start(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            env={"PYTHONUNBUFFERED": "1"},
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._printed: list[str] = []
        self._readers = [
            self._reader(self._process.stderr, self._lines.put),
            self._reader(self._process.stdout, self._printed.append),
        ]
        self._cancelled = False
        self._cancelled_at = 0.0
        self._ended_at: float | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the command has not ended yet, or what it printed is still being read."""
        if self._process.poll() is None:
            return True
        if not any(reader.is_alive() for reader in self._readers):
            return False
        # A worker that outlives the command for a moment keeps its pipes open.
        self._ended_at = self._ended_at or time.monotonic()
        return time.monotonic() - self._ended_at < REAP_S

    @property
    def was_cancelled(self) -> bool:
        """Whether :meth:`cancel` or :meth:`close` ended it."""
        return self._cancelled

    @property
    def is_deaf(self) -> bool:
        """Whether it was asked to stop longer than :data:`GRACE_S` ago and still runs."""
        late = time.monotonic() - self._cancelled_at > GRACE_S
        return self._cancelled and late and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code; ``None`` while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """What an ended command wrote to its standard output."""
        return "".join(self._printed)

    def news(self) -> list[JobProgress]:
        """Return the progress since the last call; other lines go to :attr:`said`. Never waits."""
        found = []
        while not self._lines.empty():
            line = self._lines.get()
            progress = read_progress(line)
            if progress is not None:
                found.append(progress)
            elif line.strip():
                self.said.append(line.rstrip())
        return found

    def cancel(self) -> None:
        """Ask the command to stop, as one Ctrl+C does; :meth:`close` makes sure that it did.

        Asked again, it does nothing: a second Ctrl+C would interrupt the putting away.
        """
        if self._process.poll() is None and not self._cancelled:
            self._cancelled = True
            self._cancelled_at = time.monotonic()
            if os.name == "posix":
                self._process.send_signal(signal.SIGINT)
            else:
                self._process.terminate()

    def close(self, grace_s: float = GRACE_S) -> None:
        """End the command and whatever it started; returns when nothing of it is left.

        It has ``grace_s`` seconds to stop by itself. Does not wait for a command that
        :attr:`is_running` calls ended.
        """
        if self._process.poll() is not None and not self.is_running:
            return
        family = _family(self._process.pid)
        self.cancel()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # orphans are still of its group
        psutil.wait_procs(family, REAP_S)
        self._process.wait(REAP_S)
        for reader in self._readers:
            reader.join(REAP_S)

    def _reader(self, stream: IO[str] | None, take: object) -> threading.Thread:
        """Read a stream to its end on a thread, so that the command never waits for us."""

        def read() -> None:
            assert stream is not None
            with stream:
                for line in stream:
                    take(line)  # type: ignore[operator]
            if stream is self._process.stderr and self._process.stdin is not None:
                self._process.stdin.close()  # it was there to tell the command that we live

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants that still run."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A registration to start from the window."""

    he: Path
    ihc: Path
    landmarks: Path | None
    out: Path
    recipe: str = "default"
    blocks: str = DEFAULT_BLOCKS
    image: bool = True
    mpp_he: float | None = None
    mpp_ihc: float | None = None
    overwrite: bool = False
    pieces: str | None = None
    """What a person drew: files of outlines."""

    @property
    def arguments(self) -> list[str]:
        """The words after ``bci-pipeline``; they mean the same in any folder."""
        he, ihc, out = (str(path.absolute()) for path in (self.he, self.ihc, self.out))
        words = ["register", he, ihc, "--out", out]
        if self.landmarks is not None:
            words += ["--landmarks", str(self.landmarks.absolute())]
        if self.pieces is not None:
            words += ["--pieces", self.pieces]
        if self.recipe != "default":
            words += ["--recipe", self.recipe]
        if self.blocks != DEFAULT_BLOCKS:
            words += ["--blocks", self.blocks]
        words += mpp_options(self.mpp_he, self.mpp_ihc)
        if not self.image:
            words.append("--no-image")
        if self.overwrite:
            words.append("--overwrite")
        return words

    @property
    def shown(self) -> str:
        """The command line that does the same in a terminal."""
        return shlex.join(["bci-pipeline", *self.arguments])

    @property
    def command(self) -> list[str]:
        """The same for this Python, wherever its scripts are."""
        return python("-m", "pipeline.cli", *self.arguments)


def suggestion_command(
    he: Path, ihc: Path, mpp_he: float | None, mpp_ihc: float | None
) -> list[str]:
    """Return the command that prints suggested pairs."""
    words = (str(he), str(ihc), *mpp_options(mpp_he, mpp_ihc))
    return python("-m", "napari_plugin.picker.proposals", *words)
