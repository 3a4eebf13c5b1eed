"""What spoils tissue apart from folds: ink on it, bubbles over it, lost focus.

Focus is the energy of detail between 0 and 1.5 µm over that between 1.5 and 3 µm (differences of
Gaussians of optical density). In focus the first is about as large or larger: summed over 100 µm, 99 %
of the tissue on synthetic slides and 33 of 34 real BCI and MIST images lie above 0.8. A blur of 2 µm
leaves 0.4 to 0.55, whatever the tissue.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches.blank.bins import BinFeatures, Colours, blurred, ink_coloured, odd_count
from pipeline.patches.blank.reference import sharpness
from pipeline.patches.blank.settings import LIMITS
from registration.stain import Mask, Plane, disc


def inked(density: Colours, ink: Plane, bin_um: float) -> Plane:
    """Return the share of each bin under a pen's stroke.

    Strokes are found in ``density``, averaged over their width, since single nuclei may have the
    colour of ``ink``; their limits are those of the colour.
    """
    side = odd_count(LIMITS.stroke_um / bin_um)
    wide = ink_coloured(cv2.blur(density, (side, side))).astype(np.uint8)
    stroke = cv2.morphologyEx(wide, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    near = cv2.dilate(stroke, disc(LIMITS.stroke_edge_um / bin_um)) > 0
    core = cv2.erode(stroke, disc(LIMITS.stroke_edge_um / bin_um / 2)) > 0
    return np.asarray(np.where(near, np.maximum(ink, core), 0), np.float32)


def inside_rims(rim: Mask, bin_um: float) -> Plane:
    """Return the share of each bin that a thin, closed and roundish rim surrounds.

    The border runs along the middle of the rim.
    """
    lines = cv2.morphologyEx(rim.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    inside = np.zeros(rim.shape, np.float32)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(1 - lines, connectivity=4)
    margin = odd_count(LIMITS.rim_band_um / bin_um) + 2
    for number, (x, y, width, height, area) in enumerate(boxes[1:].tolist(), 1):
        touching = x == 0 or y == 0 or x + width == rim.shape[1] or y + height == rim.shape[0]
        if touching or area * bin_um**2 < LIMITS.smallest_bubble_um**2:
            continue
        rows = slice(max(0, y - margin), y + height + margin)
        columns = slice(max(0, x - margin), x + width + margin)
        filled = _filled_if_round(labels[rows, columns] == number)
        band = cv2.dilate(filled, disc(LIMITS.rim_band_um / bin_um)) - filled
        if not filled.any() or lines[rows, columns][band > 0].mean() > LIMITS.rim_fill:
            continue
        own = cv2.dilate(filled, disc(LIMITS.rim_band_um / bin_um / 2)) * lines[rows, columns]
        share = np.where(filled > 0, 1.0, 0.5 * own)
        inside[rows, columns] = np.maximum(inside[rows, columns], share)
    return inside


def out_of_focus(features: BinFeatures, drawn: Mask, bin_um: float) -> Mask:
    """Return which bins lack sharp structure; the lines ``drawn`` over the tissue do not count.

    Where there is too little structure to tell, as in secretion, the nearest that can be judged
    decides: focus is lost by degrees, so that around an area without focus there is blurred structure.
    """
    beside_lines = cv2.dilate(drawn.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    tissue = (features.cover > 0) & ~beside_lines
    if tissue.sum() < LIMITS.focus_bins:
        return np.zeros(tissue.shape, np.bool_)
    ratio, structured = sharpness(features, tissue)
    beyond = np.clip(ratio - math.log(LIMITS.in_focus), -1, 1)
    window = LIMITS.focus_um / bin_um
    verdict = blurred(np.asarray(beyond * structured, np.float32), window)
    known = blurred(structured.astype(np.float32), window) > LIMITS.focus_structure
    area = cv2.morphologyEx(
        _from_nearest(verdict <= 0, known, LIMITS.focus_far_um / bin_um).astype(np.uint8),
        cv2.MORPH_OPEN,
        disc(LIMITS.smallest_blur_um / bin_um),
    )
    return np.asarray(cv2.dilate(area, disc(LIMITS.blur_halfway_um / bin_um)), bool)


def _from_nearest(lost: Mask, known: Mask, most: float) -> Mask:
    """Return ``lost`` where it is ``known``, elsewhere that of the nearest such bin.

    Farther away than ``most`` bins everything is.
    """
    if not known.any():
        return np.ones_like(lost)
    distance, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(labels.max() + 1, np.bool_)
    of_label[labels[known]] = lost[known]
    return np.asarray(of_label[labels] | (distance > most))


def _filled_if_round(hollow: Mask) -> NDArray[np.uint8]:
    """Return the area within the outline of ``hollow``, or nothing where that is not roundish."""
    padded = np.pad(hollow.astype(np.uint8), 1)
    outlines, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    around = cv2.arcLength(outline, closed=True)
    filled = np.zeros(padded.shape, np.uint8)
    if 4 * math.pi * cv2.contourArea(outline) > LIMITS.roundness * around**2:
        cv2.drawContours(filled, [outline], -1, 1, cv2.FILLED)
    return filled[1:-1, 1:-1]
