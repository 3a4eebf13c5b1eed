"""What the transform alone says of a patch: where its pixels come from, folds, seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.patches.blank.filter import ContentMap
from registration.geometry import Box, Points, mesh
from registration.piece_map import piece_numbers
from registration.quality.seams import VISIBLE_JUMP_PX, jumps_within
from registration.result import Registration
from registration.transforms import FOLDED, Chain, least_jacobian

PROBES = 32
"""A patch is probed at this many places along each side."""

FAR_OFF = -1e9
"""Where points without a source are taken to come from: off every slide."""


@dataclass(frozen=True, slots=True)
class PatchGeometry:
    """What is known of a patch before its two images are compared."""

    fixed_tissue: float
    moving_tissue: float
    filled: float
    """Share without a source on the moving slide."""
    fold: bool
    seam: bool
    piece: int = 1
    """The piece of tissue it shows; 0 where it shows several, or one that is not to be used."""


class Surveyor:
    """Measures the geometry of patches of one registration."""

    def __init__(self, registration: Registration, fixed: ContentMap, moving: ContentMap) -> None:
        self._registration = registration
        self._fixed = fixed
        self._moving = moving
        self._off = Box.of(registration.moved.size)
        overruled = registration.review == "accepted"
        self._rejected = [
            piece.number
            for piece in registration.pieces
            if piece.verdict == "fail" and not overruled
        ]
        self._columns = sorted({block.x for block in registration.blocks} - {0})
        self._rows = sorted({block.y for block in registration.blocks} - {0})

    def measure(self, box: Box) -> PatchGeometry:
        """Measure one patch, given by its level-0 pixels of the fixed slide."""
        chain = self._registration.chain
        xs, ys = (
            start + (np.arange(PROBES) + 0.5) * extent / PROBES - 0.5
            for start, extent in ((box.x, box.width), (box.y, box.height))
        )
        mapped = chain.on_grid(xs, ys)
        probes: Points = mesh(xs, ys)
        points = np.nan_to_num(mapped.reshape(-1, 2), nan=FAR_OFF)
        pieces = piece_numbers(chain, probes)
        tissue = self._fixed.at(probes)
        # Glass between pieces is white in the warped slide too: it lacks no source.
        lacking = ~self._off.contains(points) & ((pieces > 0) | (tissue > 0))
        shown = set(pieces[pieces > 0].tolist())
        piece = shown.pop() if len(shown) == 1 else 0
        return PatchGeometry(
            fixed_tissue=float(tissue.mean()),
            moving_tissue=float(self._moving.at(points).mean()),
            filled=float(lacking.mean()),
            fold=folds(mapped, xs, ys, self._registration.start.mirrored),
            seam=self._crosses_seam(chain, box),
            piece=0 if piece in self._rejected else piece,
        )

    def _crosses_seam(self, chain: Chain, box: Box) -> bool:
        """Return whether the transform jumps where blocks meet inside the patch."""
        jumps = jumps_within(chain, box, self._columns, self._rows)
        return any(border.jump_px.max() > VISIBLE_JUMP_PX for border in jumps)


def folds(
    mapped: NDArray[np.float64], xs: NDArray[np.float64], ys: NDArray[np.float64], mirrored: bool
) -> bool:
    """Return whether the ``(rows, columns, 2)`` positions of a square grid change their handedness."""
    handed = mapped * [-1, 1] if mirrored else mapped
    shift = handed - mesh(xs, ys).reshape(mapped.shape)
    return bool((least_jacobian(shift, xs[1] - xs[0]) <= FOLDED).any())
