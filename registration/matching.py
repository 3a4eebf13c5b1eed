"""Local shifts between two images of the same geometry, whatever their stains.

Patches of the fixed image are looked for in the moving image around the same place, by normalised
cross-correlation of a plane that hardly depends on the stain: the square root of optical density.
The root brings faint and strong stains closer together and evens out the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Image, Points, vertex
from registration.stain import DARKEST, Plane, extract_channel

NOISE = 0.02
"""Contrast (standard deviation of :func:`structure`) that sensor noise alone can have."""

PEAK_RADIUS_SHARE = 0.125
"""The second peak lies farther from the first than this share of the patch."""


@dataclass(frozen=True, eq=False)
class Matches:
    """What was found at ``N`` points; all in pixels of the images that were matched."""

    points: Points
    """``(N, 2)`` whole pixels of the fixed image at which patches are centred."""
    shifts: Points
    """``(N, 2)``: the moving image shows at ``point + shift`` what the fixed one shows there."""
    score: NDArray[np.float64]
    """``(N,)`` correlation of the best place, -1 to 1; 0 for a patch without structure."""
    second: NDArray[np.float64]
    """``(N,)`` correlation of the best place elsewhere in the search window."""
    bounded: NDArray[np.bool_]
    """``(N,)`` whether the best place lies inside the search window, not on its rim."""

    def __len__(self) -> int:
        return len(self.points)

    @property
    def targets(self) -> Points:
        """``(N, 2)`` points of the moving image."""
        return self.points + self.shifts

    @property
    def distinctness(self) -> NDArray[np.float64]:
        """``(N,)`` by how much the best place beats every other one."""
        return self.score - self.second

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Matches:
        """Return the matches of a mask or of indices."""
        return Matches(
            self.points[chosen],
            self.shifts[chosen],
            self.score[chosen],
            self.second[chosen],
            self.bounded[chosen],
        )


def structure(image: Image) -> Plane:
    """Return the stain-independent plane of an RGB image: root of the mean optical density."""
    return np.sqrt(extract_channel(image, "darkness"))


def nuclei(image: Image) -> Plane:
    """Return the root of an RGB image's hematoxylin, which both stains show, as optical density."""
    return np.asarray(np.sqrt(-math.log(DARKEST) * extract_channel(image, "hematoxylin")))


def match_points(
    fixed: Plane,
    moving: Plane,
    points: Points,
    patch_px: int,
    search_px: int,
) -> Matches:
    """Find the patch around each point of ``fixed`` in ``moving``, up to ``search_px`` away.

    ``fixed`` and ``moving`` are float32 ``(h, w)`` planes of the same geometry (their sizes may
    differ), usually from :func:`structure`; ``points`` are ``(x, y)`` in pixels. The peak is
    refined to a fraction of a pixel. Several thousand points per second and core for 64 px
    patches and a search of 8 px.
    """
    surfaces = correlation_surfaces(fixed, moving, points, patch_px, search_px)
    centers = np.rint(points).astype(np.float64).reshape(-1, 2)
    peak, score, bounded = refined_peaks(surfaces)
    second = _second_peaks(surfaces, peak, max(2.0, PEAK_RADIUS_SHARE * patch_px))
    return Matches(centers, peak, score, second, bounded)


def correlation_surfaces(
    fixed: Plane,
    moving: Plane,
    points: Points,
    patch_px: int,
    search_px: int,
    noise: float = NOISE,
) -> NDArray[np.float32]:
    """Return the correlation at every whole shift: ``(N, 2 s + 1, 2 s + 1)``, rows are ``dy``.

    Both variances are raised by ``noise`` squared, so that bare glass correlates with nothing.
    Beyond their edges the planes are mirrored.
    """
    half = patch_px // 2
    reach = half + search_px
    side = 2 * half + 1
    height, width = fixed.shape
    fixed = cv2.copyMakeBorder(fixed, half, half, half, half, cv2.BORDER_REFLECT_101)
    below, right = max(0, height - moving.shape[0]), max(0, width - moving.shape[1])
    moving = cv2.copyMakeBorder(
        moving, reach, reach + below, reach, reach + right, cv2.BORDER_REFLECT_101
    )
    deviation = _local_deviation(moving, side, noise)
    corners = np.rint(points).astype(int).reshape(-1, 2)
    corners = np.clip(corners, 0, [width - 1, height - 1])
    surfaces = np.empty((len(corners), 2 * search_px + 1, 2 * search_px + 1), np.float32)
    for surface, (x, y) in zip(surfaces, corners, strict=True):
        patch = fixed[y : y + side, x : x + side]
        patch = patch - patch.mean()
        norm = side * side * np.sqrt(float(np.mean(patch * patch)) + noise**2)
        window = moving[y : y + side + 2 * search_px, x : x + side + 2 * search_px]
        near = deviation[
            y + half : y + half + 2 * search_px + 1, x + half : x + half + 2 * search_px + 1
        ]
        np.divide(cv2.matchTemplate(window, patch, cv2.TM_CCORR), near * norm, out=surface)
    return surfaces


def refined_peaks(
    surfaces: NDArray[np.float32],
) -> tuple[Points, NDArray[np.float64], NDArray[np.bool_]]:
    """Return the highest place of each surface: shifts ``(N, 2)``, heights, and whether inside.

    Sub-pixel positions are those of the parabolas through the peak and its neighbours.
    """
    count, side, _ = surfaces.shape
    every = np.arange(count)
    row, column = np.divmod(surfaces.reshape(count, side * side).argmax(axis=1), side)
    score = surfaces[every, row, column].astype(np.float64)
    bounded = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
    r, c = np.clip(row, 1, side - 2), np.clip(column, 1, side - 2)
    x = column + bounded * vertex(*(surfaces[every, r, c + k] for k in (-1, 0, 1)))
    y = row + bounded * vertex(*(surfaces[every, r + k, c] for k in (-1, 0, 1)))
    return np.stack([x, y], axis=1) - side // 2, score, bounded


def _second_peaks(
    surfaces: NDArray[np.float32], peak: Points, radius: float
) -> NDArray[np.float64]:
    """Return the highest correlation farther than ``radius`` from the peak, -1 if there is none."""
    reach = surfaces.shape[1] // 2
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    x, y = peak.astype(np.float32).T
    far_x = (offsets - x[:, None]) ** 2
    far_y = (offsets - y[:, None]) ** 2
    near = far_y[:, :, None] + far_x[:, None, :] <= radius**2
    return np.asarray(np.where(near, np.float32(-1), surfaces).max(axis=(1, 2)), np.float64)


def _local_deviation(plane: Plane, side: int, noise: float) -> Plane:
    """Return the standard deviation of the square of ``side`` pixels around each pixel."""
    centred = plane - plane.mean()
    mean = cv2.boxFilter(centred, cv2.CV_64F, (side, side))
    square = cv2.sqrBoxFilter(centred, cv2.CV_64F, (side, side))
    variance = np.maximum(square - mean * mean, 0.0)
    return np.asarray(np.sqrt(variance + noise**2), np.float32)
