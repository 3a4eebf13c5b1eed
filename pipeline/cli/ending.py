"""How every command ends: with a result, or with one message and an exit code that say why not."""

from __future__ import annotations

import errno
import io
import platform
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from pipeline.extras import TRAINING, missing
from registration.children import INTERRUPTED, interrupt_on_termination
from registration.errors import BciError, StartError
from registration.files.versions import version_of
from training.errors import DivergedError

FAILED_CHECK = 1
BAD_INPUT = 2
OWN_FAULT = 70

MOST_LINES = 10
LONGEST_LINE = 1000
TRAIN, TRAIN_OUT, TRAIN_CONFIG = "train", "runs/train", "config.json"
"""The command whose finished steps are taken up with --resume only, once its folder holds a run."""

SHORT = ("doctor", "warp-points", "dataset", "manifest", "status", "export", "study")
"""Commands that keep nothing of what they have not finished; nor does `evaluate`, but for slides."""
PACKAGES = (
    "bci-pipeline",
    "numpy",
    "scipy",
    "tifffile",
    "openslide-python",
    "itk-elastix",
    "torch",
)


def ended(command: Callable[[], object], arguments: list[str]) -> int:
    """Run ``command`` and return its exit code; whatever it raises ends as one message.

    0 done, 1 ran but failed its check, 2 bad input, 70 a fault of this program, 130 interrupted.
    SIGTERM, as batch systems send it, counts as Ctrl-C; so does a terminal that is closed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files need not be UTF-8, and a console need not know every letter.
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        interrupt_on_termination()
    try:
        command()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == INTERRUPTED:
            _say("interrupted:", _how_to_go_on(arguments), "yellow")
        return code
    except KeyboardInterrupt:
        _say("interrupted:", _how_to_go_on(arguments), "yellow")
        return INTERRUPTED
    except Exception as error:  # the net below every command: what is not ours must end in words
        code, title, message = _judged(error)
        _say(title, message)
        return code
    return 0


def _judged(error: Exception) -> tuple[int, str, str]:
    """Return the exit code, the title and the message of an error."""
    if isinstance(error, StartError):
        return FAILED_CHECK, "not registered:", str(error)
    if isinstance(error, DivergedError):
        return FAILED_CHECK, "stopped:", str(error)
    if isinstance(error, BciError):
        return BAD_INPUT, "error:", str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in TRAINING:
        return BAD_INPUT, "error:", str(missing(error.name))
    if isinstance(error, OSError) and error.strerror:
        return BAD_INPUT, "error:", _of_the_system(error)
    if isinstance(error, MemoryError):
        return BAD_INPUT, "error:", "this machine has too little memory for that"
    return OWN_FAULT, "error:", f"this is a fault of bci-pipeline. Please report it with {_log()}"


def _of_the_system(error: OSError) -> str:
    """Return which file the system refused, why, and what to do."""
    which = error.filename2 or error.filename
    name = "a file" if which is None else str(which)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {name} was not written. Free some space and repeat the command."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            "too many open files for this machine: raise the limit (ulimit -n 1024), or --workers 1"
        )
    return f"{name}: {(error.strerror or 'unusable').lower()}"


def _how_to_go_on(arguments: list[str]) -> str:
    """Return what to type to go on."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command == TRAIN and "--resume" not in arguments:
        if (Path(_given(arguments, "--out") or TRAIN_OUT) / TRAIN_CONFIG).exists():
            return "the same command with --resume goes on from the last checkpoint"
        return "training had not begun; the same command starts it"
    if command in SHORT or (command == "evaluate" and "--slide" not in arguments):
        return "the same command starts anew"
    return "the same command goes on where it stopped"


def _given(arguments: list[str], option: str) -> str | None:
    """Return what an option was given."""
    for argument, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == option:
            return value
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
    return None


def _log() -> str:
    """Write the error at hand and the versions to a file; return what to say of it."""
    text = f"{platform.platform()}, Python {platform.python_version()}\n"
    for package in PACKAGES:
        if found := version_of(package, ""):
            text += f"{package} {found}\n"
    text += f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="bci-pipeline-fault-",
            suffix=".log",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(text)
    except OSError:
        return f"what follows (no log could be written):\n{text[-LONGEST_LINE:]}"
    return f"the log: {Path(file.name)}"


def _say(title: str, message: str, colour: str = "red") -> None:
    """Print a message of at most ten lines on stderr."""
    lines = [
        line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."
        for line in message.splitlines()
    ]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"... and {len(lines) - MOST_LINES + 1} more lines"]
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    errors.print(title, style=f"bold {colour}", end=" ")
    errors.print("\n".join(lines))
