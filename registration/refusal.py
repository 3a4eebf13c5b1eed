"""Why a file cannot be opened: each cause has its own message and its own remedy."""

from __future__ import annotations

import difflib
from pathlib import Path

import tifffile

from registration.errors import SlideError

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DICOM_MAGIC_OFFSET = 128
JPEG_XR = 22610
PAGES_CHECKED = 64


def check_file(path: Path) -> None:
    """Raise :class:`SlideError` where ``path`` is missing, a folder, empty, or cut short."""
    if not path.exists():
        raise SlideError(f"slide not found: {path}{_nearest(path)}")
    if path.is_dir():
        raise SlideError(f"{path} is a folder, not a slide; give a file in it.")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise SlideError(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise SlideError(f"{path} is empty (0 bytes); copy it again from its source.")
    if head in TIFF_MAGIC and (missing := _bytes_missing(path)):
        raise SlideError(
            f"{path} is cut short: at least {missing:,} bytes are missing at its end. "
            "An interrupted copy does this; copy it again from its source."
        )


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as TIFF and BigTIFF files do."""
    with path.open("rb") as file:
        return file.read(4) in TIFF_MAGIC


def explain(path: Path, reason: str) -> str:
    """Return why an existing, non-empty file cannot be opened; ``reason`` is what its reader said."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] in TIFF_MAGIC:
        return _explain_tiff(path, reason)
    if head[DICOM_MAGIC_OFFSET : DICOM_MAGIC_OFFSET + 4] == b"DICM":
        return (
            f"{path} is DICOM, but not a whole-slide image that OpenSlide reads ({reason}). "
            "Give one file of a complete VL Whole Slide Microscopy series."
        )
    if _is_text(head):
        return f"{path} is a text file, not an image."
    return (
        f"{path} is not an image in a known format (its first bytes are {head[:4].hex(' ')}). "
        "Known: what OpenSlide reads, OME-TIFF, TIFF, PNG and JPEG."
    )


def compression_name(code: int) -> str:
    """Return a TIFF compression's name, or its number where it has none."""
    try:
        return str(tifffile.COMPRESSION(code).name).replace("_", " ")
    except ValueError:
        return f"method {code}"


def _explain_tiff(path: Path, reason: str) -> str:
    """Tell an unsupported compression from damage."""
    remedy = "Export it again as JPEG-compressed tiles."
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            if page.compression == JPEG_XR:
                return f"{path} is compressed with JPEG XR, which nothing here decodes. {remedy}"
            if "compression" in reason.lower():
                name = compression_name(int(page.compression))
                return f"{path} has an unsupported compression: {name}. {remedy}"
    except (tifffile.TiffFileError, ValueError, KeyError, IndexError):
        pass
    return f"{path} is a damaged TIFF file: {reason}. Copy it again from its source, or {remedy.lower()}"


def _bytes_missing(path: Path) -> int:
    """Return how many bytes the directories and tiles of a TIFF lie beyond its end; 0 if whole."""
    size = path.stat().st_size
    try:
        with tifffile.TiffFile(path) as file:
            first = file.pages.first
            end = first.offset
            for page in file.pages[:PAGES_CHECKED]:
                pairs = zip(page.dataoffsets, page.databytecounts, strict=False)
                end = max(end, max((offset + count for offset, count in pairs if count), default=0))
    except (tifffile.TiffFileError, IndexError, ValueError, KeyError, OSError):
        return _first_directory_missing(path, size)
    return max(0, int(end) - size)


def _first_directory_missing(path: Path, size: int) -> int:
    """Return how far beyond the end of a TIFF its first directory begins."""
    with path.open("rb") as file:
        head = file.read(16)
    order = "little" if head[:2] == b"II" else "big"
    big = 43 in (head[2], head[3])
    offset = head[8:16] if big else head[4:8]
    return max(0, int.from_bytes(offset, order) + 2 - size)  # type: ignore[arg-type]


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
    names = [entry.name for entry in folder.iterdir()]
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(path.name.lower(), lower, n=1, cutoff=0.6)
    return f". Nearest: {folder / lower[close[0]]}" if close else ""
