"""One page of a TIFF: whether it can be read rightly, and what its samples mean."""

from __future__ import annotations

import numpy as np
import tifffile

from registration.files.ome import OmeImage
from registration.files.refusal import EXPORT_AGAIN, compression_name
from registration.files.samples import Image, Samples

JPEGS = (7, 34892, 33007)
PREDICTED_NEVER = (1, 32773)
"""Compressions that know no predictor: none, and PackBits."""
ALPHAS = (1, 2)
"""Kinds of extra samples that are opacity: premultiplied, and not."""
WHOLE_NUMBERS = {
    "ImageWidth": "imagewidth",
    "ImageLength": "imagelength",
    "SamplesPerPixel": "samplesperpixel",
    "BitsPerSample": "bitspersample",
    "SampleFormat": "sampleformat",
    "Compression": "compression",
    "PhotometricInterpretation": "photometric",
    "PlanarConfiguration": "planarconfig",
    "Predictor": "predictor",
    "FillOrder": "fillorder",
    "RowsPerStrip": "rowsperstrip",
    "TileWidth": "tilewidth",
    "TileLength": "tilelength",
    "ImageDepth": "imagedepth",
}


def fault(page: tifffile.TiffPage) -> str | None:
    """Say why a page cannot be read, as the end of a sentence; ``None`` if it can."""
    for tag, name in WHOLE_NUMBERS.items():
        if not isinstance(getattr(page, name), int):
            return f"is a damaged TIFF file: its tag {tag} is no whole number. Export it again."
    checks = (_fault_of_samples, _fault_of_coding, _fault_of_colour, _fault_of_places)
    return next((fault for check in checks if (fault := check(page))), None)


def _fault_of_samples(page: tifffile.TiffPage) -> str | None:
    if area(page) <= 0 or page.samplesperpixel < 1 or 0 in page.shape:
        return "is a damaged TIFF file: it holds no pixels. Copy or export it again."
    if page.imagedepth != 1:
        return f"holds {page.imagedepth} planes, not one RGB image. Export it as 8-bit RGB."
    if page.sampleformat != 1 or page.dtype is None or not 1 <= page.bitspersample <= 16:
        kind = page.dtype or f"{page.bitspersample}-bit"
        return f"has {kind} pixels; export it as 8-bit RGB."
    return None


def _fault_of_colour(page: tifffile.TiffPage) -> str | None:
    photometric = getattr(page.photometric, "name", str(page.photometric))
    n, extra = page.samplesperpixel, len(_extras(page))
    fits = {
        "MINISBLACK": n == 1 or (n == 2 and set(_extras(page)) <= set(ALPHAS) and extra == 1),
        "MINISWHITE": n == 1,
        "RGB": n >= 3,
        "YCBCR": n == 3 and page.compression in JPEGS,
        "PALETTE": n == 1 and _palette(page) is not None,
    }
    if photometric == "YCBCR" and page.compression not in JPEGS:
        return "stores YCbCr without JPEG; export it as 8-bit RGB."
    if not fits.get(photometric, False):
        return f"has {n} channels, {photometric}; export it as 8-bit RGB."
    if page.planarconfig != 1 and n > 1:
        return "stores its channels apart; export it as interleaved RGB."
    return None


def _fault_of_coding(page: tifffile.TiffPage) -> str | None:
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        known = page.compression != 6
    except KeyError:
        known = False
    if not known:
        name = compression_name(int(page.compression))
        return f"has an unsupported compression: {name}. {EXPORT_AGAIN}"
    if page.predictor != 1 and page.compression in PREDICTED_NEVER:
        return "says that its samples are predicted but not compressed; export it again."
    return None


def _fault_of_places(page: tifffile.TiffPage) -> str | None:
    height, width = page.chunks[:2]
    expected = -(-page.imagewidth // width) * -(-page.imagelength // height)
    tables = (page.dataoffsets, page.databytecounts)
    if any(not isinstance(table, tuple) or len(table) != expected for table in tables) or any(
        not isinstance(number, int) or number < 0 for table in tables for number in table
    ):
        return (
            f"is a damaged TIFF file: it does not say where its {expected} tiles or strips lie. "
            "Copy or export it again."
        )
    return None


def area(page: tifffile.TiffPage) -> int:
    """Return the pixels of a page; 0 where its sides make no sense."""
    size = page.imagewidth, page.imagelength
    return size[0] * size[1] if all(isinstance(side, int) for side in size) else 0


def samples_of(
    page: tifffile.TiffPage, with_alpha: bool = True, most: int | None = None
) -> Samples:
    """Return what a page's samples mean; ``most`` where not all of the bits count."""
    colours = 1 if page.samplesperpixel <= 2 else 3
    kinds = _extras(page) if with_alpha else ()
    alpha = next((place for place, kind in enumerate(kinds) if kind in ALPHAS), None)
    return Samples(
        colours=colours,
        most=2 ** int(page.bitspersample) - 1 if most is None else most,
        is_inverted=getattr(page.photometric, "name", "") == "MINISWHITE",
        alpha=None if alpha is None else colours + alpha,
        is_premultiplied=alpha is not None and kinds[alpha] == 1,
        palette=_palette(page) if getattr(page.photometric, "name", "") == "PALETTE" else None,
    )


def _extras(page: tifffile.TiffPage) -> tuple[int, ...]:
    """Return the kinds of the samples beyond colour."""
    kinds = page.extrasamples
    return tuple(int(kind) for kind in kinds) if isinstance(kinds, tuple) else ()


def _palette(page: tifffile.TiffPage) -> Image | None:
    """Return the colours of a palette; some writers store 8 bits where 16 belong."""
    stored = page.colormap
    if stored is None or stored.dtype.str[1:] != "u2" or stored.shape != (3, 2**page.bitspersample):
        return None
    most = 255 if stored.max() < 256 else 65535
    return np.ascontiguousarray(np.round(stored.T * (255.0 / most)).astype(np.uint8))


def declared_bits(page: tifffile.TiffPage, described: OmeImage | None) -> int | None:
    """Return how many bits of a sample count, where the file says it.

    TIFF's tags state the highest value that occurs, which tells nothing new of 8 bits.
    """
    bits = int(page.bitspersample)
    if described is not None and described.significant_bits:
        return min(described.significant_bits, bits)
    for tag in (281, 341) if bits > 8 else ():
        value = page.tags.valueof(tag)
        values = value if isinstance(value, tuple) else (value,)
        if all(isinstance(one, int | float) and 1 <= one < 2**bits for one in values):
            return int(max(values)).bit_length()
    return None


def orientation(page: tifffile.TiffPage) -> int:
    """Return how a page is turned, 1 to 8; 1 where the file says nothing that makes sense."""
    value = page.tags.valueof(274)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def profile(page: tifffile.TiffPage) -> bytes | None:
    """Return the colour profile of a page."""
    value = page.tags.valueof(34675)
    return value if isinstance(value, bytes) else None


def text(page: tifffile.TiffPage, tag: int) -> str:
    """Return the text of a tag; empty where there is none."""
    value = page.tags.valueof(tag)
    return value if isinstance(value, str) else ""
