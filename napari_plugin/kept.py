"""What all files that keep a person's work have in common: nothing in them or for them is lost."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

Written = TypeVar("Written")
WAIT_S = 0.4
"""So long the window waits for a drive before it goes on."""
LAST_WAIT_S = 4.0
"""So long it waits where it has nothing to go on with, since it is closed."""


class HangsError(OSError):
    """A drive does not answer. What was begun goes on, and may still succeed."""

    def __init__(self) -> None:
        super().__init__("the drive does not answer")


class Patient:
    """Does work on files on a thread, one after the other, and waits for it only so long.

    A network share that hangs must not freeze the window, nor keep the program from ending.
    """

    def __init__(self) -> None:
        self._running: Future[Any] = Future()
        self._running.set_result(None)
        self._is_late = False

    @property
    def is_free(self) -> bool:
        """Whether nothing hangs."""
        return self._running.done()

    def do(self, work: Callable[[], Written], *, last: bool = False) -> Written:
        """Return what ``work`` returns, or raise what it raises; ``last`` has more patience.

        Raises :class:`HangsError` where it takes too long, and at once where the work before has not
        come to its end: then this is not begun.
        """
        self._is_late = True
        wait([self._running], LAST_WAIT_S if last else 0)
        if not self.is_free:
            raise HangsError
        running = self._running = Future[Written]()
        Thread(target=_run, args=(running, work), daemon=True).start()
        wait([running], LAST_WAIT_S if last else WAIT_S)
        if not self.is_free:
            raise HangsError
        self._is_late = False
        return running.result()

    def came_back(self) -> bool:
        """Tell once that a drive answers again which was not waited for: there may be more to do."""
        back = self._is_late and self.is_free
        self._is_late = self._is_late and not back
        return back


def _run(future: Future[Written], work: Callable[[], Written]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # raised where it is waited for
        future.set_exception(error)


def file_hash(path: Path) -> str:
    """Return what tells a file's present content from another; empty where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


def free(path: Path, beside: Callable[[Path], tuple[Path, ...]] = lambda _: ()) -> Path:
    """Return the first of ``path``, and it with a number from 2 on, that is no file yet.

    Nor is any of the files that go ``beside`` it.
    """
    found, number = path, 2
    while any(one.exists() for one in (found, *beside(found))):
        found = path.with_name(f"{path.stem}_{number}{path.suffix}")
        number += 1
    return found


def rescue(write: Callable[[Path], Written]) -> Written | None:
    """Write into the first folder that takes it: the current one, one's own, that of temporary files.

    Returns what ``write`` returned of the folder; ``None`` where none of them takes it.
    """
    for folder in rescue_folders():
        with suppress(OSError):
            return Patient().do(partial(write, folder), last=True)
    return None


def rescue_folders() -> Iterator[Path]:
    """Yield the folders in which what could not be saved is written, and looked for."""
    for folder in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError):  # a current folder that is gone
            yield folder()
