"""Formats of images that nothing here reads, known by their first bytes, so that they are named."""

from __future__ import annotations

SIGNATURES = (
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xffO\xffQ", "a JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"II\xbc\x01", "a JPEG XR"),
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftyphe", "a HEIC"),
    (4, b"ftypmif1", "a HEIC"),
    (0, b"GIF8", "a GIF"),
    (0, b"8BPS", "a Photoshop"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"\x89HDF", "an HDF5 (such as Imaris)"),
    (0, b"\xd0\xcf\x11\xe0", "a Zeiss ZVI, Motic or other compound"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2"),
    (0, b"OLYMPUSRAWFORMAT", "an Olympus OIR"),
    (0, b"SIS\0", "an Olympus ETS"),
    (0, b"p\0\0\0", "a Leica LIF"),
    (0, b"KFB", "a KFBIO"),
    (0, b"<DataObject", "a Philips iSyntax"),
    (0, b"[NanoZoomer", "a Hamamatsu NDPIS"),
    (0, b"ZISRAWFILE", "a Zeiss CZI"),
)
"""Where the bytes stand, what they are, and the format's name."""

JPEG_PROCESSES = {
    0xF7: "a JPEG-LS",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "a hierarchical JPEG"),
    **dict.fromkeys((0xCB, 0xCD, 0xCE, 0xCF), "an arithmetic-coded JPEG"),
}
"""By the marker that begins the frame; what is usual is none of them."""

FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
JPEG_START = b"\xff\xd8\xff"


def foreign_format(head: bytes) -> str | None:
    """Return what kind of file begins with ``head``, with its article; ``None`` if it is none of these."""
    if head.startswith(JPEG_START):
        return JPEG_PROCESSES.get(_jpeg_frame(head))
    found = (name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark)
    return next(found, None)


def _jpeg_frame(head: bytes) -> int:
    """Return the marker that begins the frame of a JPEG; 0 where it lies beyond ``head``."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        if head[at + 1] in FRAMES:
            return head[at + 1]
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0
