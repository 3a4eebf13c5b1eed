"""Places of an H&E slide with all their stains beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw

from pipeline.dataset.figures import GAP_PX, LINE_PX, PAIR_PX, sheet_font
from pipeline.dataset.table import PatchRow
from registration.files.images import read_image
from registration.geometry import Image

MOST_PLACES = 6


def shared_places(rows: Sequence[PatchRow]) -> list[list[PatchRow]]:
    """Return the kept rows of places that have several stains: those with most, from all over.

    The stains of a place have its H&E slide, its corner and another IHC slide in common.
    """
    found: dict[object, dict[str, PatchRow]] = {}
    for row in rows:
        if row.kept:
            found.setdefault((row.he_hash, row.x, row.y), {}).setdefault(row.stain, row)
    most = max(map(len, found.values()), default=0)
    places = [list(stains.values()) for stains in found.values() if len(stains) == most > 1]
    count = min(MOST_PLACES, len(places))
    return [places[len(places) * k // count] for k in range(count)]


def stain_sheet(folder: Path, places: Sequence[Sequence[PatchRow]], side_by_side: bool) -> Image:
    """Return a white sheet with a row per place: H&E, then its stains, each under its name."""
    stains = [row.stain for row in places[0]]
    width, height = PAIR_PX + GAP_PX, PAIR_PX + LINE_PX + GAP_PX
    shape = (len(places) * height + LINE_PX, (1 + len(stains)) * width + GAP_PX, 3)
    sheet = np.full(shape, 255, np.uint8)
    for line, rows in enumerate(places):
        y = LINE_PX + line * height
        for column, image in enumerate(_images(folder, rows, side_by_side)):
            x = GAP_PX + column * width
            sheet[y : y + PAIR_PX, x : x + PAIR_PX] = image
    written = Pictures.fromarray(sheet)
    pen, font = ImageDraw.Draw(written), sheet_font()
    for column, name in enumerate(("H&E", *stains)):
        pen.text((GAP_PX + column * width, 0), name, fill=(40, 40, 40), font=font)
    for line, rows in enumerate(places):
        place = (GAP_PX, LINE_PX + line * height + PAIR_PX)
        pen.text(place, rows[0].pair_id, fill=(40, 40, 40), font=font)
    return np.asarray(written)


def _images(folder: Path, rows: Sequence[PatchRow], side_by_side: bool) -> list[Image]:
    """Return the H&E image of a place and its stains, all of one size."""
    he, *ihc = (read_image(folder / str(f)) for f in (rows[0].he_file, *(r.ihc_file for r in rows)))
    if side_by_side:
        half = he.shape[1] // 2
        he, ihc = he[:, :half], [image[:, half:] for image in ihc]
    size = (PAIR_PX, PAIR_PX)
    return [
        np.asarray(cv2.resize(i, size, interpolation=cv2.INTER_AREA), np.uint8) for i in (he, *ihc)
    ]
