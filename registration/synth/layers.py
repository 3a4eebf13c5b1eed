"""What lies under each pixel of a tile, before any stain: evaluated from the scene and its cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from registration.synth.cells import ADIPOCYTE, BENIGN, ERYTHROCYTE, FAT_RADIUS_UM, TUMOUR
from registration.synth.noise import Float32, Texture
from registration.synth.section import PlacedCells
from registration.synth.sprites import draw_borders, draw_nuclei
from registration.synth.view import TileView

EDGE_UM = 0.9
CELL_REACH_UM = 13.0
FAT_REACH_UM = 46.0
OWN_TEXTURE_SHIFT = 331.0
"""Texels between two sections' own textures: what they do not share."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What lies under each pixel of a tile, all ``(h, w)``."""

    tissue: Float32
    """1 where there is tissue, 0 where glass shows: outside, in lumina, fat and clefts."""
    epithelium: Float32
    """1 in nests, ducts and acini."""
    lumen: Float32
    """1 in lumina."""
    filling: Float32
    """What fills them, as in :class:`~registration.synth.scene.Scene`."""
    membrane: Float32
    """1 on the borders of epithelial cells."""
    bundles: Float32
    fibres: Float32
    """Collagen, coarse and fine, of about unit deviation."""
    fat: Float32
    """1 among adipocytes."""
    nuclei: Float32
    """Haematoxylin of nuclei."""
    stained: Float32
    """DAB of nuclei."""
    erythrocytes: Float32
    grain: Float32
    chromatin: Float32
    patchy: Float32
    """Noise of unit deviation: cytoplasm, chromatin, and tens of µm wide."""
    malignant: Float32
    positive: Float32


class Textures:
    """The periodic noise all tiles of a section share."""

    def __init__(self, seed: int, number: int) -> None:
        self.fine = Texture.band((3, 14), [seed, 501])
        self.fibre = Texture.band((6, 40), [seed, 502])
        self.patchy = Texture.band((20, 60), [seed, 503])
        self.own = np.float32(OWN_TEXTURE_SHIFT * (1 + number))


def evaluate(view: TileView, textures: Textures) -> Layers:
    """Return all layers of a tile."""
    cut, scene = view.cut, view.cut.scene
    cells = cut.cells_near(view.box.expanded(round(1.2 * FAT_REACH_UM / cut.mpp)))
    kind = cells.cells.kind
    patchy = textures.patchy.at(*view.texels(1.3))
    bundles, fibres = _collagen(view, textures)
    epithelium, lumen_um = view.smooth(scene.epithelium), view.smooth(scene.lumen)
    lumen, filling = step(lumen_um), view.smooth(scene.filling)
    hole, fat = _fat(view, cells.take(np.flatnonzero(kind == ADIPOCYTE)))
    cleft = step(1.3 - np.abs(epithelium + 1.9)) * np.clip(patchy * 1.5 - 0.5, 0, 1)
    loose = view.smooth(scene.loose)
    split = np.clip((bundles - 1.45 + 0.55 * loose) * 2.2, 0, 1) * (epithelium < -2.5)
    nuclei, stained = _nuclei(view, cells)
    white = np.maximum(hole, np.maximum(cleft, split * 0.9) * (1 - np.clip(3 * nuclei, 0, 1)))
    epithelial = cells.take(np.flatnonzero((kind == TUMOUR) | (kind == BENIGN)))
    red = cells.take(np.flatnonzero(kind == ERYTHROCYTE))
    return Layers(
        tissue=step(view.smooth(scene.tissue)) * (1 - white) * (1 - lumen),
        epithelium=step(epithelium),
        lumen=lumen * step(view.smooth(scene.tissue)),
        filling=filling,
        membrane=_membrane(view, epithelial, epithelium, patchy),
        bundles=bundles,
        fibres=fibres,
        fat=fat,
        nuclei=nuclei,
        stained=stained,
        erythrocytes=draw_nuclei(red, view.box, np.ones(len(red.cells), np.float32)),
        grain=textures.fine.at(*(axis + textures.own for axis in view.texels(1.9))),
        chromatin=textures.fine.at(*(axis - textures.own for axis in view.texels(3.3))),
        patchy=patchy,
        malignant=view.smooth(scene.malignant),
        positive=view.smooth(scene.positive),
    )


def step(distance_um: Float32) -> Float32:
    """Return 0 outside to 1 inside over :data:`EDGE_UM`."""
    return np.asarray(np.clip(distance_um / EDGE_UM + 0.5, 0, 1), np.float32)


def _collagen(view: TileView, textures: Textures) -> tuple[Float32, Float32]:
    """Return wavy collagen, coarse and fine: noise stretched along its direction.

    The fine fibres are partly the section's own, since a fibre leaves a section of 4 µm soon.
    """
    shape = view.nodes.shape[:2]
    across, along = view.cut.scene.fibre_frame(view.nodes.reshape(-1, 2))
    u = view.upsampled(across.reshape(shape)) + 2.0 * textures.patchy.at(*view.texels(0.55))
    v = view.upsampled(along.reshape(shape))
    bundles = textures.fibre.at(u * 1.0, v * 0.06)
    shared = textures.fine.at(u * 2.3, v * 0.11)
    own = textures.fine.at(u * 2.3 + textures.own, v * 0.11)
    return bundles, np.asarray(0.8 * shared + 0.6 * own, np.float32)


def _fat(view: TileView, cells: PlacedCells) -> tuple[Float32, Float32]:
    """Return where adipocytes are empty, and where they lie at all."""
    nearest, second = draw_borders(cells, view.box, FAT_REACH_UM, view.cut.mpp)
    body = np.minimum((second - nearest) * 0.5, FAT_RADIUS_UM - nearest)
    return step(body - 0.75), step(FAT_RADIUS_UM + 2 - nearest)


def _membrane(view: TileView, cells: PlacedCells, epithelium: Float32, patchy: Float32) -> Float32:
    """Return how much of each pixel is the border of an epithelial cell, 0 to 1."""
    nearest, second = draw_borders(cells, view.box, CELL_REACH_UM, view.cut.mpp)
    width = 1.15 + 0.25 * patchy
    between = np.exp(-(((second - nearest) / np.maximum(width, 0.5)) ** 2))
    rim = 0.55 * np.exp(-(((epithelium - 0.7) / 0.7) ** 2))
    return np.asarray(np.maximum(between * (nearest < CELL_REACH_UM), rim), np.float32)


def _nuclei(view: TileView, cells: PlacedCells) -> tuple[Float32, Float32]:
    """Return haematoxylin and DAB of the nuclei this section shows, cut at its own height."""
    number = view.cut.number
    seen = cells.cells.in_he if number == 0 else cells.cells.in_ihc
    shown = cells.take(np.flatnonzero(seen & cells.cells.has_nucleus))
    phase = shown.cells.angle * 7919 + 1.7 * number
    wobble = shown.cells.wobble + 0.5 * min(number, 1) * np.roll(shown.cells.wobble, number, axis=1)
    shown = replace(shown, cells=replace(shown.cells, wobble=wobble))
    swell = (1 + 0.08 * np.sin(phase)).astype(np.float32)
    positive = np.flatnonzero(shown.cells.antigen > 0) if number else np.empty(0, np.int64)
    stained = shown.take(positive)
    stained = replace(stained, cells=replace(stained.cells, density=stained.cells.antigen))
    return draw_nuclei(shown, view.box, swell), draw_nuclei(stained, view.box, swell[positive])
