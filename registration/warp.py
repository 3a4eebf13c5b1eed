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

from registration.geometry import (
    Box,
    Image,
    Size,
    axis_positions,
    from_level0,
    spaced,
    to_level0,
)
from registration.piece_map import MappedPiece, PieceMap, span
from registration.slides.slide import Slide
from registration.transforms import Transform

MESH_STEP_PX = 8
"""The chain is evaluated on a mesh of this step and interpolated linearly between: at level 0, with a
warp of 90 px over a wavelength of 2,000 px, that is 0.007 px from exact ..."""

WIDEST_MESH_PX = 20
"""... and the mesh of a smaller level is no wider than this in level-0 pixels: 0.05 px from exact."""

FILL_REACH_UM = 100.0
"""A gap this wide at the edge of the moving slide is filled with the content beside it, mirrored;
what lies farther out has no neighbour to speak of and becomes white, as glass is."""

MAX_READ_PX = 30_000
"""cv2.remap addresses at most 32,767 pixels a side."""

TERRITORY_STEP_PX = 4
"""Where a piece's territory ends on the moving slide is looked up at every fourth pixel."""

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
    has no source stays black, as in the paper before its post-processing. Of several pieces each is
    warped by its own chain; what lies between them is white.
    """
    if isinstance(chain, PieceMap):
        return _warp_pieces(moving, chain, box, downsample)
    mesh = _Mesh.of(chain, box, downsample)
    read_downsample = _read_downsample(moving, mesh.scale)
    size = moving.size.downsampled(read_downsample)
    nodes = from_level0(mesh.positions, read_downsample)
    reach = FILL_REACH_UM / (moving.mpp * read_downsample) if fill else 0.0
    read = _read_box(nodes, size, reach)
    ground = _WHITE if fill else (0, 0, 0)
    shape = (box.height, box.width)
    if read is None:
        return Warped(np.full((*shape, 3), ground, np.uint8), np.zeros(shape, bool))
    if max(read.width, read.height) > MAX_READ_PX:
        raise ValueError(f"a warped box needs {read.width} x {read.height} px at once")
    where = mesh.dense(nodes - [read.x, read.y])
    has_source = near = np.ones(shape, bool)
    if not _all_inside(nodes, size):
        has_source = _inside(where, read, size)
        near = _mirror_into(where, read, size, reach)
    pixels = moving.read_scaled(read, read_downsample)
    image = cv2.remap(pixels, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if not near.all():
        image[~near] = ground
    return Warped(np.asarray(image, np.uint8), has_source)


def _warp_pieces(moving: Slide, chain: PieceMap, box: Box, downsample: float) -> Warped:
    """Warp the part of a box that lies in a piece's territory, from its territory alone."""
    shape = (box.height, box.width)
    warped = Warped(np.full((*shape, 3), 255, np.uint8), np.zeros(shape, bool))
    owner = chain.fixed_territories.on_grid(
        axis_positions(box.x, box.width, downsample), axis_positions(box.y, box.height, downsample)
    )
    for piece in chain.pieces:
        own = owner == piece.number
        if not own.any():
            continue
        rows, columns = span(own)
        own = own[rows, columns]
        part = Box(box.x + columns.start, box.y + rows.start, own.shape[1], own.shape[0])
        own &= _from_territory(chain, piece, part, downsample)
        found = warp_box(moving, piece.chain, part, downsample)
        # Several times as fast as numpy's own; it writes into the view.
        cv2.copyTo(found.image, own.astype(np.uint8), warped.image[rows, columns])
        np.copyto(warped.has_source[rows, columns], found.has_source, where=own)
    return warped


def _from_territory(
    chain: PieceMap, piece: MappedPiece, box: Box, downsample: float
) -> NDArray[np.bool_]:
    """Return which pixels of a level's box come from the piece's territory on the moving slide.

    It is looked up at places anchored to the slide, so that every box sees the same.
    """
    step = TERRITORY_STEP_PX
    x, y = box.x // step, box.y // step
    columns, rows = (box.right - 1) // step - x + 1, (box.bottom - 1) // step - y + 1
    xs = to_level0(spaced(columns, step, step * x + (step - 1) / 2), downsample)
    ys = to_level0(spaced(rows, step, step * y + (step - 1) / 2), downsample)
    mapped = piece.chain.on_grid(xs, ys)
    inside = chain.moving_territories.at(mapped.reshape(-1, 2)) == piece.number
    dense = inside.reshape(rows, columns).repeat(step, axis=0).repeat(step, axis=1)
    top, left = box.y - step * y, box.x - step * x
    return np.asarray(dense[top : top + box.height, left : left + box.width])


@dataclass(frozen=True, eq=False)
class _Mesh:
    """Moving level-0 positions at the crossings of a mesh over a box."""

    box: Box
    step: int
    positions: NDArray[np.float64]
    """``(rows, columns, 2)``; the mesh is anchored to the slide, not to the box."""

    @classmethod
    def of(cls, chain: Transform, box: Box, downsample: float) -> _Mesh:
        step = next(
            (step for step in (MESH_STEP_PX, 4, 2) if step * downsample <= WIDEST_MESH_PX), 1
        )
        first_x, first_y = box.x // step, box.y // step
        columns = (box.right - 1) // step - first_x + 2
        rows = (box.bottom - 1) // step - first_y + 2
        xs = to_level0(spaced(columns, step, step * first_x), downsample)
        ys = to_level0(spaced(rows, step, step * first_y), downsample)
        return cls(box, step, chain.on_grid(xs, ys))

    @property
    def scale(self) -> float:
        """Moving level-0 pixels per pixel of the box."""
        rows, columns = self.positions.shape[:2]
        middle_row, middle_column = self.positions[rows // 2], self.positions[:, columns // 2]
        across = np.hypot(*(middle_row[-1] - middle_row[0])) / (columns - 1)
        down = np.hypot(*(middle_column[-1] - middle_column[0])) / (rows - 1)
        return float(np.sqrt(across * down)) / self.step

    def dense(self, nodes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Interpolate values at the crossings linearly to every pixel: ``(height, width, 2)``."""
        # Pixels lie at multiples of 1/8 of the mesh, which linear interpolation in cv2 (in steps of
        # 1/32) meets exactly.
        box, step = self.box, self.step
        matrix = np.array(
            [
                [1 / step, 0, box.x / step - box.x // step],
                [0, 1 / step, box.y / step - box.y // step],
            ]
        )
        dense = cv2.warpAffine(
            nodes.astype(np.float32),
            matrix,
            (box.width, box.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(dense, np.float32)


def _read_box(nodes: NDArray[np.float64], size: Size, reach: float) -> Box | None:
    """Return what must be read for positions at ``nodes``; ``None`` where all lie far outside."""
    low, high = nodes.reshape(-1, 2).min(axis=0), nodes.reshape(-1, 2).max(axis=0)
    last = np.array([size.width - 1, size.height - 1], np.float64)
    if (high < -reach - 1).any() or (low > last + reach + 1).any():
        return None
    # positions outside are mirrored to at most ``reach`` inside
    low = np.minimum(np.maximum(low, 0), last - reach * (high > last))
    high = np.maximum(np.minimum(high, last), reach * (low <= 0))
    x, y = (math.floor(value) - _READ_MARGIN_PX for value in low)
    right, bottom = (math.ceil(value) + _READ_MARGIN_PX + 1 for value in high)
    return Box(x, y, right - x, bottom - y)


def _read_downsample(moving: Slide, scale: float) -> float:
    """Return the downsample to read at: a stored level, or a whole multiple of one."""
    stored = moving.levels[moving.level_for(scale * 1.25)].downsample
    return stored * max(1, math.floor(scale / stored + 0.25))


def _all_inside(nodes: NDArray[np.float64], size: Size) -> bool:
    x, y = nodes.reshape(-1, 2).min(axis=0)
    right, bottom = nodes.reshape(-1, 2).max(axis=0)
    return bool(x >= 0 and y >= 0 and right <= size.width - 1 and bottom <= size.height - 1)


def _inside(where: NDArray[np.float32], read: Box, size: Size) -> NDArray[np.bool_]:
    """Return which positions, counted from the corner of ``read``, lie on the level's pixels."""
    x, y = where[..., 0], where[..., 1]
    left, top = -0.5 - read.x, -0.5 - read.y
    return (x >= left) & (y >= top) & (x <= left + size.width) & (y <= top + size.height)


def _mirror_into(
    where: NDArray[np.float32], read: Box, size: Size, reach: float
) -> NDArray[np.bool_]:
    """Reflect positions up to ``reach`` outside back in, in place; return which are in."""
    for axis, (offset, extent) in enumerate(((read.x, size.width), (read.y, size.height))):
        position = where[..., axis] + np.float32(offset)
        mirrored = (extent - 1) - np.abs((extent - 1) - np.abs(position))
        near = np.abs(mirrored - position) <= 2 * reach
        where[..., axis][near] = mirrored[near] - np.float32(offset)
    return _inside(where, read, size)
