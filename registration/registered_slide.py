"""The registered slide as a pyramid, unit by unit through the workers, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from registration.execution import Progress, Workers
from registration.geometry import Box
from registration.nonrigid.paper import fill_gaps, leaves_block
from registration.pair import Pair
from registration.slides.pyramid import (
    EncodedUnit,
    PyramidSpec,
    encode_unit,
    unit_boxes,
    write_pyramid,
)
from registration.slides.slide import Slide
from registration.stored_chain import load_chain, save_chain
from registration.transforms import Chain, SplicedField
from registration.warp import warp_box

ImageFormat = Literal["tiff", "ome-tiff", "ome-zarr"]
SUFFIXES: dict[ImageFormat, str] = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}


@dataclass(frozen=True)
class WarpTask:
    """One unit of the output. The chain travels as its description; each worker loads it once."""

    moving: Slide
    fields: Path
    described: str
    spec: PyramidSpec
    box: Box


def write_image(
    pair: Pair, chain: Chain, path: Path, format_: ImageFormat, workers: Workers, progress: Progress
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
    first = chain.steps[0]
    if isinstance(first, SplicedField):
        warped = warp_box(task.moving, chain, task.box, fill=False)
        has_source = warped.has_source & ~leaves_block(first, task.box)
        return encode_unit(task.spec, fill_gaps(warped.image, has_source), task.box)
    return encode_unit(task.spec, warp_box(task.moving, chain, task.box).image, task.box)


@lru_cache(maxsize=4)
def _chain(described: str, fields: Path) -> Chain:
    return load_chain(json.loads(described), fields)
