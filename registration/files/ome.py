"""What an OME-XML document says of its images, read as far as it can be understood."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

UM_PER_UNIT = {
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "inch": 25_400.0,
    "in": 25_400.0,
    "dm": 1e5,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "thou": 25.4,
    "pt": 25_400.0 / 72,
}
LONE_AMPERSAND = re.compile(r"&(?!(?:#\d+|#x[0-9a-fA-F]+|\w+);)")


@dataclass(frozen=True)
class OmeImage:
    """One image of a document."""

    name: str
    size: tuple[int | None, int | None]
    """Width and height in pixels."""
    ifd: int | None
    """Number of the page that holds its first plane, where the document says it."""
    planes: int
    """Samples per pixel times planes."""
    significant_bits: int | None
    physical_size: tuple[str | None, str | None]
    units: tuple[str, str]
    objective_power: float | None


def ome_images(xml: str) -> tuple[OmeImage, ...]:
    """Return the images of a document; none where it is no OME-XML, however little is wrong."""
    try:
        root = ElementTree.fromstring(LONE_AMPERSAND.sub("&amp;", xml).encode("utf-8", "replace"))
    except ElementTree.ParseError:
        return ()
    powers = {
        objective.get("ID"): positive(objective.get("NominalMagnification"))
        for instrument in _children(root, "Instrument")
        for objective in _children(instrument, "Objective")
    }
    return tuple(
        _image(image, pixels, powers)
        for image in _children(root, "Image")
        for pixels in _children(image, "Pixels")
    )


def image_of_page(
    images: tuple[OmeImage, ...], page: int, size: tuple[int, int]
) -> OmeImage | None:
    """Return the image whose pixels are in a page of this size: the one that names it, or the first."""
    fitting = [image for image in images if image.size == size]
    return next((image for image in fitting if image.ifd == page), next(iter(fitting), None))


def um_per_unit(unit: str) -> float | None:
    """Return how many µm a unit of length is, however it is written; ``None`` if it is none."""
    word = unit.strip().replace("\\u00B5", "µ").replace("μ", "µ")
    if word in UM_PER_UNIT:
        return UM_PER_UNIT[word]
    return UM_PER_UNIT.get(word.lower().removesuffix("s"))


def positive(text: object) -> float | None:
    """Return a positive, finite number from text (decimal comma or point), or ``None``."""
    try:
        value = float(str(text).strip().replace(",", "."))
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _image(
    image: ElementTree.Element,
    pixels: ElementTree.Element,
    powers: dict[str | None, float | None],
) -> OmeImage:
    """Read one image; ``powers`` are the magnifications of the objectives by their ids."""
    planes = 1
    for axis in "CZT":
        planes *= _whole(pixels.get(f"Size{axis}")) or 1
    first = next(iter(_children(pixels, "TiffData")), None)
    used = next(iter(_children(image, "ObjectiveSettings")), None)
    return OmeImage(
        name=image.get("Name") or "",
        size=(_whole(pixels.get("SizeX")), _whole(pixels.get("SizeY"))),
        ifd=None if first is None else _whole(first.get("IFD", "0")),
        planes=planes,
        significant_bits=_whole(pixels.get("SignificantBits")),
        physical_size=(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeY")),
        units=(pixels.get("PhysicalSizeXUnit", "µm"), pixels.get("PhysicalSizeYUnit", "µm")),
        objective_power=None if used is None else powers.get(used.get("ID")),
    )


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the children of a name, whatever their namespace."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _whole(text: str | None) -> int | None:
    """Return a whole number, 0 or more, or ``None`` for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
