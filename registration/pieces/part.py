"""One piece of a slide as a slide of its own: a box, with everything but the piece painted over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from registration.geometry import Box, Image, Size, level_box
from registration.pieces.find import Pieces
from registration.slides.slide import Level, Slide
from registration.stain import Mask
from registration.tissue import TissueMap

MARGIN_SHARE = 0.08
MARGIN_UM = 100.0
"""Around a piece's tissue: this share of its longer side, at least so many µm."""

ALIGNED_PX = 256
"""Boxes begin at multiples of this, so that they begin at whole pixels of most levels."""

HIDDEN_UM = 60.0
"""Other pieces are painted over with this margin."""


@dataclass(frozen=True, eq=False)
class Cover:
    """What is painted over, and with which colour."""

    area: TissueMap
    corner: tuple[int, int]
    """Where the area begins, in level-0 pixels of the part."""
    colour: tuple[int, int, int]

    def on(self, box: Box, size: Size) -> Mask:
        """Return what is painted over on a level-0 box of the part, in ``size`` pixels."""
        x, y = box.x - self.corner[0], box.y - self.corner[1]
        return self.area.on(replace(box, x=x, y=y), size)


class SlidePart(Slide):
    """A box of a slide, other pieces of tissue painted over. Reads like any slide."""

    def __init__(self, whole: Slide, box: Box, cover: Cover | None) -> None:
        self.whole, self.box, self.cover = whole, box, cover
        self.path, self.mpp, self.warnings = whole.path, whole.mpp, whole.warnings
        self.vendor, self.objective_power = whole.vendor, whole.objective_power
        self.size = box.size
        self.levels = tuple(
            Level(box.size.downsampled(level.downsample), level.downsample)
            for level in whole.levels
            if _is_whole(box.x / level.downsample) and _is_whole(box.y / level.downsample)
        )
        self._numbers = tuple(
            number
            for number, level in enumerate(whole.levels)
            if _is_whole(box.x / level.downsample) and _is_whole(box.y / level.downsample)
        )

    def read(self, box: Box, level: int = 0) -> Image:
        """Return the pixels of ``box`` of a level, ``(box.height, box.width, 3)`` RGB in sRGB."""
        downsample = self.levels[level].downsample
        moved = replace(
            box,
            x=box.x + round(self.box.x / downsample),
            y=box.y + round(self.box.y / downsample),
        )
        image = self.whole.read(moved, self._numbers[level])
        if self.cover is None:
            return image
        covered = self.cover.on(_level0(box, downsample), box.size)
        if covered.any():
            image = image.copy()
            image[covered] = self.cover.colour
        return image

    def close(self) -> None:
        """Release the file; a later read opens it again."""
        self.whole.close()

    def __reduce__(self) -> tuple[Callable[..., Slide], tuple[Any, ...]]:
        return SlidePart, (self.whole, self.box, self.cover)


def slide_part(slide: Slide, pieces: Pieces, numbers: tuple[int, ...]) -> SlidePart:
    """Return the part of a slide that shows the pieces with these numbers, and no others."""
    box = _around([pieces.box(number) for number in numbers])
    margin = max(MARGIN_SHARE * max(box.size.shape), MARGIN_UM / slide.mpp)
    box = aligned(box.expanded(math.ceil(margin))).clipped(slide.size)
    return SlidePart(slide, box, _cover(slide, pieces, numbers, box))


def _cover(slide: Slide, pieces: Pieces, numbers: tuple[int, ...], box: Box) -> Cover | None:
    """Return what hides other pieces within a box; ``None`` where there are none."""
    owner, distance = pieces.nearest
    window = level_box(box, pieces.downsample)
    owner, distance = owner[window.slices()], distance[window.slices()]
    foreign = np.asarray(~np.isin(owner, numbers) & (distance <= HIDDEN_UM))
    if not foreign.any():
        return None
    image = slide.read_scaled(window, pieces.downsample)[: len(owner), : owner.shape[1]]
    glass = distance > HIDDEN_UM
    red, green, blue = np.median(image[glass] if glass.any() else image[foreign], axis=0)
    corner = (
        round(window.x * pieces.downsample) - box.x,
        round(window.y * pieces.downsample) - box.y,
    )
    return Cover(TissueMap(foreign, pieces.downsample), corner, (int(red), int(green), int(blue)))


def _level0(box: Box, downsample: float) -> Box:
    return Box(
        round(box.x * downsample),
        round(box.y * downsample),
        max(1, round(box.width * downsample)),
        max(1, round(box.height * downsample)),
    )


def _around(boxes: list[Box]) -> Box:
    """Return the smallest box that holds all boxes."""
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.right for box in boxes), max(box.bottom for box in boxes)
    return Box(x, y, right - x, bottom - y)


def aligned(box: Box) -> Box:
    """Return the box with its corner moved to multiples of :data:`ALIGNED_PX`."""
    x, y = (math.floor(start / ALIGNED_PX) * ALIGNED_PX for start in (box.x, box.y))
    return Box(x, y, box.right - x, box.bottom - y)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6


@dataclass(frozen=True, eq=False)
class PiecePart:
    """A piece of one slide, or several that move together."""

    numbers: tuple[int, ...]
    """Of the pieces on their slide."""
    slide: SlidePart
    tissue_um2: float
    name: str = ""
    """What a person called it."""


def piece_part(slide: Slide, pieces: Pieces, numbers: tuple[int, ...]) -> PiecePart:
    """Return some pieces of a slide as one part."""
    area = sum(float(pieces.areas_um2[number - 1]) for number in numbers)
    name = pieces.name(numbers[0])
    return PiecePart(numbers, slide_part(slide, pieces, numbers), area, name)
