"""Processes of this program: how they are started, and that none outlives the one that started it.

A child is this Python without the current folder on its path (``-P``), so that a file of the user's
called ``training.py`` is never taken for ours. Its standard input is a pipe that its parent holds:
when it closes the parent is gone, however it went.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

if sys.platform != "win32":
    import resource

PARENT = "BCI_PIPELINE_PARENT"
"""Number of the process that a child must not outlive."""

INTERRUPTED = 130
PR_SET_PDEATHSIG = 1


def python(*words: str) -> list[str]:
    """Return the command line that runs this Python, which finds this program and nothing foreign."""
    return [sys.executable, "-P", *words]


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a child: where a checkout is run, it is found before anything else."""
    return {**os.environ, **_search_path(), "PYTHONSAFEPATH": "1", **changes}


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start what :func:`python` returned; a child that calls :func:`end_with_parent` ends with us.

    ``options`` are those of :class:`subprocess.Popen`; ``env`` holds what is to differ from ours.
    """
    changed = {**options.pop("env", {}), PARENT: str(os.getpid())}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment(**changed), **options)


def files_may_be_open(more: int) -> bool:
    """Return whether this process may open so many more files; its own limit is raised for them."""
    if sys.platform == "win32":
        return True
    needed = psutil.Process().num_fds() + more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return True
    if hard != resource.RLIM_INFINITY and needed > hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return True


def end_with_parent() -> None:
    """In a child: end as soon as the parent is gone. Elsewhere nothing happens."""
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return
    _follow(int(parent), _end_of_input)


def end_with_spawner() -> None:
    """In a child of :mod:`multiprocessing`: end as soon as the parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    _follow(parent.pid or 0, parent.join)


def listen_to_interrupts() -> None:
    """Let SIGINT interrupt, even where our parent was started to ignore it, as ``&`` does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt_on_termination() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, unless our parent wants them ignored."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def ignore_interrupts() -> None:
    """Let no signal disturb what is left to do, where that is short and its result is out."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def spawning() -> Iterator[multiprocessing.context.SpawnContext]:
    """Give a context to start processes of :mod:`multiprocessing` in, while the block runs.

    They do not import the user's script again, which needs no ``if __name__ == "__main__"``, nor
    anything from the current folder.
    """
    main = sys.modules["__main__"]
    plain = types.ModuleType("__main__")
    plain.__dict__.update(
        {k: v for k, v in vars(main).items() if k not in ("__file__", "__spec__")}
    )
    safe = os.environ.get("PYTHONSAFEPATH")
    sys.modules["__main__"] = plain
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield multiprocessing.get_context("spawn")
    finally:
        sys.modules["__main__"] = main
        os.environ.pop("PYTHONSAFEPATH")
        if safe is not None:
            os.environ["PYTHONSAFEPATH"] = safe


def _search_path() -> dict[str, str]:
    """Return ``PYTHONPATH`` with the folder of our packages, unless they are installed."""
    home = str(Path(__file__).resolve().parents[1])
    if home in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))}


def _follow(parent: int, its_end: Callable[[], None]) -> None:
    """End when the parent does, which ``its_end`` waits for."""

    def wait() -> None:
        its_end()
        os._exit(INTERRUPTED)

    threading.Thread(target=wait, daemon=True).start()
    if sys.platform == "linux":
        # A thread cannot act while elastix holds Python's lock; the kernel can.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(INTERRUPTED)


def _end_of_input() -> None:
    while os.read(0, 1024):
        pass
