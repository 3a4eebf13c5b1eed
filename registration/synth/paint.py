"""Pixels of a section, tile by tile.

The tile is the unit: its pixels depend on its place alone, so that tiles can be painted in any
order and by any process. Slowly varying maps are evaluated on every eighth pixel and interpolated
(Catmull-Rom); textures, nuclei and cell borders at every pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from registration.files.her2 import Her2
from registration.geometry import Box, Image, Size
from registration.synth import optics
from registration.synth.damage import (
    REACH_PX,
    REMOVING,
    Damage,
    fold_tissue,
    plan_damage,
    remove_tissue,
    spoil_light,
)
from registration.synth.layers import Layers, Textures, evaluate
from registration.synth.noise import Float32
from registration.synth.section import Cut
from registration.synth.settings import Section, SynthSettings
from registration.synth.view import TileView

TILE_PX = 512
HALO_PX = 8
GLASS_UM = 4.0
"""A tile this far from any tissue is bare glass."""

Dyes = tuple[Float32, Float32]
"""Amounts of a section's two dyes, ``(h, w)`` each."""


class SlidePainter(ABC):
    """Paints one slide tile by tile: light through whatever lies there, uneven, then digitised."""

    def __init__(self, size: Size, section: Section, settings: SynthSettings) -> None:
        number = settings.number_of(section)
        self.size = size
        self.sensor = optics.Sensor(settings.seed, number)
        self._light_seed = [settings.seed, number]

    @abstractmethod
    def transmitted(self, box: Box) -> Float32:
        """Return the light that even illumination sends through the slide, ``(h, w, 3)``."""

    def tile(self, box: Box) -> Image:
        """Return the pixels of one tile."""
        return self.sensor.digitised(self.light(box), box)

    def light(self, box: Box) -> Float32:
        """Return the light that reaches the sensor, ``(h, w, 3)`` in grey levels."""
        return self.transmitted(box) * optics.illumination(box, self.size, self._light_seed)

    def bands(self) -> Iterator[Image]:
        """Yield the slide from top to bottom, a row of tiles at a time."""
        width, height = self.size.width, self.size.height
        for y in range(0, height, TILE_PX):
            row = Box(0, y, width, min(TILE_PX, height - y))
            band = np.empty((row.height, width, 3), np.uint8)
            for box in row.tiles(TILE_PX):
                band[:, box.x : box.right] = self.tile(box)
            yield band

    def image(self) -> Image:
        """Return the whole slide."""
        return np.concatenate(list(self.bands()))


class Painter(SlidePainter):
    """Paints one section; holds what all its tiles share."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(cut.size, cut.section, cut.settings)
        self.cut = cut
        self.textures = Textures(cut.settings.seed, cut.number)
        self.damage = plan_damage(cut)

    def transmitted(self, box: Box) -> Float32:
        """Return the light that even illumination sends through the section."""
        cut = self.cut
        damage = [item for item in self.damage if item.touches(box)]
        halo = REACH_PX if damage else HALO_PX
        view = TileView(cut, box.expanded(halo))
        depths = [view.inside(item.shape) for item in damage]
        light = optics.transmitted(cut.section, self._dyes(view, damage, depths))
        light = optics.focused(light, cut.mpp)
        for item, depth in zip(damage, depths, strict=True):
            light = spoil_light(light, item, depth, cut.mpp)
        return light[halo:-halo, halo:-halo]

    def _dyes(self, view: TileView, damage: Sequence[Damage], depths: Sequence[Float32]) -> Dyes:
        """Return the amounts of both dyes, tissue torn, lost or folded included."""
        if float(view.nodes_of(self.cut.scene.tissue).max()) < -GLASS_UM:
            bare = np.zeros(view.box.size.shape, np.float32)
            return bare, bare
        layers = evaluate(view, self.textures)
        if self.cut.section == "he":
            first, second = haematoxylin_eosin(layers)
        else:
            first, second = haematoxylin_dab(layers, look_of(self.cut.settings))
        for item, depth in zip(damage, depths, strict=True):
            if item.kind in REMOVING:
                first, second = (
                    remove_tissue(dye, depth, layers.patchy) for dye in (first, second)
                )
            elif item.kind == "fold":
                first, second = (fold_tissue(dye, depth) for dye in (first, second))
        return first, second


def haematoxylin_eosin(on: Layers) -> Dyes:
    """Return the amounts of haematoxylin and eosin."""
    stroma = 1 - on.epithelium
    collagen = np.clip(0.48 - 0.11 * on.bundles + 0.11 * on.fibres, 0.12, 1.2)
    collagen *= 1 - 0.45 * on.fat
    cytoplasm = 0.50 + 0.035 * on.grain + 0.05 * on.patchy - 0.16 * on.membrane
    body = np.clip(on.nuclei * 2, 0, 1)
    eosin = on.tissue * (stroma * collagen + on.epithelium * cytoplasm) * (1 - 0.3 * body)
    haematoxylin = on.tissue * (
        on.nuclei * (1 + 0.20 * on.chromatin)
        + 0.04 * stroma
        + on.epithelium * (0.16 + 0.015 * on.grain)
    )
    debris = on.lumen * np.clip(on.filling, 0, 1) * (on.filling < 1.5)
    eosin += debris * (0.22 + 0.35 * np.clip(on.filling - 0.5, 0, 1)) * (1 + 0.25 * on.patchy)
    haematoxylin += debris * np.clip(on.filling - 0.6, 0, 1) * np.clip(on.grain - 0.9, 0, 1) * 0.8
    eosin += 0.95 * on.erythrocytes * on.lumen
    return np.maximum(haematoxylin, 0), np.maximum(eosin, 0)


def haematoxylin_dab(on: Layers, look: Look) -> Dyes:
    """Return the amounts of haematoxylin and DAB, in membranes or in nuclei."""
    stroma = 1 - on.epithelium
    haematoxylin = on.tissue * (
        0.60 * on.nuclei * (1 + 0.20 * on.chromatin)
        + stroma * (0.11 - 0.03 * on.bundles + 0.025 * on.fibres) * (1 - 0.4 * on.fat)
        + 0.13 * on.epithelium
    )
    cover = np.clip((look.complete + 0.4 * on.patchy + 0.35 * on.positive) * 1.6, 0, 1)
    strength = np.clip(1 + 0.22 * on.positive, 0.3, 1.6) * np.clip(on.malignant, 0.10, 1)
    brown = look.membrane * on.membrane * cover
    brown += look.cytoplasm * (1 + 0.3 * on.grain + 0.25 * on.patchy)
    background = 0.035 + 0.012 * on.fibres - 0.008 * on.bundles
    dab = on.tissue * (on.epithelium * strength * brown + background)
    dab += on.tissue * on.stained * (1 + 0.15 * on.chromatin)
    haematoxylin -= 0.30 * on.tissue * np.minimum(on.stained, on.nuclei)
    filled = on.lumen * np.clip(on.filling, 0, 1) * (on.filling < 1.5)
    dab += filled * (0.06 + 0.10 * np.clip(on.filling - 0.5, 0, 1)) * (1 + 0.25 * on.patchy)
    haematoxylin += 0.10 * on.erythrocytes * on.lumen
    dab += 0.10 * on.erythrocytes * on.lumen
    return np.maximum(haematoxylin, 0), np.maximum(dab, 0)


@dataclass(frozen=True, slots=True)
class Look:
    """How much DAB a stain shows beside nuclei: in membranes, in cytoplasm, how complete the ring is."""

    membrane: float
    cytoplasm: float
    complete: float


HER2_LOOKS: dict[Her2, Look] = {
    "0": Look(0.0, 0.02, 0.0),
    "1+": Look(0.28, 0.05, 0.0),
    "2+": Look(0.80, 0.15, 0.45),
    "3+": Look(1.8, 0.38, 1.2),
}
NUCLEAR_LOOK = Look(0.0, 0.02, 0.0)


def look_of(settings: SynthSettings) -> Look:
    """Return what DAB shows beside nuclei: that of a HER2 level, or next to nothing."""
    return HER2_LOOKS[settings.her2] if settings.stain == "HER2" else NUCLEAR_LOOK
