"""What a pathologist would count in a stained image, and whether a generated one shows the same.

Everything comes from the optical density of DAB (``training.metrics.stain``) and from where nuclei lie.
Counts of several images are added up, so that a slide or a patient is scored like one large image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from training.metrics.stain import DAB_MASK_DENSITY

STRENGTHS = (0.2, 0.4, 0.6)
"""DAB densities from which a pixel is weakly, moderately, strongly stained: the limits that QuPath's
detection of positive cells starts from."""

LEVEL_SHARE = 0.05
"""An image is of the highest level whose strength this share of its area reaches: the guideline
(ASCO/CAP) asks for a tenth of the tumour cells, and the membranes are half of a cell's area at most."""

PARTNER_UM = 4.8
"""Two nuclei are one where each is the other's nearest, no farther apart than 1.5 usual radii."""

_FAR_PERCENTILE = 95.0

Mask = NDArray[np.bool_]
Density = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FoundNuclei:
    """The nuclei of an image."""

    points_um: NDArray[np.float64]
    """``(N, 2)``."""
    sure: Mask
    """``(N,)``: the others count only as partners of sure ones."""


FindNuclei = Callable[[NDArray[np.uint8], float], FoundNuclei | None]
"""Finds the nuclei of ``(H, W, 3)`` RGB pixels of so many µm each; ``None`` where they are too coarse."""


@dataclass(frozen=True, slots=True)
class PathologyCounts:
    """What is counted of a generated image beside its real one; counts of several images add up."""

    pixels: int = 0
    weak: int = 0
    """Pixels of the generated image that are stained at least weakly ..."""
    moderate: int = 0
    strong: int = 0
    both: int = 0
    """Pixels stained in both images, by ``DAB_MASK_DENSITY`` ..."""
    either: int = 0
    """... and in either."""
    nuclei_real: int = 0
    nuclei_kept: int = 0
    """Nuclei of the real image that the generated one has, too."""
    nuclei_made: int = 0
    nuclei_invented: int = 0
    """Nuclei of the generated image that the real one has not."""

    def __add__(self, other: Self) -> PathologyCounts:
        """Return the counts of both together."""
        return PathologyCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def h_score(self) -> float:
        """0 to 300: per cent weakly + 2 x moderately + 3 x strongly stained, by area."""
        return 100 * _share(self.weak + self.moderate + self.strong, self.pixels)

    @property
    def positive(self) -> float:
        """Per cent of the area that is stained at least weakly."""
        return 100 * _share(self.weak, self.pixels)

    @property
    def level(self) -> int:
        """HER2 level, 0 to 3, by ``LEVEL_SHARE`` of the area."""
        areas = (self.weak, self.moderate, self.strong)
        return sum(_share(area, self.pixels) >= LEVEL_SHARE for area in areas)

    @property
    def iou(self) -> float:
        """Overlap of the stained areas over their union; NaN where neither image has any."""
        return _share(self.both, self.either)

    @property
    def kept(self) -> float:
        """Share of the real image's nuclei that are kept; NaN without any."""
        return _share(self.nuclei_kept, self.nuclei_real)

    @property
    def invented(self) -> float:
        """Share of the generated image's nuclei that are invented; NaN without any."""
        return _share(self.nuclei_invented, self.nuclei_made)


@dataclass(frozen=True, eq=False)
class Stained:
    """What the comparison needs of one image."""

    density: Density
    """``(H, W)`` of DAB."""
    mask: Mask
    distance: Density
    """From each pixel to the nearest stained one, in pixels; infinite where none is."""
    nuclei: FoundNuclei | None

    @classmethod
    def of(cls, density: Density, nuclei: FoundNuclei | None = None) -> Self:
        """Describe an image by its DAB density."""
        mask = density > DAB_MASK_DENSITY
        return cls(density, mask, distance_to(mask), nuclei)


@dataclass(frozen=True, slots=True)
class PathologyScores:
    """One generated image against its real one; NaN for what is not defined."""

    counts: PathologyCounts
    hausdorff_um: float
    """The farthest that a stained pixel of either image lies from the other's stained area."""
    hausdorff95_um: float
    """The same for 95 of 100 of them."""
    nuclei_offset_um: float
    """Median distance of the nuclei that are kept from their places."""


def pathology_scores(real: Stained, fake: Stained, mpp: float) -> PathologyScores:
    """Compare two images of one size, of ``mpp`` µm per pixel."""
    weak, moderate, strong = (int((fake.density >= limit).sum()) for limit in STRENGTHS)
    nuclei, offset = _nuclei(real.nuclei, fake.nuclei)
    counts = PathologyCounts(
        fake.density.size,
        weak,
        moderate,
        strong,
        int((real.mask & fake.mask).sum()),
        int((real.mask | fake.mask).sum()),
        *nuclei,
    )
    return PathologyScores(
        counts,
        mpp * _apart(real, fake, 100.0),
        mpp * _apart(real, fake, _FAR_PERCENTILE),
        offset,
    )


def distance_to(mask: Mask) -> Density:
    """Return each pixel's distance to the nearest one of a mask, in pixels, exact."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    outside = np.where(mask, 0, 255).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The last bit of OpenCV's roots hangs on where the image lies in memory; squares are integers.
    return np.asarray(np.sqrt(np.rint(np.square(distance))))


def partners(a: FoundNuclei, b: FoundNuclei) -> tuple[Mask, NDArray[np.float64]]:
    """Return which nuclei of ``a`` have a partner in ``b``, ``(N,)``, and the distances of those."""
    if not len(a.points_um) or not len(b.points_um):
        return np.zeros(len(a.points_um), bool), np.zeros(0)
    nearest, to_b = KDTree(b.points_um).query(a.points_um)
    _, to_a = KDTree(a.points_um).query(b.points_um)
    found = (to_a[to_b] == np.arange(len(to_b))) & (nearest <= PARTNER_UM)
    return found, nearest[found]


def _nuclei(
    real: FoundNuclei | None, fake: FoundNuclei | None
) -> tuple[tuple[int, int, int, int], float]:
    """Return real, kept, made and invented nuclei, and how far those that are kept lie apart.

    A faint nucleus may be the partner of a sure one of the other image, but is no loss and no
    invention by itself.
    """
    if real is None or fake is None:
        return (0, 0, 0, 0), float("nan")
    kept, apart = partners(_sure(real), fake)
    known, _ = partners(_sure(fake), real)
    counts = (len(kept), int(kept.sum()), len(known), int((~known).sum()))
    return counts, float(np.median(apart)) if len(apart) else float("nan")


def _sure(nuclei: FoundNuclei) -> FoundNuclei:
    return FoundNuclei(nuclei.points_um[nuclei.sure], nuclei.sure[nuclei.sure])


def _apart(real: Stained, fake: Stained, percentile: float) -> float:
    """Return the larger of both directed distances in pixels; NaN where an image is not stained."""
    if not real.mask.any() or not fake.mask.any():
        return float("nan")
    directed = (real.distance[fake.mask], fake.distance[real.mask])
    return float(max(np.percentile(distances, percentile) for distances in directed))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
