"""Cells drawn into a tile: nuclei as soft-edged shapes, cell borders as a Voronoi diagram.

Each cell is evaluated analytically on a small patch around its exact centre, all patches of one
size at once, and merged into the tile. A border of ``pad`` pixels spares all clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box
from registration.synth.noise import Float32
from registration.synth.section import PlacedCells

EDGE_PX = 1.3
"""Width over which the border of a nucleus fades."""
CHUNK_TEXELS = 250_000
FAR_UM = 1000.0
PATCH_SIDES = (16, 24, 32, 48, 64, 96, 160, 256)
"""Sides of patches in pixels; a nucleus is drawn on the smallest that holds it."""


def draw_nuclei(placed: PlacedCells, box: Box, swell: Float32) -> Float32:
    """Return the haematoxylin of all nuclei on ``box``, ``(h, w)``, 0 where there is none.

    ``swell`` scales each nucleus, ``(N,)``: consecutive sections cut it at different heights.
    """
    frames = _nuclear_frames(placed, swell)
    reach = np.minimum(2.5 / _smallest_stretch(frames) + 3, PATCH_SIDES[-1])
    classes = np.searchsorted(PATCH_SIDES, reach)
    canvas = _Canvas.of(box, PATCH_SIDES[classes.max(initial=0)], 0.0)
    for number, side in enumerate(PATCH_SIDES):
        for chunk in _chunks(canvas.touching(placed, side, classes == number), side):
            offsets, corners = canvas.offsets(placed.center[chunk], side)
            patches = _nucleus_patches(
                offsets, frames[chunk], placed.cells.wobble[chunk], _look(placed, chunk)
            )
            for patch, (x, y) in zip(patches, corners, strict=True):
                target = canvas.values[y : y + side, x : x + side]
                np.maximum(target, patch, out=target)
    return canvas.inner()


def draw_borders(
    placed: PlacedCells, box: Box, reach_um: float, mpp: float
) -> tuple[Float32, Float32]:
    """Return the distances in µm to the nearest and second-nearest cell centre, ``(h, w)`` each.

    Each cell measures by its own metric, which bends the borders between cells. Beyond
    ``reach_um`` of any centre they are :data:`FAR_UM`.
    """
    frames = np.asarray(placed.cells.body @ placed.to_scene, np.float32)
    side = 2 * round(reach_um / (0.9 * mpp))
    first, second = _Canvas.of(box, side, FAR_UM), _Canvas.of(box, side, FAR_UM)
    everywhere = np.ones(len(placed.cells), np.bool_)
    for chunk in _chunks(first.touching(placed, side, everywhere), side):
        offsets, corners = first.offsets(placed.center[chunk], side)
        dx, dy = _mapped(frames[chunk], offsets)
        patches = np.sqrt(dx * dx + dy * dy)
        patches[patches > reach_um] = FAR_UM
        for patch, (x, y) in zip(patches, corners, strict=True):
            f1 = first.values[y : y + side, x : x + side]
            f2 = second.values[y : y + side, x : x + side]
            np.minimum(f2, np.maximum(f1, patch), out=f2)
            np.minimum(f1, patch, out=f1)
    return first.inner(), second.inner()


@dataclass(frozen=True, eq=False)
class _Canvas:
    """A tile with a border wide enough for every patch that touches the tile."""

    box: Box
    pad: int
    values: Float32

    @classmethod
    def of(cls, box: Box, pad: int, value: float) -> _Canvas:
        shape = box.expanded(pad).size.shape
        return cls(box, pad, np.full(shape, value, np.float32))

    def touching(
        self, placed: PlacedCells, side: int, among: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return which cells have a patch of ``side`` px that touches the tile."""
        return np.flatnonzero(among & self.box.expanded(side // 2).contains(placed.center))

    def offsets(
        self, center: NDArray[np.float64], side: int
    ) -> tuple[tuple[Float32, Float32], list[list[int]]]:
        """Return offsets of patch pixels from the centres, and the patches' corners."""
        corner = np.floor(center).astype(np.int64) - side // 2 + 1
        start = (corner - center).astype(np.float32)
        steps = np.arange(side, dtype=np.float32)
        dx = (start[:, 0, None] + steps)[:, None, :]
        dy = (start[:, 1, None] + steps)[:, :, None]
        return (dx, dy), (corner - (self.box.x - self.pad, self.box.y - self.pad)).tolist()

    def inner(self) -> Float32:
        return self.values[self.pad : -self.pad, self.pad : -self.pad]


def _chunks(chosen: NDArray[np.int64], side: int) -> list[NDArray[np.int64]]:
    """Split cells so that one chunk's patches stay small."""
    count = max(1, CHUNK_TEXELS // side**2)
    return [chosen[start : start + count] for start in range(0, len(chosen), count)]


def _mapped(frames: Float32, offsets: tuple[Float32, Float32]) -> tuple[Float32, Float32]:
    """Apply ``(N, 2, 2)`` matrices to the offsets of ``N`` patches."""
    dx, dy = offsets
    m = frames[:, :, :, None, None]
    return m[:, 0, 0] * dx + m[:, 0, 1] * dy, m[:, 1, 0] * dx + m[:, 1, 1] * dy


def _nuclear_frames(placed: PlacedCells, swell: Float32) -> Float32:
    """Return matrices from an offset in pixels to one in half axes of each nucleus."""
    cos, sin = np.cos(placed.cells.angle), np.sin(placed.cells.angle)
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)
    axes = (placed.cells.radii * swell[:, None])[:, :, None]
    return np.asarray((turn / axes) @ placed.to_scene, np.float32)


def _smallest_stretch(frames: Float32) -> Float32:
    """Return the smallest singular value of each matrix."""
    square = (frames**2).sum(axis=(1, 2))
    determinant = np.abs(np.linalg.det(frames))
    root = np.sqrt(np.maximum(square**2 - 4 * determinant**2, 0))
    return np.asarray(np.sqrt(np.maximum((square - root) / 2, 1e-9)))


def _look(placed: PlacedCells, chunk: NDArray[np.int64]) -> Float32:
    """Return ``(N, 5)``: density, hollow, nucleolus x, y, strength."""
    cells = placed.cells
    return np.column_stack([cells.density[chunk], cells.hollow[chunk], cells.nucleolus[chunk]])


def _nucleus_patches(
    offsets: tuple[Float32, Float32], frames: Float32, wobble: Float32, look: Float32
) -> Float32:
    """Return ``(N, side, side)`` haematoxylin of nuclei."""
    u, v = _mapped(frames, offsets)
    radius = np.sqrt(u * u + v * v) + 1e-6
    c, s = u / radius, v / radius
    w = wobble[:, :, None, None]
    bound = 1 + w[:, 0] * (c * c - s * s) + w[:, 1] * (2 * c * s)
    bound += w[:, 2] * c * (4 * c * c - 3) + w[:, 3] * s * (3 - 4 * s * s)
    depth = bound - radius
    scale = np.sqrt(1 / np.abs(np.linalg.det(frames))).astype(np.float32)[:, None, None]
    alpha = np.clip(depth * (scale / EDGE_PX) + 0.5, 0, 1)
    k = look[:, :, None, None]
    edge = np.clip(1 - depth * 2.5, 0, 1)
    body = 1 - k[:, 1] * (1 - edge * edge)
    spot = (u - k[:, 2]) ** 2 + (v - k[:, 3]) ** 2
    body += k[:, 4] * np.clip(1.4 - spot * 16, 0, 1)
    return np.asarray(alpha * body * k[:, 0], np.float32)
