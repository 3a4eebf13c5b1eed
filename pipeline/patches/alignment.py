"""How well the two images of a pair lie on each other, whatever their stains.

Both stains colour nuclei with hematoxylin, so that is what is compared, with the larger structure it
draws (glands, stroma, the edge of the tissue). Windows of 100 µm of one image are looked for in the
other, up to 64 µm away, by normalised correlation. One window of a consecutive section proves little,
so the correlation surfaces are pooled: each with its neighbours' and, more weakly, with all others'.
A shift that all windows share then stands out even where nuclei differ, and one that varies across
the patch still shows. The pooled peaks give the pair's *shift* (their median distance from the
middle) and its *similarity* (their mean height).

What a similarity is worth depends on the tissue. It is compared with pairs that cannot match: the
same moving patch against fixed patches from other places of the slide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Image, Points, mesh
from registration.matching import correlation_surfaces, nuclei, refined_peaks
from registration.stain import Plane

WINDOW_UM = 100.0
WINDOW_STEP_UM = 110.0
SEARCH_UM = 64.0
MOST_WINDOWS = 10
"""Along each side of a patch."""

FLATTEN_UM = 60.0
"""Structure much larger than this is taken out: on it everything correlates with everything.
Windows of 60 µm flattened at 22 µm find synthetic nuclei as well, but keep only about half of the
patches of real consecutive sections (rat kidney) of which these keep about two thirds."""

NEIGHBOURS = 1.0
"""Deviation, in window steps, of the weight with which neighbours are pooled."""

ALL_OTHERS = 1.0
"""Weight of all windows together, relative to a window and its neighbours."""

FAINTEST = 1e-3


@dataclass(frozen=True, slots=True)
class Alignment:
    """How two images lie on each other."""

    shift_um: float
    similarity: float
    """-1 to 1; what it is worth only a comparison with mismatched pairs can tell."""


def fine_structure(image: Image, mpp: float) -> Plane:
    """Return the hematoxylin of ``(h, w, 3)`` pixels, without what is large in it.

    Total density would follow DAB, which hides nuclei and outlines what H&E does not.
    """
    plane = nuclei(image)
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), FLATTEN_UM / mpp), np.float32)


def margin_px(mpp: float) -> int:
    """Return how far around a patch the moving plane should reach, in its pixels."""
    return round((SEARCH_UM + WINDOW_UM / 2) / mpp)


def align(fixed: Plane, moving: Plane, mpp: float) -> Alignment:
    """Compare a square patch with its partner, both at ``mpp`` µm per pixel.

    ``fixed`` is ``(n, n)``; ``moving`` has the same middle and may reach farther on all sides by
    the same margin. Where it does not reach, its edge is mirrored.
    """
    margin = (moving.shape[0] - fixed.shape[0]) // 2
    count = _windows_along(fixed.shape[0], mpp)
    padded = cv2.copyMakeBorder(fixed, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    surfaces = correlation_surfaces(
        padded,
        moving,
        _centers(fixed.shape[0], count) + margin,
        round(WINDOW_UM / mpp),
        round(SEARCH_UM / mpp),
    )
    flat = surfaces.reshape(count * count, -1)
    pooled = (_pooling(count) @ flat).reshape(surfaces.shape)
    shifts, heights, _ = refined_peaks(pooled)
    distances = np.hypot(*shifts.T) * mpp
    weights = np.maximum(heights, FAINTEST)
    shift_um = np.quantile(distances, 0.5, weights=weights, method="inverted_cdf")
    return Alignment(float(shift_um), float(heights.mean()))


def null_percentiles(
    similarities: Sequence[float], mismatched: Sequence[Sequence[float]]
) -> list[float | None]:
    """Return for each pair the share (0 to 100) of mismatched pairs that are less similar.

    ``mismatched`` holds, per pair, the similarities of its moving patch to fixed patches of other
    places. Some patches, such as those with much of the section's edge, are similar to everything;
    so what a patch has in common with those is taken out before all are pooled. ``None`` without any.
    """
    usual = [float(np.mean(values)) if len(values) else 0.0 for values in mismatched]
    # A mean of n values lies nearer to each of them than the true mean does.
    pooled = [
        (np.asarray(values) - mean) * np.sqrt(len(values) / (len(values) - 1))
        for values, mean in zip(mismatched, usual, strict=True)
        if len(values) > 1
    ]
    null = np.concatenate(pooled) if pooled else np.zeros(0)
    return [
        float(100 * np.mean(null < similarity - mean)) if len(null) and len(values) else None
        for similarity, mean, values in zip(similarities, usual, mismatched, strict=True)
    ]


def turned(planes: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Return one of the eight orientations of ``(..., n, n)`` planes; 0 is as they are."""
    rotated = np.rot90(planes, orientation % 4, axes=(-2, -1))
    return np.ascontiguousarray(rotated[..., ::-1] if orientation >= 4 else rotated)


def _windows_along(side: int, mpp: float) -> int:
    return int(np.clip(round(side * mpp / WINDOW_STEP_UM), 1, MOST_WINDOWS))


def _centers(side: int, count: int) -> Points:
    along = (np.arange(count) + 0.5) * side / count - 0.5
    return mesh(along, along)


@lru_cache(maxsize=4)
def _pooling(count: int) -> NDArray[np.float32]:
    """Return the ``(count ** 2, count ** 2)`` weights with which windows are pooled; rows sum to 1."""
    place = mesh(np.arange(count, dtype=np.float64), np.arange(count, dtype=np.float64))
    squared = ((place[:, None] - place[None]) ** 2).sum(axis=2)
    near = np.exp(-squared / (2 * NEIGHBOURS**2))
    near /= near.sum(axis=1, keepdims=True)
    weights = near + ALL_OTHERS / count**2
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
