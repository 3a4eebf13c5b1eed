"""A command, watched from outside: wall time and the peak memory of its whole process tree."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.25
PROGRAM = "from pipeline.cli.app import main; main()"


def watched(words: Sequence[str], log: Path, accepted: Sequence[int] = (0,)) -> tuple[float, float]:
    """Run ``bci-pipeline`` with ``words``; return wall seconds and the peak PSS of its tree in MiB.

    The proportional set size counts pages that processes share once. What the command says goes to
    ``log``. Ends the benchmark where the exit code is none of those ``accepted``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with (
        log.open("w", encoding="utf-8") as said,
        subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=said, stderr=said) as run,
    ):
        root, peak = psutil.Process(run.pid), 0
        while run.poll() is None:
            peak = max(peak, _tree_pss(root))
            time.sleep(SAMPLE_SECONDS)
    if run.returncode not in accepted:
        raise SystemExit(f"bci-pipeline {' '.join(words)} ended with {run.returncode}; see {log}")
    return time.perf_counter() - begun, peak / 2**20


def _tree_pss(root: psutil.Process) -> int:
    try:
        tree = [root, *root.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in tree)
    except psutil.Error:
        return 0  # a process ended between being listed and being asked
