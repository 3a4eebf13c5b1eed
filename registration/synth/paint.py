"""Pixels of a section, tile by tile.

The tile is the unit: its pixels depend on its place alone, so that tiles can be painted in any
order and by any process. Slowly varying maps are evaluated on every eighth pixel and interpolated
(Catmull-Rom); textures, nuclei and cell borders at every pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Image
from registration.synth import optics
from registration.synth.cells import ADIPOCYTE, BENIGN, FIBROBLAST, TUMOUR
from registration.synth.noise import TEXTURE_SIDE, Float32, Texture
from registration.synth.section import Cut, PlacedCells
from registration.synth.sprites import draw_borders, draw_nuclei

TILE_PX = 512
NODE_PX = 8
HALO_PX = 8
EDGE_UM = 0.9
CELL_REACH_UM = 13.5
FAT_REACH_UM = 48.0


class Painter:
    """Paints one section; holds what all its tiles share."""

    def __init__(self, cut: Cut) -> None:
        seed = cut.settings.seed
        self.cut = cut
        self.grain = Texture.band((3, 14), [seed, 501])
        self.fibre = Texture.band((6, 40), [seed, 502])
        self.patchy = Texture.band((20, 60), [seed, 503])

    def tile(self, box: Box) -> Image:
        """Return the pixels of one tile."""
        cut = self.cut
        outer = box.expanded(HALO_PX)
        view = _View(cut, outer)
        if float(view.nodes_of(cut.scene.tissue).max()) < -4:
            light = optics.transmitted(cut.section, (np.zeros(outer.size.shape, np.float32),) * 2)
        else:
            light = optics.transmitted(cut.section, self._dyes(view))
            light = optics.focused(light, cut.mpp)
        light = light[HALO_PX:-HALO_PX, HALO_PX:-HALO_PX]
        number = 0 if cut.section == "he" else 1
        light = light * optics.illumination(box, cut.size, cut.settings.seed * 2 + number)
        return optics.digitised(light, [cut.settings.seed, 601 + number, box.y, box.x])

    def bands(self) -> Iterator[Image]:
        """Yield the slide from top to bottom, a row of tiles at a time."""
        width, height = self.cut.size.width, self.cut.size.height
        for y in range(0, height, TILE_PX):
            row = Box(0, y, width, min(TILE_PX, height - y))
            yield np.concatenate([self.tile(box) for box in row.tiles(TILE_PX)], axis=1)

    def image(self) -> Image:
        """Return the whole slide."""
        return np.concatenate(list(self.bands()))

    def _dyes(self, view: _View) -> tuple[Float32, Float32]:
        layers = self._layers(view)
        return self._he(layers) if self.cut.section == "he" else self._ihc(layers)

    def _layers(self, view: _View) -> _Layers:
        """Evaluate everything both stains need."""
        scene, cut = self.cut.scene, self.cut
        cells = cut.cells_near(view.box.expanded(round(FAT_REACH_UM / cut.mpp)))
        kind = cells.cells.kind
        seen = cells.cells.in_he if cut.section == "he" else cells.cells.in_ihc
        tissue = _step(view.smooth(scene.tissue))
        epithelium = view.smooth(scene.epithelium)
        lumen = _step(view.smooth(scene.lumen))
        fibres = self._fibres(view)
        fat, fat_wall = self._fat(view, cells.take(np.flatnonzero(kind == ADIPOCYTE)))
        gap = self.patchy.at(*view.texels(1.1)) + 0.6 * fibres
        cleft = _step((np.abs(epithelium + 2.5) - 1.6) * -1) * np.clip(gap * 1.5 - 0.4, 0, 1)
        split = np.clip((fibres - 1.75) * 2.5, 0, 1) * (epithelium < -3)
        white = np.maximum(np.maximum(fat, lumen), np.maximum(cleft, split) * 0.85)
        epithelial = cells.take(np.flatnonzero((kind == TUMOUR) | (kind == BENIGN)))
        return _Layers(
            tissue=tissue * (1 - white),
            epithelium=_step(epithelium) * (1 - lumen),
            membrane=self._membrane(view, epithelial, epithelium),
            fibres=fibres,
            fat_wall=fat_wall * tissue,
            nuclei=self._nuclei(view, cells.take(np.flatnonzero(seen & (kind != ADIPOCYTE)))),
            grain=self.grain.at(*view.texels(1.9)),
            malignant=view.smooth(scene.malignant),
            positive=view.smooth(scene.positive),
            patchy=self.patchy.at(*view.texels(1.4)),
        )

    def _fibres(self, view: _View) -> Float32:
        """Return wavy collagen: noise stretched along a warped direction."""
        scene, nodes = self.cut.scene, view.nodes
        swirl = view.nodes_of(scene.positive), view.nodes_of(scene.inflamed)
        u = view.upsampled(0.8 * nodes[..., 0] + 0.6 * nodes[..., 1] + 60 * swirl[0])
        v = view.upsampled(0.8 * nodes[..., 1] - 0.6 * nodes[..., 0] + 60 * swirl[1])
        coarse = self.fibre.at(u * 2.2, v * 0.35)
        fine = self.grain.at(u * 1.6, v * 0.22)
        return np.asarray(0.75 * coarse + 0.55 * fine, np.float32)

    def _fat(self, view: _View, cells: PlacedCells) -> tuple[Float32, Float32]:
        """Return where adipocytes are empty, and their thin walls."""
        if not len(cells.cells):
            zero = np.zeros(view.box.size.shape, np.float32)
            return zero, zero
        nearest, second = draw_borders(cells, view.box, FAT_REACH_UM)
        body = np.minimum((second - nearest) * 0.5, 40 - nearest)
        return _step(body - 1.4), _step(1.4 - np.abs(body - 0.4))

    def _membrane(self, view: _View, cells: PlacedCells, epithelium: Float32) -> Float32:
        """Return how much of each pixel is cell membrane, 0 to 1."""
        nearest, second = draw_borders(cells, view.box, CELL_REACH_UM)
        between = np.exp(-(((second - nearest) / 1.5) ** 2))
        border = 0.7 * np.exp(-(((epithelium - 0.8) / 0.9) ** 2))
        return np.maximum(between * (nearest < CELL_REACH_UM), border)

    def _nuclei(self, view: _View, cells: PlacedCells) -> Float32:
        """Return the haematoxylin of the nuclei this section shows."""
        phase = cells.cells.angle * 7919 + (0 if self.cut.section == "he" else 1.7)
        swell = (1 + 0.07 * np.sin(phase)).astype(np.float32)
        return draw_nuclei(cells, view.box, swell)

    def _he(self, on: _Layers) -> tuple[Float32, Float32]:
        """Return haematoxylin and eosin."""
        stroma = 1 - on.epithelium
        collagen = np.clip(0.42 + 0.13 * on.fibres, 0.06, 1.2)
        cytoplasm = 0.36 + 0.05 * on.grain + 0.10 * on.membrane
        eosin = on.tissue * (stroma * collagen + on.epithelium * cytoplasm) + 0.35 * on.fat_wall
        body = np.clip(on.nuclei * 2, 0, 1) * on.tissue
        chromatin = on.nuclei * (1 + 0.22 * on.grain) * on.tissue
        haematoxylin = on.tissue * (0.05 * stroma + 0.17 * on.epithelium) + chromatin
        return np.maximum(haematoxylin, 0), eosin * (1 - 0.35 * body)

    def _ihc(self, on: _Layers) -> tuple[Float32, Float32]:
        """Return haematoxylin and DAB."""
        level = HER2_LOOKS[self.cut.settings.her2]
        stroma = 1 - on.epithelium
        chromatin = on.nuclei * (1 + 0.2 * on.grain) * on.tissue
        haematoxylin = 0.62 * chromatin
        haematoxylin += on.tissue * (stroma * (0.13 + 0.05 * on.fibres) + 0.16 * on.epithelium)
        haematoxylin += 0.10 * on.fat_wall
        cover = np.clip((level.complete + 0.45 * on.patchy) * 2, 0, 1)
        strength = np.clip(1 + 0.3 * on.positive, 0.2, 1.7) * np.clip(on.malignant, 0.12, 1)
        brown = level.membrane * on.membrane * cover + level.cytoplasm * (1 + 0.25 * on.grain)
        dab = on.tissue * (on.epithelium * strength * brown + 0.03 + 0.012 * on.fibres)
        return np.maximum(haematoxylin, 0), np.maximum(dab, 0)


@dataclass(frozen=True, slots=True)
class Her2Look:
    """How much DAB a level shows: in the membrane, in the cytoplasm, and how complete the ring is."""

    membrane: float
    cytoplasm: float
    complete: float


HER2_LOOKS = {
    "0": Her2Look(0.0, 0.02, 0.0),
    "1+": Her2Look(0.35, 0.06, 0.15),
    "2+": Her2Look(0.85, 0.12, 0.55),
    "3+": Her2Look(1.9, 0.30, 1.2),
}


@dataclass(frozen=True, slots=True)
class _Layers:
    """What lies under each pixel of a tile, all ``(h, w)``."""

    tissue: Float32
    epithelium: Float32
    membrane: Float32
    fibres: Float32
    fat_wall: Float32
    nuclei: Float32
    grain: Float32
    malignant: Float32
    positive: Float32
    patchy: Float32


class _View:
    """A tile's nodes in the scene, and interpolation from nodes to pixels."""

    def __init__(self, cut: Cut, box: Box) -> None:
        self.cut, self.box = cut, box
        self._x0 = (box.x // NODE_PX - 1) * NODE_PX
        self._y0 = (box.y // NODE_PX - 1) * NODE_PX
        self._across = _catmull_rom(box.x - self._x0, box.width)
        self._down = _catmull_rom(box.y - self._y0, box.height)
        xs = self._x0 + NODE_PX * np.arange(self._across.shape[1], dtype=np.float64)
        ys = self._y0 + NODE_PX * np.arange(self._down.shape[1], dtype=np.float64)
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


def _step(distance_um: Float32) -> Float32:
    """Return 0 outside to 1 inside over :data:`EDGE_UM`."""
    return np.clip(distance_um * np.float32(1 / EDGE_UM) + np.float32(0.5), 0, 1)
