"""Nuclei found in the haematoxylin of one image, by their size and darkness alone.

Blobs are local maxima of the scale-normalised Laplacian of Gaussian of the haematoxylin's optical
density over a few nuclear sizes (Lindeberg, IJCV 1998); there is nothing to train. A blob counts where it
stands out from noise, and is not far fainter than the nuclei around it. On drawn slides three of four
nuclei are found, and nine of ten that are found are nuclei (``benchmarks.cells``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.geometry import Image, Points, to_level0, vertex
from registration.stain import DARKEST, Plane, disc, extract_channel

WORK_MPP = 0.5
"""Images are looked at in at most this resolution: nuclei of 3 µm radius are 6 px there."""

COARSEST_MPP = 1.25
"""In coarser pixels a nucleus is no blob any more."""

USUAL_RADIUS_UM = 3.2
RADII_UM = (2.4, USUAL_RADIUS_UM, 4.3)
"""Radii that are looked for; a blob of radius ``r`` answers most at ``sigma = r / sqrt(2)``."""

APART_UM = 2.5
"""Two nuclei are no nearer to each other than this."""

LEAST_ANSWER = 0.05
"""Answer, in units of optical density, that noise and the texture of stroma stay below."""

USUAL_PERCENTILE, LEAST_SHARE, SURE_SHARE = 90.0, 0.12, 0.25
"""A blob may be a nucleus where it answers with this share of the answer at this percentile of all
blobs, and surely is one with that share."""


@dataclass(frozen=True, eq=False)
class Nuclei:
    """``N`` nuclei of an image."""

    points: Points
    """``(N, 2)`` middles in pixels of the image."""
    radii_um: NDArray[np.float64]
    """``(N,)``."""
    sure: NDArray[np.bool_]
    """``(N,)``: the others are faint, and worth having only as partners of sure ones."""

    def __len__(self) -> int:
        return len(self.points)

    def take(self, chosen: NDArray[np.bool_]) -> Nuclei:
        """Return the nuclei of a mask."""
        return Nuclei(self.points[chosen], self.radii_um[chosen], self.sure[chosen])


def can_show_nuclei(mpp: float) -> bool:
    """Return whether an image of ``mpp`` µm per pixel is fine enough."""
    return mpp <= COARSEST_MPP


def find_nuclei(image: Image, mpp: float) -> Nuclei:
    """Return the nuclei of ``(h, w, 3)`` RGB pixels of ``mpp`` µm each, row by row."""
    scale = min(1.0, mpp / WORK_MPP)
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    factor = image.shape[1] / size[0]
    by_radius = _answers(_density(small), mpp * factor)
    answers = np.maximum.reduce(by_radius)
    rows, columns = _peaks(answers, APART_UM / (mpp * factor))
    strength = answers[rows, columns]
    if not len(strength):
        return Nuclei(np.zeros((0, 2)), np.zeros(0), np.zeros(0, bool))
    usual = float(np.percentile(strength, USUAL_PERCENTILE))
    keep = strength > max(LEAST_ANSWER, LEAST_SHARE * usual)
    rows, columns, strength = rows[keep], columns[keep], strength[keep]
    middles = np.stack([columns, rows], axis=1) + _within_pixel(answers, rows, columns)
    best = np.argmax([plane[rows, columns] for plane in by_radius], axis=0)
    sure = strength > SURE_SHARE * usual
    return Nuclei(to_level0(middles, factor), np.array(RADII_UM)[best], sure)


def paired(
    a: Points, b: Points, reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return which of ``(N, 2)`` and ``(M, 2)`` points are each other's nearest, and their distances.

    One to one, and no farther apart than ``reach``, in the unit of the points.
    """
    none = np.zeros(0, np.intp)
    if not len(a) or not len(b):
        return none, none, np.zeros(0)
    distance, to_b = cKDTree(b).query(a)
    _, to_a = cKDTree(a).query(b)
    of_a = np.flatnonzero((distance <= reach) & (to_a[to_b] == np.arange(len(a))))
    return of_a, to_b[of_a], distance[of_a]


def _density(image: Image) -> Plane:
    """Return the haematoxylin as optical density."""
    return np.asarray(-math.log(DARKEST) * extract_channel(image, "hematoxylin"), np.float32)


def _answers(density: Plane, mpp: float) -> list[Plane]:
    """Return the answer of each pixel at each of the radii."""
    answers = []
    for radius in RADII_UM:
        sigma = radius / mpp / math.sqrt(2)
        blurred = cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        answers.append(
            np.asarray(cv2.Laplacian(blurred, cv2.CV_32F, scale=-(sigma**2)), np.float32)
        )
    return answers


def _peaks(answers: Plane, apart: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of what is the highest within ``apart`` pixels, edges left out."""
    highest = answers >= cv2.dilate(answers, disc(apart))
    highest &= answers > LEAST_ANSWER
    highest[[0, -1]] = False
    highest[:, [0, -1]] = False
    rows, columns = np.nonzero(highest)
    return rows, columns


def _within_pixel(
    answers: Plane, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return where, off the middle of its pixel, the parabolas through each peak have their top."""
    offsets = [
        vertex(*(answers[rows + k * down, columns + k * across] for k in (-1, 0, 1)))
        for down, across in ((0, 1), (1, 0))
    ]
    return np.stack(offsets, axis=1)
