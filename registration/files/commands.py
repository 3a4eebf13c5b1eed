"""Commands that a person can paste: quoted, and found whether or not the environment is active."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from importlib.metadata import requires
from pathlib import Path

PROGRAM = "bci-pipeline"
CHECKOUT = Path(__file__).parents[2]
"""Where the program's source lies; only in a checkout do the tested versions lie beside it."""


def typed(*words: object) -> str:
    """Return ``bci-pipeline`` with ``words`` as it is to be typed in this shell.

    >>> typed("pick", Path("a slide.ndpi")).split("bci-pipeline ")[1]
    "pick 'a slide.ndpi'"
    """
    return shlex.join([*_program(), *map(str, words)])


def pip(*words: str) -> str:
    """Return a command of the pip of this program's own environment."""
    return shlex.join([*_called("pip", "pip"), *words])


def install_extra(extra: str = "") -> str:
    """Return the command that installs an extra of this program, or all that it needs without one.

    The program is on no package index: in a checkout it is installed from there, with the versions
    that are tested, and elsewhere the packages are named one by one.
    """
    if (CHECKOUT / "constraints.txt").is_file():
        home = _shorter(CHECKOUT)
        of_extra = f"{home}[{extra}]" if extra else str(home)
        return pip("install", "-c", str(home / "constraints.txt"), "-e", of_extra)
    return pip("install", *_packages(extra))


def _packages(extra: str) -> list[str]:
    """Return the requirements of an extra, those of the program itself where it is empty."""
    marked = [
        (text, re.search(r"""extra == ['"](.+?)['"]""", text)) for text in requires(PROGRAM) or ()
    ]
    return [
        text.partition(";")[0].strip()
        for text, mark in marked
        if (mark[1] if mark else "") == extra
    ]


def mpp_options(he: float | None, ihc: float | None) -> list[str]:
    """Return the options that say µm per pixel, of the slides where it is to be said.

    >>> mpp_options(None, 0.25)
    ['--mpp-ihc', '0.25']
    """
    given = (("--mpp-he", he), ("--mpp-ihc", ihc))
    return [word for name, mpp in given if mpp is not None for word in (name, f"{mpp:.12g}")]


def _program() -> list[str]:
    """Return how this installation's program is called from here."""
    return _called(PROGRAM, "pipeline.cli")


def _called(name: str, module: str) -> list[str]:
    """Return how a program that lies beside this Python, or else its module, is called from here."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found is not None and own.exists() and Path(found).samefile(own):
        return [name]
    if own.exists():
        return [str(_shorter(own))]
    return [name] if found is not None and name == PROGRAM else [sys.executable, "-m", module]


def _shorter(path: Path) -> Path:
    """Return a path as it is, or relative to here, whichever is shorter."""
    return Path(min(str(path), os.path.relpath(path), key=len))
