"""Why a file cannot be opened: each cause has its own message and its own remedy."""

from __future__ import annotations

from pathlib import Path

import tifffile

from registration.errors import SlideError
from registration.files.words import nearest_entry
from registration.slides.tiff_walk import MAGIC, directories

PLAIN_MAGIC = (b"\x89PNG", b"\xff\xd8\xff")
DICOM_MAGIC_OFFSET = 128
JPEG_XR = 22610
EXPORT_AGAIN = "Export it again as JPEG-compressed tiles."


def check_file(path: Path) -> None:
    """Raise :class:`SlideError` where ``path`` is missing, a folder, empty, or cut short."""
    if not path.exists():
        raise SlideError(f"slide not found: {path}{_nearest(path)}")
    if path.is_dir():
        raise SlideError(f"{path} is a folder, not a slide; give a file in it.")
    if path.suffix.lower() == ".mrxs" and not path.with_suffix("").is_dir():
        folder = path.with_suffix("")
        raise SlideError(f"{path} is the cover of a slide whose pixels are missing: no {folder}.")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise SlideError(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise SlideError(f"{path} is empty (0 bytes); copy it again from its source.")
    if head in MAGIC and (missing := _bytes_missing(path)):
        raise SlideError(
            f"{path} is cut short: at least {missing:,} bytes are missing at its end. "
            "An interrupted copy does this; copy it again from its source."
        )


def explain(path: Path, reason: str) -> str:
    """Return why an existing, non-empty file cannot be opened; ``reason`` is what its reader said."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:4] in MAGIC:
        return _explain_tiff(path, reason)
    if head[DICOM_MAGIC_OFFSET : DICOM_MAGIC_OFFSET + 4] == b"DICM":
        return (
            f"{path} is DICOM, but not a whole-slide image that OpenSlide reads ({reason}). "
            "Give one file of a complete VL Whole Slide Microscopy series."
        )
    if head.startswith(PLAIN_MAGIC):
        return f"{path} is a PNG or JPEG that is damaged or cut short: {reason}. Copy it again."
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
    first = next(directories(path), None)
    if first is not None and first.compression == JPEG_XR:
        return f"{path} is compressed with JPEG XR, which nothing here decodes. {EXPORT_AGAIN}"
    if first is not None and "compression" in reason.lower():
        name = compression_name(first.compression)
        return f"{path} has an unsupported compression: {name}. {EXPORT_AGAIN}"
    return f"{path} is a damaged TIFF file: {reason}. Copy or export it again."


def _bytes_missing(path: Path) -> int:
    """Return how many bytes of a TIFF lie beyond its end, as far as can be known; 0 if whole."""
    end = max((directory.end for directory in directories(path)), default=0)
    return max(0, end - path.stat().st_size)


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
