"""What datasets and reports call things: cases, not files or patients, unless somebody asks for it.

Slides are often named by number or name of a patient, and folders by clinics. What is handed on,
reports and datasets, says neither; the run folder keeps both, as slides must be found again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from markupsafe import escape

from registration.settings import Settings, setting

_FILE = re.compile(r"(?<!\w)(?:[A-Za-z]:)?[\\/]\w|\w\.[A-Za-z]\w{1,4}\b")
"""A path from the root, or a name with a suffix."""


class Naming(Settings):
    """Whether what is handed on names files and patients."""

    keep_names: bool = setting(
        False, "Names files and patients in reports and datasets, which name cases otherwise."
    )


def without_names(text: str, words: Mapping[str, str]) -> str:
    """Return a text or a page with words in the place of names, however the page escapes them."""
    for name in sorted(words, key=len, reverse=True):
        begun = name[:1].upper() + name[1:]  # as a sentence begins with it
        for written in dict.fromkeys((name, begun, str(escape(name)), str(escape(begun)))):
            text = text.replace(written, words[name])
    return text


def names_of(path: Path, word: str) -> dict[str, str]:
    """Return what a file or folder may be called in a page, and the word that is to stand there."""
    names = [str(path.resolve()), str(path.absolute())]
    if "." in path.name:  # others may be words of the page
        names += [str(path), path.name]
    return dict.fromkeys(names, word)


def without_files(message: str) -> str:
    """Return a message; of one that names files, what stands before its first colon.

    >>> without_files("failed: /data/Jane Doe/he.svs is cut short")
    'failed'
    """
    return message.partition(":")[0] if _FILE.search(message) else message
