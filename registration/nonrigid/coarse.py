"""Coarse non-rigid alignment by block matching with a smoothness term, in seconds.

At every node of a grid the correlation of the patch around it with the moving image is known for
every shift within a window. Wanted is the field that finds high correlations and is smooth. The two
wishes are decoupled and solved in turns: each node takes the shift with the best correlation less
``coupling * |shift - field|^2``, then the field becomes the smoothed shifts, while the coupling
grows (Steinbruecker, Pock and Cremers, "Large displacement optical flow computation without
warping", ICCV 2009; used for image registration by Heinrich, Papiez, Schnabel and Handels,
"Non-parametric discrete registration with convex optimisation", WBIR 2014). Unlike a search along
gradients it looks at all shifts at once, so that repetitive tissue does not trap it.

Correlated are two planes that hardly depend on the stain: total density and hematoxylin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.matching import refined_peaks
from registration.stain import Mask, Plane
from registration.transforms import least_jacobian

Field = NDArray[np.float32]
"""``(rows, columns, 2)`` displacements ``(dx, dy)``."""

COUPLINGS = (0.0005, 0.0015, 0.005, 0.015, 0.05)
"""Correlation lost per squared pixel between a node's shift and the field, round by round."""

SMOOTHING_NODES = 2.0
NOISE = 0.02
"""Contrast (standard deviation of a plane) that sensor noise alone can have."""

FULL_CONTRAST = 0.05
"""A patch of this contrast has half the trust of one with any more; bare glass has next to none."""

LEAST_WEIGHT = 0.01
LEAST_TISSUE = 0.1
"""Nodes are used whose patch holds at least this share of tissue."""

FILL_NODES = (24.0, 10.0, 4.0)
FILL_WEIGHT = 1e-4
TINY = 1e-12

SMOOTHED_BELOW = 0.3
"""Where a field shrinks an area to less than this (least Jacobian) it is smoothed."""

UNFOLDING_ROUNDS = 200
UNFOLDING_STEP_PX = 4
UNFOLDING_NODES = 1.5


@dataclass(frozen=True, slots=True)
class MatchLevel:
    """Matching at one resolution; lengths in its pixels."""

    downsample: int
    """Against the images given."""
    block_px: int
    """Nodes are the centres of blocks of this side."""
    blocks: int
    """Odd number of blocks along a patch's side."""
    search_px: int
    weights: tuple[float, ...]
    """Share of each plane in the correlation."""


LEVELS = (
    MatchLevel(8, 4, 5, 8, (0.5, 0.5)),
    MatchLevel(4, 4, 5, 8, (0.5, 0.5)),
    MatchLevel(2, 4, 5, 8, (0.5, 0.5)),
    MatchLevel(1, 6, 5, 4, (0.0, 1.0)),
)
"""Shifts up to about 100 px of the images given are found. Density and hematoxylin together are
best on real sections; membrane staining biases density, so that hematoxylin has the last word."""


def smooth_field(
    fixed: Sequence[Plane],
    moving: Sequence[Plane],
    tissue: Mask,
    levels: Sequence[MatchLevel] = LEVELS,
) -> Field:
    """Return where each pixel of the fixed image lies in the moving one: ``(h, w, 2)`` shifts.

    The field does not fold: ``det(I + grad u)`` is at least 0.3.

    ``fixed`` and ``moving`` hold the same kinds of planes, float32 ``(h, w)``, all of one size and
    roughly aligned; ``tissue`` says where the fixed image has content. Between tissue the field is
    continued smoothly. A second for 1,280 x 1,280 px on one core.
    """
    shape = tissue.shape
    field = np.zeros((*shape, 2), np.float32)
    for level in levels:
        size = _shrunk_size(shape, level.downsample)
        field = _resized_field(field, size)
        small = [
            (_shrunk(one, size), _shrunk(other, size), weight)
            for one, other, weight in zip(fixed, moving, level.weights, strict=True)
            if weight > 0
        ]
        field = _refined(small, _shrunk(tissue.astype(np.float32), size), field, level)
    return unfolded(_resized_field(field, (shape[1], shape[0])))


def _refined(
    planes: Sequence[tuple[Plane, Plane, float]], tissue: Plane, field: Field, level: MatchLevel
) -> Field:
    """Return the field improved by matching at one level."""
    sampler = _Sampler.of(tissue.shape, level)
    near = sampler.mean(sampler.padded(tissue))
    correlation = np.zeros((2 * level.search_px + 1,) * 2 + near.shape, np.float32)
    trust = np.zeros_like(near)
    for fixed, moving, weight in planes:
        warped = _pulled(moving, field, cv2.INTER_CUBIC)
        contrast = sampler.add_correlations(correlation, fixed, warped, weight)
        trust += weight * (contrast / (contrast + FULL_CONTRAST**2) + LEAST_WEIGHT)
    update = _decoupled(correlation, np.where(near > LEAST_TISSUE, trust, 0).astype(np.float32))
    dense = sampler.between_nodes(update)
    return dense + _pulled(field, dense, cv2.INTER_LINEAR)


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Means over the patches around all nodes of an image at once.

    An image is averaged over blocks, and the blocks over patches: two cheap passes, the second one
    on a far smaller image.
    """

    height: int
    width: int
    level: MatchLevel

    @classmethod
    def of(cls, shape: tuple[int, ...], level: MatchLevel) -> _Sampler:
        """Return the sampler of an image of ``shape``."""
        return cls(shape[0], shape[1], level)

    @property
    def margin(self) -> int:
        """Pixels of a patch beyond its central block, on each side."""
        return self.level.block_px * (self.level.blocks // 2)

    def padded(self, plane: Plane, reach: int = 0) -> Plane:
        """Continue a plane to whole blocks, and by what patches need around it."""
        around, block = self.margin + reach, self.level.block_px
        below, right = around + -self.height % block, around + -self.width % block
        return np.asarray(
            cv2.copyMakeBorder(plane, around, below, around, right, cv2.BORDER_REPLICATE)
        )

    def mean(self, padded: Plane) -> Plane:
        """Return the mean over each node's patch: ``(node y, node x)``."""
        height, width = padded.shape
        size = (width // self.level.block_px, height // self.level.block_px)
        patches = cv2.blur(
            cv2.resize(padded, size, interpolation=cv2.INTER_AREA), (self.level.blocks,) * 2
        )
        rim = self.level.blocks // 2
        return np.asarray(patches[rim : size[1] - rim, rim : size[0] - rim])

    def _everywhere(self, plane: Plane) -> tuple[Plane, Plane]:
        """Return mean and standard deviation (with noise) of the patch right and below a pixel."""
        side = (self.level.block_px * self.level.blocks,) * 2
        mean, square = (
            cv2.boxFilter(values, cv2.CV_32F, side, anchor=(0, 0))
            for values in (plane, plane * plane)
        )
        return mean, np.sqrt(np.maximum(square - mean * mean, 0) + NOISE**2)

    def between_nodes(self, nodes: Field) -> Field:
        """Interpolate a field at nodes to every pixel."""
        block = self.level.block_px
        size = (nodes.shape[1] * block, nodes.shape[0] * block)
        dense = cv2.resize(nodes, size, interpolation=cv2.INTER_CUBIC)
        return np.asarray(dense[: self.height, : self.width])

    def add_correlations(
        self, correlation: NDArray[np.float32], fixed: Plane, moving: Plane, weight: float
    ) -> Plane:
        """Add one pair of planes' correlations to ``(shift y, shift x, node y, node x)``.

        Returned is the variance of the fixed patches.
        """
        reach = self.level.search_px
        offset = float(fixed.mean())
        fixed = self.padded(fixed - offset)
        moving = self.padded(moving - offset, reach)
        height, width = fixed.shape
        mean = self.mean(fixed)
        variance = np.maximum(self.mean(fixed * fixed) - mean * mean, 0)
        deviation = np.sqrt(variance + NOISE**2) / weight
        other_mean, other_deviation = self._everywhere(moving)
        rows, columns = (
            slice(None, count * self.level.block_px, self.level.block_px) for count in mean.shape
        )
        for dy in range(2 * reach + 1):
            for dx in range(2 * reach + 1):
                product = cv2.multiply(fixed, moving[dy : dy + height, dx : dx + width])
                covariance = self.mean(product) - mean * other_mean[dy:, dx:][rows, columns]
                spread = deviation * other_deviation[dy:, dx:][rows, columns]
                correlation[dy, dx] += covariance / spread
        return variance


def _decoupled(correlation: NDArray[np.float32], trust: NDArray[np.float32]) -> Field:
    """Return the smooth field, ``(node y, node x, 2)``, that finds high correlations."""
    reach = correlation.shape[0] // 2
    used = trust > 0
    scores = np.ascontiguousarray(np.moveaxis(correlation[:, :, used], 2, 0))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    field = np.zeros((*trust.shape, 2), np.float32)
    shifts = np.zeros_like(field)
    for coupling in COUPLINGS:
        x, y = field[used].T
        penalty_x = coupling * (offsets - x[:, None]) ** 2
        penalty_y = coupling * (offsets - y[:, None]) ** 2
        shifts[used], _, _ = refined_peaks(scores - penalty_y[:, :, None] - penalty_x[:, None, :])
        field = _averaged(shifts, trust)
    return _filled(field, trust)


def _averaged(shifts: Field, trust: NDArray[np.float32]) -> Field:
    """Return the shifts averaged with their neighbours by trust."""
    weight = _blurred(trust, SMOOTHING_NODES)
    return np.asarray(
        _blurred(shifts * trust[..., None], SMOOTHING_NODES) / (weight + TINY)[..., None]
    )


def _filled(field: Field, trust: NDArray[np.float32]) -> Field:
    """Continue a field smoothly to where there is no trust.

    From wide to narrow averages, each of which yields to the wider one where nothing is near.
    """
    weight = _blurred(trust, SMOOTHING_NODES)
    known = field * weight[..., None]
    filled = np.broadcast_to(known.sum(axis=(0, 1)) / (weight.sum() + TINY), field.shape)
    for sigma in FILL_NODES:
        near = _blurred(weight, sigma)[..., None] + TINY
        share = near / (near + FILL_WEIGHT)
        filled = share * (_blurred(known, sigma) / near) + (1 - share) * filled
    share = (weight / (weight + FILL_WEIGHT))[..., None]
    return np.asarray(share * field + (1 - share) * filled, np.float32)


def _blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def _pulled(image: NDArray[np.float32], field: Field, how: int) -> NDArray[np.float32]:
    """Return ``image`` read at every pixel plus the field there."""
    height, width = field.shape[:2]
    where = field.copy()
    where[..., 0] += np.arange(width, dtype=np.float32)
    where[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(image, where, None, how, borderMode=cv2.BORDER_REPLICATE))


def unfolded(field: Field) -> Field:
    """Return a field ``(h, w, 2)``, in pixels, smoothed where it folds or nearly does until it does not.

    Folds are looked for, and mended, at every fourth pixel; the rest of the field is untouched.
    """
    nodes = field[::UNFOLDING_STEP_PX, ::UNFOLDING_STEP_PX].copy()
    change = np.zeros_like(nodes)
    for _ in range(UNFOLDING_ROUNDS):
        folded = least_jacobian(nodes + change, UNFOLDING_STEP_PX) < SMOOTHED_BELOW
        if not folded.any():
            break
        share = cv2.dilate(folded.astype(np.float32), np.ones((5, 5), np.uint8))
        share = _blurred(share, UNFOLDING_NODES)[..., None]
        change += share * (_blurred(nodes + change, UNFOLDING_NODES) - nodes - change)
    if not change.any():
        return field
    x, y = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in field.shape[1::-1]))
    step = np.float32(UNFOLDING_STEP_PX)
    mended = cv2.remap(
        change, x / step, y / step, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(field + mended)


def _shrunk_size(shape: tuple[int, ...], downsample: int) -> tuple[int, int]:
    return max(1, round(shape[1] / downsample)), max(1, round(shape[0] / downsample))


def _shrunk(plane: Plane, size: tuple[int, int]) -> Plane:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


def _resized_field(field: Field, size: tuple[int, int]) -> Field:
    """Return the field on an image of another size, its shifts in that image's pixels."""
    scale = np.array([size[0] / field.shape[1], size[1] / field.shape[0]], np.float32)
    return np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR) * scale)
