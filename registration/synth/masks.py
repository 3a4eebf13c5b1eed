"""Truth masks: what lies where on a drawn slide, and which piece it is of."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.geometry import Points, Size, axis_positions, mesh
from registration.synth.cells import ADIPOCYTE, FAT_RADIUS_UM
from registration.synth.damage import REMOVING, plan_damage
from registration.synth.glass import PlacedPiece
from registration.synth.section import Cut
from registration.synth.settings import DamageKind

MASK_DOWNSAMPLE = 32
ON_TISSUE: frozenset[DamageKind] = REMOVING | {"fold"}
"""Damage that shows where there is tissue; the others lie on the glass."""


class Ground(IntFlag):
    """What lies at a pixel of a truth mask; flags add up."""

    TISSUE = 1
    """Inside the section's outline and not torn or missing."""
    EMPTY = 2
    """A lumen or fat within the outline."""
    PEN = 4
    BUBBLE = 8
    FOLD = 16
    """Tissue folded over."""
    BLUR = 32
    TEAR = 64
    MISSING = 128
    """Inside the outline, but torn apart or lost."""


def ground_mask(cut: Cut) -> NDArray[np.uint8]:
    """Return :class:`Ground` flags of a slide at :data:`MASK_DOWNSAMPLE`."""
    size = cut.size.downsampled(MASK_DOWNSAMPLE)
    xs, ys = (axis_positions(0, side, MASK_DOWNSAMPLE) for side in (size.width, size.height))
    return _ground_at(cut, xs, ys)


def glass_masks(
    size: Size, placed: Sequence[PlacedPiece]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return :class:`Ground` flags of a glass, and the number of the piece whose tissue lies there."""
    small = size.downsampled(MASK_DOWNSAMPLE)
    xs, ys = (axis_positions(0, side, MASK_DOWNSAMPLE) for side in (small.width, small.height))
    flags, labels = np.zeros(small.shape, np.uint8), np.zeros(small.shape, np.uint8)
    for place in placed:
        own = _ground_at(place.cut, xs - place.cell.x, ys - place.cell.y)
        flags |= own
        labels[own & Ground.TISSUE > 0] = place.piece.number
    return flags, labels


def _ground_at(cut: Cut, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return :class:`Ground` flags at the crossings of a grid of a section's pixels."""
    points = cut.scene_grid(xs, ys).reshape(-1, 2)
    outline = cut.scene.at(cut.scene.tissue, points) > 0
    tissue = outline.copy()
    flags = np.zeros(len(points), np.uint8)
    for damage in plan_damage(cut):
        inside = damage.shape.distance(mesh(xs, ys)) > 0
        if damage.kind in ON_TISSUE:
            inside &= outline
        if damage.kind in REMOVING:
            tissue &= ~inside
        flags[inside] |= np.uint8(Ground[damage.kind.upper()])
    empty = _empty(cut, points)
    flags[tissue] |= np.uint8(Ground.TISSUE)
    flags[tissue & empty] |= np.uint8(Ground.EMPTY)
    return flags.reshape(len(ys), len(xs))


def _empty(cut: Cut, points: Points) -> NDArray[np.bool_]:
    """Return which scene points lie in an unfilled lumen or in fat."""
    scene, cells = cut.scene, cut.cells
    hollow = (scene.at(scene.lumen, points) > 0) & (scene.at(scene.filling, points) < 0.25)
    fat = cKDTree(cells.position[cells.kind == ADIPOCYTE])
    return np.asarray(hollow | (fat.query(points)[0] < FAT_RADIUS_UM))
