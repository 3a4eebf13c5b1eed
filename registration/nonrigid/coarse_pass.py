"""The coarse pass of a pair: block matching over the whole slide at low resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registration.geometry import Box, to_level0
from registration.matching import structure
from registration.nonrigid.coarse import smooth_field
from registration.pair import SlidePair
from registration.stain import Plane, extract_channel
from registration.tissue import TissueMap
from registration.transforms import DisplacementField, Projective
from registration.warp import warp_box

NODE_STEP_PX = 4
"""The dense field is kept at every fourth pixel: it is smooth over the 6 to 8 px between matches."""

HEMATOXYLIN_SCALE = 14.0
"""Brings skimage's hematoxylin, which is in units of log(10^6), to natural optical density."""


@dataclass(frozen=True)
class CoarseTask:
    """All a worker needs for the coarse pass of two slides, or of a piece on each."""

    pair: SlidePair
    start: Projective
    tissue: TissueMap
    """Of the fixed slide."""
    downsample: float
    """At which they are matched."""


def coarse_field(task: CoarseTask) -> DisplacementField:
    """Return the field, fixed to fixed level-0 pixels, that refines the start."""
    fixed, downsample = task.pair.fixed_slide, task.downsample
    size = fixed.size.downsampled(downsample)
    box = Box.of(size)
    warped = warp_box(task.pair.moving_slide, task.start, box, downsample)
    shift = smooth_field(
        _planes(fixed.read_scaled(box, downsample)),
        _planes(warped.image),
        task.tissue.on(Box.of(fixed.size), size),
    )
    first = to_level0(np.zeros((1, 2)), downsample)[0]
    nodes = shift[::NODE_STEP_PX, ::NODE_STEP_PX].astype(np.float64) * downsample
    origin = (float(first[0]), float(first[1]))
    return DisplacementField.from_nodes(origin, NODE_STEP_PX * downsample, nodes)


def _planes(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[Plane]:
    """Return total density and hematoxylin, both as roots, so that faint stains count as well."""
    return [structure(image), np.sqrt(HEMATOXYLIN_SCALE * extract_channel(image, "hematoxylin"))]
