"""The registered slide: as something to read from, and written as a pyramid in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import openslide
from PIL import Image as PillowImage

from registration.errors import SlideError
from registration.execution import Progress, Workers
from registration.geometry import Box, Image, Size
from registration.nonrigid.paper import fill_gaps, leaves_block
from registration.pair import SlidePair
from registration.slides.formats import ImageFormat
from registration.slides.pyramid import (
    UNIT_TILES,
    EncodedUnit,
    PyramidSpec,
    encode_unit,
    halved,
    unit_boxes,
    write_pyramid,
)
from registration.slides.slide import Slide
from registration.stored_chain import load_chain, save_chain
from registration.transforms import Chain, SplicedField
from registration.warp import warp_box

UNIT_PX = UNIT_TILES * PyramidSpec.tile


class RegisteredSlide(openslide.AbstractSlide):
    """The moving slide in the fixed slide's frame, warped where it is read.

    To be used like any slide of OpenSlide's. The levels are those of ``registered.tif`` before its
    compression: level 0 to the rounding of single pixels, smaller ones to one or two grey levels.
    Can be read from several threads.
    """

    def __init__(self, moving: Slide, chain: Chain, size: Size, mpp: float):
        super().__init__()
        self._moving = moving
        self._chain = chain
        self._spec = PyramidSpec(size, mpp)

    def __repr__(self) -> str:
        size = self._spec.size
        return f"<RegisteredSlide {self._moving.path.name} {size.width} x {size.height}>"

    @classmethod
    def detect_format(cls, filename: object) -> str | None:
        """Return ``None``: no file is such a slide, a registration is."""
        return None

    def close(self) -> None:
        """Release the raw slide."""
        self._moving.close()

    @property
    def level_count(self) -> int:
        """Number of levels."""
        return len(self._spec.sizes)

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """``(width, height)`` of each level."""
        return tuple((size.width, size.height) for size in self._spec.sizes)

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level: powers of two."""
        return tuple(float(2**number) for number in range(self.level_count))

    @property
    def properties(self) -> Mapping[str, str]:
        """Pixel size and levels, under OpenSlide's names."""
        found = {
            openslide.PROPERTY_NAME_VENDOR: "bci-pipeline",
            openslide.PROPERTY_NAME_MPP_X: str(self._spec.mpp),
            openslide.PROPERTY_NAME_MPP_Y: str(self._spec.mpp),
            "openslide.level-count": str(self.level_count),
        }
        for number, (width, height) in enumerate(self.level_dimensions):
            level = {
                "width": width,
                "height": height,
                "downsample": self.level_downsamples[number],
                "tile-width": self._spec.tile,
                "tile-height": self._spec.tile,
            }
            found |= {f"openslide.level[{number}].{name}": str(v) for name, v in level.items()}
        return MappingProxyType(found)

    @property
    def associated_images(self) -> Mapping[str, PillowImage.Image]:
        """None: labels name patients, and no image is of the warped section."""
        return MappingProxyType({})

    def get_best_level_for_downsample(self, downsample: float) -> int:
        """Return the smallest level that still has all the detail of ``downsample``."""
        fitting = [n for n, own in enumerate(self.level_downsamples) if own <= downsample]
        return max(fitting, default=0)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> PillowImage.Image:
        """Return an RGBA image; what lies off the slide is transparent.

        ``location`` is in level-0 pixels; on a smaller level the nearest whole pixel is taken.
        Raises :class:`SlideError` for a level that there is not, a size that is negative, and where
        the raw file is damaged.
        """
        if not 0 <= level < self.level_count or min(size) < 0:
            raise SlideError(
                f"{self!r} has levels 0 to {self.level_count - 1}: cannot read {size[0]} x {size[1]} "
                f"px of level {level}"
            )
        downsample = 2**level
        x, y = (round(at / downsample) for at in location)
        box = Box(x, y, *size)
        inside = box.clipped(self._spec.sizes[level])
        pixels = np.zeros((box.height, box.width, 4), np.uint8)
        if inside.width and inside.height:
            part = pixels[inside.within(box).slices()]
            part[..., 3] = 255
            for tile in inside.tiles(UNIT_PX):
                # Several times as fast as numpy's own; it writes into the view.
                target = part[tile.within(inside).slices()]
                cv2.mixChannels([self._level(tile, level)], [target], [0, 0, 1, 1, 2, 2])
        return PillowImage.fromarray(pixels)

    def _level(self, box: Box, level: int) -> Image:
        """Return ``box`` of a level; a smaller one as averages of 2 x 2 pixels of twice its size.

        Without the averages the interpolation blurs what the written file shows.
        """
        if level == 0:
            return _warped(self._moving, self._chain, box, 1, self._spec.size)
        downsample = 2 ** (level - 1)
        size = self._spec.sizes[level - 1]
        finer = Box(2 * box.x, 2 * box.y, 2 * box.width, 2 * box.height).clipped(size)
        return halved(_warped(self._moving, self._chain, finer, downsample, size))


@dataclass(frozen=True)
class WarpTask:
    """One unit of the output. The chain travels as its description; each worker loads it once."""

    moving: Slide
    fields: Path
    described: str
    spec: PyramidSpec
    box: Box


def write_image(
    pair: SlidePair,
    chain: Chain,
    path: Path,
    format_: ImageFormat,
    workers: Workers,
    progress: Progress,
) -> None:
    """Warp the whole moving slide into the fixed slide's frame and write it as a pyramid.

    The fields of ``chain`` are stored beside ``path``, from where the workers read them.
    """
    fixed = pair.fixed_slide
    spec = PyramidSpec(size=fixed.size, mpp=fixed.mpp, format=format_)
    described = json.dumps(save_chain(chain, path.parent))
    tasks = [
        WarpTask(pair.moving_slide, path.parent, described, spec, box) for box in unit_boxes(spec)
    ]

    def units() -> Iterator[EncodedUnit]:
        for done, unit in enumerate(workers.map(warp_unit, tasks), start=1):
            progress("image", done, len(tasks))
            yield unit

    write_pyramid(path, spec, units())


def warp_unit(task: WarpTask) -> EncodedUnit:
    """Warp, fill and encode one unit."""
    chain = _chain(task.described, task.fields)
    return encode_unit(
        task.spec, _warped(task.moving, chain, task.box, 1, task.spec.size), task.box
    )


@lru_cache(maxsize=4)
def _chain(described: str, fields: Path) -> Chain:
    return load_chain(json.loads(described), fields)


def _warped(moving: Slide, chain: Chain, box: Box, downsample: int, size: Size) -> Image:
    """Return ``box`` of a level of ``size``, ``(height, width, 3)``, without gaps."""
    first = chain.steps[0]
    if not isinstance(first, SplicedField):
        return warp_box(moving, chain, box, downsample).image
    # A gap takes the nearest pixel of its unit, so that whole units are warped whatever is asked.
    image = np.empty((box.height, box.width, 3), np.uint8)
    for unit in Box.of(size).tiles(max(1, UNIT_PX // downsample)):
        shared = unit.intersection(box)
        if shared.width and shared.height:
            warped = warp_box(moving, chain, unit, downsample, fill=False)
            has_source = warped.has_source & ~leaves_block(first, unit, downsample)
            filled = fill_gaps(warped.image, has_source)
            image[shared.within(box).slices()] = filled[shared.within(unit).slices()]
    return image
