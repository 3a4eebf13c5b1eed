"""Commands that a person can paste: quoted, and found whether or not the environment is active."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

PROGRAM = "bci-pipeline"


def typed(*words: object) -> str:
    """Return ``bci-pipeline`` with ``words`` as it is to be typed in this shell.

    >>> typed("pick", Path("a slide.ndpi")).split("bci-pipeline ")[1]
    "pick 'a slide.ndpi'"
    """
    return shlex.join([*_program(), *map(str, words)])


def mpp_options(he: float | None, ihc: float | None) -> list[str]:
    """Return the options that say µm per pixel, of the slides where it is to be said.

    >>> mpp_options(None, 0.25)
    ['--mpp-ihc', '0.25']
    """
    given = (("--mpp-he", he), ("--mpp-ihc", ihc))
    return [word for name, mpp in given if mpp is not None for word in (name, f"{mpp:.12g}")]


def _program() -> list[str]:
    """Return how this installation's program is called from here."""
    own = Path(sys.executable).with_name(PROGRAM)
    found = shutil.which(PROGRAM)
    if found is not None and own.exists() and Path(found).samefile(own):
        return [PROGRAM]
    if not own.exists():
        return [PROGRAM] if found is not None else [sys.executable, "-m", "pipeline.cli"]
    return [min(str(own), os.path.relpath(own), key=len)]
