"""Why a file cannot be opened: each cause has its own message and its own remedy."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

from registration.errors import SlideError
from registration.files.foreign import foreign_format
from registration.files.tiff_reach import MAGIC, bytes_missing
from registration.files.words import nearest_entry, reason

# A damaged file is refused in one sentence, which thousands of lines on stderr would hide. Programs
# that set up logging still get them.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

ARCHIVES = {
    b"PK\x03\x04": "a ZIP archive (or a document of Word, Excel or PowerPoint)",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
}
"""By the first bytes of a file."""
APPLE_DOUBLE = b"\x00\x05\x16\x07"
KINDS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"RIFF": "WebP"}
"""By the first bytes of a file."""
HEAD_BYTES = 2**18
"""A JPEG says how it is coded behind the profile and the thumbnail of its header."""
DICOM_MAGIC_OFFSET = 128
OLD_JPEG, JPEG_XR = 6, 22610
EXPORT_OTHERWISE = "Export it as a tiled TIFF or OME-TIFF, as QuPath does, or a small one as PNG."
EXPORT_AGAIN = "Export it again as JPEG-compressed tiles."
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tifffile.TiffFileError,
)
"""What Pillow, tifffile and their codecs raise over bytes that make no sense."""


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what a reader raises over a damaged file into a :class:`SlideError` that says why."""
    try:
        yield
    except SlideError:
        raise
    except MemoryError as error:
        raise SlideError(f"{path} asks for more memory than there is.") from error
    except DAMAGE as error:
        raise SlideError(explain(path, one_line(error))) from error


def one_line(error: BaseException) -> str:
    """Return a reader's message, short enough for one sentence; its kind where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def check_file(path: Path, noun: str = "slide") -> None:
    """Raise :class:`SlideError` where ``path`` is missing, a folder, empty, or cut short."""
    _check_name(path)
    try:
        if not path.exists():
            if path.is_symlink():
                raise SlideError(f"{noun} not found: {path} is a link to {path.readlink()}")
            raise SlideError(f"{noun} not found: {path}{_nearest(path)}")
        if not path.is_file() and not path.is_dir():
            raise SlideError(f"{path} is a pipe or a device, not a {noun}.")
        head = b"" if path.is_dir() else _head(path)
    except OSError as error:
        if isinstance(error, SlideError):
            raise
        raise SlideError(f"{path} cannot be read: {reason(error)}.") from error
    if path.is_dir():
        raise SlideError(f"{path} is a folder, not a {noun}; give a file in it.")
    if path.suffix.lower() == ".mrxs" and not path.with_suffix("").is_dir():
        folder = path.with_suffix("")
        raise SlideError(f"{path} is the cover of a slide whose pixels are missing: no {folder}.")
    if path.suffix.lower() == ".vsi":
        raise SlideError(
            f"{path} is the cover of an Olympus slide, whose pixels lie in .ets files that are not "
            f"read here. {EXPORT_OTHERWISE}"
        )
    if not head:
        raise SlideError(f"{path} is empty (0 bytes); copy it again from its source.")
    with refusing(path):
        missing = bytes_missing(path) if head in MAGIC else 0
    if missing:
        raise SlideError(
            f"{path} is cut short: at least {missing:,} bytes are missing at its end. "
            "An interrupted copy does this; copy it again from its source."
        )


def _head(path: Path, count: int = 4) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def explain(path: Path, reason: str = "") -> str:
    """Return why an existing, non-empty file cannot be opened; ``reason`` is what its reader said."""
    said = f" ({reason})" if reason else ""
    head = _head(path, HEAD_BYTES)
    if head[:4] in MAGIC:
        return _explain_tiff(path, reason)
    if head[DICOM_MAGIC_OFFSET : DICOM_MAGIC_OFFSET + 4] == b"DICM":
        return (
            f"{path} is DICOM, but not a whole-slide image that OpenSlide reads{said}. "
            "Give one file of a complete VL Whole Slide Microscopy series."
        )
    if foreign := foreign_format(head):
        return f"{path} is {foreign} file, which is not read here{said}. {EXPORT_OTHERWISE}"
    if archive := next((ARCHIVES[mark] for mark in ARCHIVES if head.startswith(mark)), None):
        return f"{path} is {archive}, not an image. Unpack or open it, and give the image in it."
    if head.startswith(APPLE_DOUBLE):
        return (
            f"{path} is what macOS keeps beside a file; give {path.name.removeprefix('._')} itself."
        )
    kind = next((KINDS[magic] for magic in KINDS if head.startswith(magic)), None)
    if kind is not None and "cannot handle" in reason:
        return f"{path} is a {kind} file of an unsupported kind: {reason}. Export it as 8-bit RGB."
    if kind is not None:
        return f"{path} is a {kind} file, damaged or cut short: {reason}. Copy it again."
    if _is_text(head[:4096]):
        return f"{path} is a text file, not an image."
    return (
        f"{path} is not an image in a known format (its first bytes are {head[:4].hex(' ')}). "
        "Known: what OpenSlide reads, OME-TIFF, TIFF, PNG, JPEG, BMP and WebP."
    )


def compression_name(code: int) -> str:
    """Return a TIFF compression's name, or its number where it has none."""
    if code == OLD_JPEG:
        return "old-style JPEG"
    try:
        return str(tifffile.COMPRESSION(code).name).replace("_", " ")
    except ValueError:
        return f"method {code}"


def _explain_tiff(path: Path, reason: str) -> str:
    """Tell an unsupported compression from damage."""
    compression = _first_compression(path)
    if compression == JPEG_XR:
        return f"{path} is compressed with JPEG XR, which nothing here decodes. {EXPORT_AGAIN}"
    if compression is not None and ("compression" in reason.lower() or compression == OLD_JPEG):
        name = compression_name(compression)
        return f"{path} has an unsupported compression: {name}. {EXPORT_AGAIN}"
    return f"{path} is a damaged TIFF file: {reason}. Copy or export it again."


def _first_compression(path: Path) -> int | None:
    """Return the compression of a TIFF's first image, if that can be read."""
    try:
        with tifffile.TiffFile(path) as file:
            return int(file.pages.first.compression)
    except DAMAGE:
        return None


def _check_name(path: Path) -> None:
    """Refuse a name that cannot be written into a table or a page."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise SlideError(f"{shown}: its name is not UTF-8 text; rename it.") from error


def _is_text(head: bytes) -> bool:
    """Return whether bytes are printable text."""
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head) and not any(
        byte >= 127 for byte in head
    )


def _nearest(path: Path) -> str:
    """Suggest an existing name that resembles a missing one."""
    folder = path.parent
    if not folder.is_dir():
        return f" (there is no folder {folder})"
    near = nearest_entry(path)
    return f". Nearest: {near}" if near else ""
