"""Text and JSON files that people make, in whatever encoding their program saves.

What cannot be read raises the error that the caller names, in one sentence about that file.
"""

from __future__ import annotations

import codecs
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from registration.files.memory import check_memory
from registration.files.words import reason

Refusal = Callable[[str], Exception]
"""The error to raise, made from its message."""

DEEPEST = 100
"""Levels of nested lists and names with values; more is no data that anyone meant."""
CHARACTERS_AT_ONCE = 1 << 22
_STEPS = np.zeros(256, np.int32)
_STEPS[[*b"[{"]], _STEPS[[*b"]}"]] = 1, -1
MEMORY_PER_BYTE = 8
"""Of a text: its bytes, letters and cells at once."""
IS_NO_TABLE = "Is it the right file?"
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0")
"""How gzip, ZIP (Excel's new format too), bzip2, xz, zstd, and Excel's old format begin."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; UTF-32 before UTF-16, whose mark begins like it."""


def read_text(path: Path, refusal: Refusal) -> str:
    """Return the text of a file in UTF-8, UTF-16 or, as Excel saves it, Windows-1252."""
    raw = read_bytes(path, refusal)
    if raw.startswith(PACKED):
        raise refusal(
            f"{path} is compressed, or a workbook: unpack it, or save its sheet as CSV (UTF-8)"
        )
    for encoding in _encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise refusal(f"{path}, line {line}: a NUL character; this is no text file")
        return text
    raise refusal(f"{path} is not text in a known encoding; save it as CSV (UTF-8)")


def read_bytes(path: Path, refusal: Refusal) -> bytes:
    """Return a file's content."""
    with _readable(path, refusal):
        about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        raise refusal(f"{path} is a folder, not a file")
    if stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode):
        raise refusal(f"{path} is a device, not a file")
    check_memory(str(path), MEMORY_PER_BYTE * about.st_size, refusal, IS_NO_TABLE)
    with _readable(path, refusal):
        return _whole(path) if stat.S_ISFIFO(about.st_mode) else path.read_bytes()


@contextmanager
def _readable(path: Path, refusal: Refusal) -> Iterator[None]:
    """Turn what the system says of a file into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise refusal(f"file not found: {path}") from None
    except (OSError, ValueError) as error:
        raise refusal(f"{path} cannot be read: {reason(error)}") from None


def _whole(pipe: Path) -> bytes:
    """Return what comes out of a pipe; nothing where nobody writes, instead of waiting for ever."""
    file = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(file, True)
    with os.fdopen(file, "rb") as opened:
        return opened.read()


def json_record(path: Path) -> dict[str, Any]:
    """Return what a JSON file of ours holds by name; empty where it is missing, foreign or damaged.

    For what is only a note: its loss costs work, never a wrong result.
    """
    try:
        record = read_json(path, ValueError)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def read_json(path: Path, refusal: Refusal) -> Any:
    """Return what a JSON file holds."""
    text = read_text(path, refusal)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise refusal(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except ValueError:
        raise refusal(f"{path} is not usable: it holds a number of thousands of digits") from None
    except RecursionError:
        raise refusal(too_deep(path)) from None
    if _depth(text) > DEEPEST:
        raise refusal(too_deep(path))
    return value


def _encodings(raw: bytes) -> tuple[str, ...]:
    """Return what a file's text may be encoded in, most likely first."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return (encoding,)
    even, odd = raw[:64:2], raw[1:64:2]
    if odd and any(even) != any(odd):
        return ("utf-16-le" if any(even) else "utf-16-be", "utf-8")
    return ("utf-8", "cp1252")


def _depth(text: str) -> int:
    """Return how deep the lists and objects of a JSON text are nested."""
    bare = np.frombuffer(text.replace("\\\\", "").replace('\\"', "").encode(), np.uint8)
    deepest = depth = quotes = 0
    for start in range(0, len(bare), CHARACTERS_AT_ONCE):
        some = bare[start : start + CHARACTERS_AT_ONCE]
        within_string = (quotes + np.cumsum(some == ord('"'), dtype=np.int32)) % 2 == 1
        levels = depth + np.cumsum(np.where(within_string, 0, _STEPS[some]), dtype=np.int32)
        deepest, depth = max(deepest, int(levels.max())), int(levels[-1])
        quotes = int(within_string[-1])
    return deepest


def too_deep(path: Path) -> str:
    """Return what is said of a file that is nested deeper than anybody writes by hand."""
    return f"{path} is not usable: it is nested more than {DEEPEST} levels deep"
