"""The moving slide in the fixed slide's frame: one interpolation through the whole chain.

Any box of any level can be warped on its own: the same pixel comes out whichever box asked for it,
so that tiles, patches and whole slides agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Image, Size, from_level0, spaced, to_level0
from registration.slide import Slide
from registration.transforms import Transform

MESH_STEP_PX = 8
"""The chain is evaluated on a mesh of this step in level-0 pixels and interpolated linearly between:
with a warp of 90 px over a wavelength of 2,000 px that is 0.007 px from exact."""

FILL_REACH_UM = 100.0
"""A gap this wide at the edge of the moving slide is filled with the content beside it, mirrored;
what lies farther out has no neighbour to speak of and becomes white, as glass is."""

MAX_READ_PX = 30_000
"""cv2.remap addresses at most 32,767 pixels a side."""

_READ_MARGIN_PX = 4
_WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Warped:
    """A warped box."""

    image: Image
    """``(height, width, 3)``, seam-filled."""
    has_source: NDArray[np.bool_]
    """Which pixels come from the moving slide; the others were filled."""


def warp_box(
    moving: Slide, chain: Transform, box: Box, downsample: float = 1.0, *, fill: bool = True
) -> Warped:
    """Return the moving slide as seen on ``box`` of the fixed slide.

    ``box`` is in pixels of a level of the fixed slide with ``downsample``. With ``fill=False`` what
    has no source stays black, as in the paper before its post-processing.
    """
    source = map_box(chain, box, downsample)
    scale = _scale(source, downsample)
    read_downsample = _read_downsample(moving, scale)
    size = moving.size.downsampled(read_downsample)
    where = from_level0(source, read_downsample).astype(np.float32)
    has_source = _inside(where, size)
    if not has_source.any() and not fill:
        return Warped(np.zeros((box.height, box.width, 3), np.uint8), has_source)
    reach = FILL_REACH_UM / (moving.mpp * read_downsample) if fill else 0.0
    near = _mirror_into(where, size, reach)
    image = _sample(moving, read_downsample, where, near)
    if fill:
        image[~near] = _WHITE
    else:
        image[~has_source] = 0
    return Warped(image, has_source)


def map_box(chain: Transform, box: Box, downsample: float = 1.0) -> NDArray[np.float64]:
    """Return the moving level-0 position of every pixel of ``box``: ``(height, width, 2)``.

    The mesh is anchored to the slide, not to the box.
    """
    step = _mesh_step(downsample)
    first_x, first_y = box.x // step, box.y // step
    columns = (box.right - 1) // step - first_x + 2
    rows = (box.bottom - 1) // step - first_y + 2
    xs = to_level0(spaced(columns, step, step * first_x), downsample)
    ys = to_level0(spaced(rows, step, step * first_y), downsample)
    mesh = chain.on_grid(xs, ys)
    # Pixels lie at multiples of 1/8 of the mesh, which linear interpolation in cv2 (in steps of 1/32)
    # meets exactly; subtracting the middle keeps float32 precise on slides of any size.
    middle = mesh.reshape(-1, 2).mean(axis=0)
    matrix = np.array(
        [
            [1 / step, 0, box.x / step - first_x],
            [0, 1 / step, box.y / step - first_y],
        ]
    )
    dense = cv2.warpAffine(
        (mesh - middle).astype(np.float32),
        matrix,
        (box.width, box.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mapped: NDArray[np.float64] = np.asarray(dense, np.float64)
    mapped += middle
    return mapped


def _mesh_step(downsample: float) -> int:
    """Return the mesh's step in pixels of a level: 8, 4, 2 or 1."""
    return next((step for step in (8, 4, 2) if step * downsample <= MESH_STEP_PX), 1)


def _scale(source: NDArray[np.float64], downsample: float) -> float:
    """Return how many level-0 moving pixels one output pixel covers, along an edge of the box."""
    height, width = source.shape[:2]
    if height < 2 or width < 2:
        return downsample
    across = np.hypot(*(source[height // 2, -1] - source[height // 2, 0])) / (width - 1)
    down = np.hypot(*(source[-1, width // 2] - source[0, width // 2])) / (height - 1)
    return float(np.sqrt(across * down))


def _inside(where: NDArray[np.float32], size: Size) -> NDArray[np.bool_]:
    x, y = where[..., 0], where[..., 1]
    return (x >= -0.5) & (y >= -0.5) & (x <= size.width - 0.5) & (y <= size.height - 0.5)


def _mirror_into(where: NDArray[np.float32], size: Size, reach: float) -> NDArray[np.bool_]:
    """Reflect positions up to ``reach`` outside back in, in place; return which are in."""
    for axis, extent in ((0, size.width), (1, size.height)):
        position = where[..., axis]
        mirrored = (extent - 1) - np.abs((extent - 1) - np.abs(position))
        near = np.abs(mirrored - position) <= 2 * reach
        position[near] = mirrored[near]
    return _inside(where, size)


def _read_downsample(moving: Slide, scale: float) -> float:
    """Return the downsample to read at: a stored level, or a whole multiple of one."""
    stored = moving.levels[moving.level_for(scale * 1.25)].downsample
    return stored * max(1, math.floor(scale / stored + 0.25))


def _sample(
    moving: Slide, downsample: float, where: NDArray[np.float32], wanted: NDArray[np.bool_]
) -> Image:
    """Read what ``where`` needs and interpolate it (bicubic)."""
    height, width = where.shape[:2]
    if not wanted.any():
        return np.zeros((height, width, 3), np.uint8)
    needed = where[wanted]
    low = np.floor(needed.min(axis=0)).astype(int) - _READ_MARGIN_PX
    high = np.ceil(needed.max(axis=0)).astype(int) + _READ_MARGIN_PX
    box = Box(int(low[0]), int(low[1]), int(high[0] - low[0] + 1), int(high[1] - low[1] + 1))
    if max(box.width, box.height) > MAX_READ_PX:
        raise ValueError(f"a warped box needs {box.width} x {box.height} px at once")
    pixels = moving.read_scaled(box, downsample)
    return np.asarray(
        cv2.remap(
            pixels,
            where - np.array([box.x, box.y], np.float32),
            None,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )
