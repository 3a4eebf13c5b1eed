"""A tile in the scene: maps at its nodes, and interpolation from nodes to pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, mesh
from registration.synth.damage import Shape
from registration.synth.noise import TEXTURE_SIDE, Float32
from registration.synth.section import Cut

NODE_PX = 8


class TileView:
    """A tile's nodes in the scene, and interpolation from nodes to pixels."""

    def __init__(self, cut: Cut, box: Box) -> None:
        self.cut, self.box = cut, box
        self._x0 = (box.x // NODE_PX - 1) * NODE_PX
        self._y0 = (box.y // NODE_PX - 1) * NODE_PX
        self._across = _catmull_rom(box.x - self._x0, box.width)
        self._down = _catmull_rom(box.y - self._y0, box.height)
        xs = self._x0 + NODE_PX * np.arange(self._across.shape[1], dtype=np.float64)
        ys = self._y0 + NODE_PX * np.arange(self._down.shape[1], dtype=np.float64)
        self._pixels = mesh(xs, ys)
        self.nodes = cut.scene_grid(xs, ys)
        self._origin = self.nodes[0, 0].copy()
        local = self.nodes - self._origin
        self._local = self.upsampled(local[..., 0]), self.upsampled(local[..., 1])

    def nodes_of(self, layer: NDArray[np.float16]) -> Float32:
        """Return a layer of the scene at the nodes."""
        return self.cut.scene.at(layer, self.nodes.reshape(-1, 2)).reshape(self.nodes.shape[:2])

    def smooth(self, layer: NDArray[np.float16]) -> Float32:
        """Return a layer of the scene at every pixel."""
        return self.upsampled(self.nodes_of(layer))

    def inside(self, shape: Shape) -> Float32:
        """Return the distance in px of every pixel to the border of a shape, positive inside."""
        return self.upsampled(shape.distance(self._pixels).reshape(self.nodes.shape[:2]))

    def upsampled(self, values: NDArray[np.floating]) -> Float32:
        """Interpolate node values; positions keep their precision by a shift to the first node."""
        shift = float(values.flat[0])
        local = (values - shift).astype(np.float32)
        return np.asarray(self._down @ local @ self._across.T + np.float32(shift), np.float32)

    def texels(self, per_um: float) -> tuple[Float32, Float32]:
        """Return the texel positions of every pixel in a texture of ``per_um`` texels per µm."""
        start = np.mod(self._origin * per_um, TEXTURE_SIDE)
        x, y = (
            axis * np.float32(per_um) + np.float32(first)
            for axis, first in zip(self._local, start, strict=True)
        )
        return x, y


@lru_cache(maxsize=8)
def _catmull_rom(start: int, count: int) -> Float32:
    """Return ``(count, nodes)`` weights from nodes every :data:`NODE_PX` to pixels."""
    position = (start + np.arange(count)) / NODE_PX
    base = np.floor(position).astype(int)
    t = position - base
    weights = np.stack(
        [
            -0.5 * t**3 + t**2 - 0.5 * t,
            1.5 * t**3 - 2.5 * t**2 + 1,
            -1.5 * t**3 + 2 * t**2 + 0.5 * t,
            0.5 * t**3 - 0.5 * t**2,
        ],
        axis=1,
    )
    basis = np.zeros((count, int(base[-1]) + 3), np.float32)
    for k in range(4):
        basis[np.arange(count), base + k - 1] = weights[:, k]
    return basis
