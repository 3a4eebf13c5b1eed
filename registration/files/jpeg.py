"""Damage in the middle of JPEG data, which decoders fill with plausible pixels.

JPEG has no checksum, but its codes have to come out even: libjpeg notices where they do not, goes on and
warns. Pillow, OpenCV and imagecodecs do not pass that on; ``simplejpeg`` does. Of 64 damaged bytes in a
row in a patch of 512 px two of five go unnoticed, of 4,096 one in thirty, of a single bit three of four:
their codes happen to come out even again.
"""

from __future__ import annotations

import re

try:
    import simplejpeg
except ImportError:  # a machine that only trains may lack it
    simplejpeg = None

NOTICED = re.compile(r"Corrupt JPEG data|Premature end")
PADDED = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
MOST_PADDING = 16
"""Some cameras end an image with a few bytes too many, which mean nothing; damage leaves hundreds."""


def damage_in(data: bytes) -> str | None:
    """Return what is wrong with the coded pixels of a JPEG; ``None`` for nothing that is noticed.

    Without ``simplejpeg`` nothing is. What else may be wrong with the file is for the reader to say.
    """
    if simplejpeg is None:
        return None
    try:
        simplejpeg.decode_jpeg(data, strict=True)
    except ValueError as error:
        said = str(error)
        padding = PADDED.match(said)
        is_harmless = padding is not None and int(padding[1]) <= MOST_PADDING
        return said if NOTICED.match(said) and not is_harmless else None
    return None
