"""What a pair of slides looks like: small pictures, colour and sharpness, kept beside the case."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Picture

from pipeline.dataset.figures import mean_density
from registration.files.storage import write_json, written_whole
from registration.geometry import Box, Image, Points
from registration.result import Registration
from registration.slides.slide import Slide
from registration.warp import warp_box

PICTURE_NAME, RECORD_NAME = "pair.jpg", "looks.json"
HE_NAME, STAIN_NAME = "he.jpg", "stain.jpg"
"""The H&E slide of several stains, and this stain in its frame."""
SIDE_PX, STAIN_PX = 88, 160
FIELDS, FIELD_PX = 5, 256


@dataclass(frozen=True, slots=True)
class Looks:
    """Figures by which a case may stand out."""

    density: tuple[float, ...]
    """Mean optical density of tissue: red, green, blue of H&E, then of IHC."""
    sharpness: tuple[float, float]
    """Of H&E and IHC: contrast between neighbouring pixels over that of a whole field, the median
    of some fields of tissue."""


def record_looks(registration: Registration, folder: Path) -> None:
    """Look at both slides and keep the result in ``folder``."""
    residual = registration.residual_map
    if residual is None:
        return
    points = residual.points
    fixed = points[:: max(1, len(points) // FIELDS)][:FIELDS]
    moved = registration.chain(fixed) if len(fixed) else fixed
    he_places, ihc_places = (moved, fixed) if registration.moving == "he" else (fixed, moved)
    pair = registration.open_pair()
    with pair.he as he, pair.ihc as ihc:
        small = (he.thumbnail(SIDE_PX)[0], ihc.thumbnail(SIDE_PX)[0])
        sharp = (_sharpness(he, he_places), _sharpness(ihc, ihc_places))
    with written_whole(folder / PICTURE_NAME) as part:
        Picture.fromarray(_beside(*small)).save(part, quality=75)
    if registration.moving == "ihc":
        _record_stain(registration, folder)
    write_json(folder / RECORD_NAME, asdict(Looks(mean_density(small), sharp)))


def _record_stain(registration: Registration, folder: Path) -> None:
    """Keep pictures of the H&E slide and of the IHC slide as it lies on it."""
    pair = registration.open_pair()
    with pair.he as he, pair.ihc as ihc:
        own, downsample = he.thumbnail(STAIN_PX)
        box = Box(0, 0, own.shape[1], own.shape[0])
        warped = warp_box(ihc, registration.chain, box, downsample).image
    for name, image in ((HE_NAME, own), (STAIN_NAME, warped)):
        with written_whole(folder / name) as part:
            Picture.fromarray(image).save(part, quality=80)


def read_looks(folder: Path) -> Looks | None:
    """Return what :func:`record_looks` kept; ``None`` where nothing, or nothing usable, is there."""
    try:
        record = json.loads((folder / RECORD_NAME).read_bytes())
        return Looks(tuple(record["density"]), tuple(record["sharpness"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _beside(he: Image, ihc: Image) -> Image:
    """Put two pictures beside each other on white, both centred in squares."""
    sheet = np.full((SIDE_PX, 2 * SIDE_PX + 4, 3), 255, np.uint8)
    for left, image in ((0, he), (SIDE_PX + 4, ihc)):
        height, width = image.shape[:2]
        y, x = (SIDE_PX - height) // 2, left + (SIDE_PX - width) // 2
        sheet[y : y + height, x : x + width] = image
    return sheet


def _sharpness(slide: Slide, places: Points) -> float:
    found = []
    for x, y in places[np.isfinite(places).all(axis=1)]:
        box = Box(round(x) - FIELD_PX // 2, round(y) - FIELD_PX // 2, FIELD_PX, FIELD_PX)
        grey = cv2.cvtColor(slide.read(box), cv2.COLOR_RGB2GRAY).astype(np.float32)
        found.append(float(cv2.Laplacian(grey, cv2.CV_32F).std() / max(float(grey.std()), 1.0)))
    return float(np.median(found)) if found else 0.0
