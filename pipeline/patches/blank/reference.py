"""The reference of a slide: the stain and the sharpness that its tissue of like hue shows.

Nests and stroma, brown and blue differ in how dense and how finely structured they are. What is odd
about a place shows against places of its own hue.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.patches.blank.bins import BinFeatures, averaged, blurred
from pipeline.patches.blank.settings import LIMITS
from registration.stain import Mask, Plane


def absorbed(features: BinFeatures) -> Plane:
    """Return the sum of the three densities between nuclei."""
    return 3 * averaged(features.layer)


def hue_of(features: BinFeatures) -> Plane:
    """Return how much more red than blue is absorbed, -1 to 1, over three bins across."""
    layer = cv2.blur(features.layer, (3, 3))
    total = np.maximum(3 * averaged(layer), LIMITS.hue_density)
    return np.asarray((layer[..., 0] - layer[..., 2]) / total, np.float32)


def reference_by_hue(values: Plane, hue: Plane, among: Mask) -> Plane:
    """Return the median of ``values`` ``among`` bins of like hue, for every bin."""
    limits = np.quantile(hue[among], np.linspace(0, 1, LIMITS.hues + 1))
    number = np.clip(np.searchsorted(limits, hue[among]) - 1, 0, LIMITS.hues - 1)
    chosen = values[among]
    used = np.unique(number)
    medians = [np.median(chosen[number == k]) for k in used]
    middles = (limits[1:] + limits[:-1]) / 2
    return np.asarray(np.interp(hue, middles[used], medians), np.float32)


def sharpness(features: BinFeatures, among: Mask) -> tuple[Plane, Mask]:
    """Return the logarithm of fine over coarse detail, and the bins structured enough to tell."""
    weight = among.astype(np.float32)
    share = blurred(weight, 1.0) + 1e-6
    fine, coarse = (
        blurred(plane * weight, 1.0) / share for plane in (features.fine, features.coarse)
    )
    least = max(LIMITS.structured * float(np.median(coarse[among])), LIMITS.least_detail)
    ratio = np.maximum(fine, 1e-12) / np.maximum(coarse, 1e-12)
    return np.asarray(np.log(ratio), np.float32), np.asarray(among & (coarse > least))
