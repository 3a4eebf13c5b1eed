"""A command, watched from outside: wall time and the peak memory of its whole process tree."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.25
PROGRAM = "from pipeline.cli.app import main; main()"


def watched(words: Sequence[str], log: Path, accepted: Sequence[int] = (0,)) -> tuple[float, float]:
    """Run ``bci-pipeline`` with ``words``; return wall seconds and the peak PSS of its tree in MiB.

    The proportional set size counts pages that processes share once. What the command says goes to
    ``log``. Ends the benchmark where the exit code is none of those ``accepted``.
    """
    seconds, peak = watched_processes(words, log, accepted)
    return seconds, peak.tree_mib


@dataclass
class Peaks:
    """Largest proportional set sizes, MiB."""

    tree_mib: float = 0.0
    parent_mib: float = 0.0
    child_mib: float = 0.0

    def see(self, parent: float, children: Sequence[float]) -> None:
        """Take in one moment."""
        self.tree_mib = max(self.tree_mib, parent + sum(children))
        self.parent_mib = max(self.parent_mib, parent)
        self.child_mib = max(self.child_mib, *children, 0.0)


def watched_processes(
    words: Sequence[str], log: Path, accepted: Sequence[int] = (0,)
) -> tuple[float, Peaks]:
    """As :func:`watched`, with the peaks of the parent and of the largest child beside the tree's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with (
        log.open("w", encoding="utf-8") as said,
        subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=said, stderr=said) as run,
    ):
        root, peaks = psutil.Process(run.pid), Peaks()
        while run.poll() is None:
            parent, *children = _tree_pss(root)
            peaks.see(parent, children)
            time.sleep(SAMPLE_SECONDS)
    if run.returncode not in accepted:
        raise SystemExit(f"bci-pipeline {' '.join(words)} ended with {run.returncode}; see {log}")
    return time.perf_counter() - begun, peaks


def _tree_pss(root: psutil.Process) -> list[float]:
    """Return the MiB of a process and of all its descendants."""
    try:
        tree = [root, *root.children(recursive=True)]
        return [process.memory_full_info().pss / 2**20 for process in tree]
    except psutil.Error:
        return [0.0]  # a process ended between being listed and being asked
