"""One process at a time works on a result: a second one is refused before it does any harm."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import ParamSpec, TypeVar

from registration.errors import InUseError

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def one_at_a_time(
    result_of: Callable[..., Path | None],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Let a function run in one process at a time for each result, which ``result_of`` names.

    The function then raises :class:`InUseError` where another process is at work; ``None`` stands
    for a call that need not be alone.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def called(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            result = result_of(*args, **kwargs)
            if result is None:
                return function(*args, **kwargs)
            with alone_with(result):
                return function(*args, **kwargs)

        return called

    return decorate


@contextmanager
def alone_with(result: Path) -> Iterator[None]:
    """Keep a file or folder to this process while the block runs; killed processes hold nothing.

    Raises :class:`InUseError` where another process has it.
    """
    try:
        result = result.resolve()
    except (OSError, RuntimeError, ValueError):  # no name of a file: who writes there will say so
        yield
        return
    made = [folder for folder in result.parents if not folder.exists()]
    try:
        with _locked(result):
            yield
    finally:
        for folder in made:
            with suppress(OSError):  # something was written there
                folder.rmdir()


@contextmanager
def _locked(result: Path) -> Iterator[None]:
    """Hold the lock of a result, and remove its file afterwards."""
    path, file = _opened(result)
    try:
        try:
            _lock(file)
        except BlockingIOError as error:
            raise InUseError(
                f"another process is at work on {result}: wait for its end, or name another place"
            ) from error
        except OSError:  # a file system that knows no locks
            yield
            return
        if not _is_still(path, file):
            # Whoever held it has removed it meanwhile: a third process may lock a new one.
            with _locked(result):
                yield
            return
        try:
            yield
        finally:
            with suppress(OSError):  # on Windows an open file stays
                path.unlink()
    finally:
        os.close(file)


def _is_still(path: Path, file: int) -> bool:
    """Return whether an open file is the one that lies under this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False


def _opened(result: Path) -> tuple[Path, int]:
    """Open the lock beside the result; where nothing may be written there, among temporary files."""
    beside = result.parent / f".{result.name}.lock"
    try:
        result.parent.mkdir(parents=True, exist_ok=True)
        return beside, os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        name = f"bci-pipeline-{sha256(os.fsencode(result)).hexdigest()[:16]}.lock"
        there = Path(tempfile.gettempdir()) / name
        return there, os.open(there, os.O_RDWR | os.O_CREAT, 0o666)
