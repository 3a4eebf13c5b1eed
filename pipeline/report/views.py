"""What is seen at a place: the same field in the fixed slide and in the moving one, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pipeline.report.places import DETAIL_UM, FIELD_UM, TITLES, Place, field_box
from registration.files.pictures import jpeg_uri
from registration.geometry import Box, level_box
from registration.pair import SlidePair
from registration.piece_map import initial_of
from registration.quality.quality import unregistered
from registration.result import Registration
from registration.transforms import Transform
from registration.warp import warp_box

WHOLE_PX = 1000
FIELD_PX = 560
QUALITY = 78


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field, as data URIs."""

    key: str
    title: str
    extent: str
    width: int
    height: int
    fixed: str
    states: dict[str, str]
    """The moving slide as ``scanned``, after the ``projective`` step, and ``registered``."""
    why: str
    mark: tuple[float, float, float, float]
    """Left, top, width, height in percent of the whole slide."""


def views(
    registration: Registration, pair: SlidePair, places: list[tuple[str, Place]]
) -> list[FieldView]:
    """Read the whole slide, and a field and a close-up of every place."""
    read = partial(_view, registration, pair)
    found = [read("whole", ("Whole slide", ""), Box.of(pair.fixed_slide.size))]
    for key, place in places:
        field = field_box(pair, place.field, FIELD_UM)
        detail = field_box(pair, place.detail, DETAIL_UM)
        found.append(read(f"{key}-field", (TITLES[key], place.why), field))
        found.append(read(f"{key}-detail", (f"{TITLES[key]}, close up", ""), detail))
    return found


def _view(
    registration: Registration, pair: SlidePair, key: str, words: tuple[str, str], box: Box
) -> FieldView:
    """Read one field of both slides; ``words`` are its title and why it was chosen."""
    slide, moving, chain = pair.fixed_slide, pair.moving_slide, registration.chain
    whole = key == "whole"
    downsample = max(1.0, max(box.width, box.height) / (WHOLE_PX if whole else FIELD_PX))
    part = level_box(box, downsample)
    transforms: dict[str, Transform] = {
        "scanned": unregistered(slide, moving),
        "projective": initial_of(chain),
        "registered": chain,
    }
    width_mm, height_mm = box.width * slide.mpp / 1000, box.height * slide.mpp / 1000
    corner = (box.x / slide.size.width, box.y / slide.size.height)
    share = (box.width / slide.size.width, box.height / slide.size.height)
    left, top, width, height = (100 * value for value in (*corner, *share))
    return FieldView(
        key=key,
        title=words[0],
        extent=f"{width_mm:.1f} × {height_mm:.1f} mm" if whole else f"{width_mm:.2f} mm wide",
        width=part.width,
        height=part.height,
        fixed=jpeg_uri(slide.read_scaled(part, downsample), QUALITY),
        states={
            name: jpeg_uri(warp_box(moving, transform, part, downsample).image, QUALITY)
            for name, transform in transforms.items()
        },
        why=words[1],
        mark=(left, top, width, height),
    )
