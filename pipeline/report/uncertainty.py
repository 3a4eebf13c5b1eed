"""How far off the alignment probably is, in words and on a map."""

from __future__ import annotations

import math

import cv2
import numpy as np

from pipeline.report.drawing import coloured, laid_over, legend
from pipeline.report.maps import Ground, MapFigure
from registration.pages.page import Finding, significant
from registration.result import Registration

SHOWN_UM = 10.0
"""The scale of the map ends here."""

UNKNOWN_COLOUR = (150, 150, 150)


def uncertainty_finding(registration: Registration) -> Finding:
    """Say how far off most places are at most."""
    found = registration.quality.uncertainty
    if found is None:
        return Finding("none", "Not measured.")
    known = 100 * found.known_fraction
    if not math.isfinite(found.median_um):
        return Finding("none", "Too few places match to state a bound anywhere.")
    return Finding(
        "ok" if known >= 50 else "none",
        f"Nine of ten places are within the bound of the map, {significant(found.median_um)} µm in its "
        f"median; a bound can be stated for {known:.0f} % of the tissue.",
    )


def uncertainty_figure(registration: Registration, ground: Ground) -> MapFigure | None:
    """Draw the bound of every square; ``None`` where none was measured."""
    found = registration.quality.uncertainty
    if found is None:
        return None
    height, width = ground.image.shape[:2]
    ys, xs = np.mgrid[0:height, 0:width]
    points = (np.stack([xs, ys], axis=-1).reshape(-1, 2) + 0.5) * ground.downsample - 0.5
    bounds = found.at(points).reshape(height, width)
    known = np.isfinite(bounds)
    colours = coloured(np.where(known, np.minimum(bounds, SHOWN_UM), 0), 0, SHOWN_UM, "amount")
    colours[~known] = UNKNOWN_COLOUR
    opacity = np.where(ground.tissue, ground.opacity, 0).astype(np.float32)
    image = laid_over(ground.image, colours, cv2.GaussianBlur(opacity, (0, 0), 1))
    return MapFigure(image, legend(0, SHOWN_UM, "µm", "amount", 0))
