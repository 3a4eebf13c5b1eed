"""This program, called again for one case: its words are passed on and kept, its end explained."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from registration.children import INTERRUPTED, python, start


class Running:
    """The children that are at work, to be interrupted together."""

    def __init__(self) -> None:
        self._children: set[subprocess.Popen[str]] = set()

    @contextmanager
    def counted(self, child: subprocess.Popen[str]) -> Iterator[None]:
        """Count a child among them while the block runs."""
        self._children.add(child)
        try:
            yield
        finally:
            self._children.discard(child)

    def interrupt(self) -> None:
        """Let all of them stop as Ctrl-C does."""
        for child in tuple(self._children):
            child.send_signal(signal.SIGINT)


def call(
    words: Sequence[str], log: Path, say: Callable[[str], None], running: Running | None = None
) -> int:
    """Run ``bci-pipeline`` with the given words; return its exit code, negative for a signal.

    What it says goes to ``log`` and, line by line, to ``say``. Raises :class:`KeyboardInterrupt`
    where the child was interrupted.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as kept,
        start(
            python("-m", "pipeline.cli", *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as child,
        (running or Running()).counted(child),
    ):
        assert child.stdout is not None
        for line in child.stdout:
            kept.write(line)
            kept.flush()
            say(f"  {line.rstrip()}")
        code = child.wait()
    if code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    return code


def describe(code: int, log: Path) -> str:
    """Return why a child ended with ``code``, with the last thing it said."""
    lines = [
        line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()
    ]
    last = f"; its last words: {lines[-1]}" if lines else ""
    if code >= 0:
        return f"ended with exit code {code}{last} (see {log})"
    name = signal.Signals(-code).name
    hint = ", most likely for want of memory" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}{last} (see {log})"
