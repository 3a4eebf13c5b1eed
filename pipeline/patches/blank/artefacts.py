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

from pipeline.patches.blank.bins import CellFeatures, Colours, blurred, disc, ink_coloured
from pipeline.patches.blank.reference import sharpness
from registration.stain import Mask, Plane

STROKE_UM, STROKE_EDGE_UM = 45.0, 30.0
"""A pen's stroke is wider than the first; within the second of it single pixels decide."""

RIM_SHARE = 0.16
RIM_BAND_UM, RIM_FILL = 60.0, 0.7
"""A bubble's rim fills less than the second of a band this wide around what it surrounds."""

SMALLEST_BUBBLE_UM2 = 120.0**2
ROUND = 0.6
"""Area of a bubble over that of a disc of its circumference, at least."""

IN_FOCUS = 0.77
"""Least fine over coarse detail of what is in focus."""

FOCUS_UM, LEAST_STRUCTURE = 15.0, 0.1
"""Deviation of the window over which focus is judged, and the least share of it that can tell."""

FAR_UM = 300.0
"""Farther than this from all structure nothing is in focus."""

SMALLEST_BLUR_UM = 20.0
HALFWAY_UM = 10.0
"""A spot half out of focus still shows most of its detail: the area reaches this much further than
its detail tells."""

LEAST_CELLS = 200


def inked(density: Colours, ink: Plane, cell_um: float) -> Plane:
    """Return the share of each cell under a pen's stroke.

    Strokes are found in ``density``, averaged over their width, since single nuclei may have the
    colour of ``ink``; their limits are those of the colour.
    """
    side = _odd(STROKE_UM / cell_um)
    wide = ink_coloured(cv2.blur(density, (side, side))).astype(np.uint8)
    stroke = cv2.morphologyEx(wide, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    near = cv2.dilate(stroke, disc(STROKE_EDGE_UM / cell_um)) > 0
    core = cv2.erode(stroke, disc(STROKE_EDGE_UM / cell_um / 2)) > 0
    return np.asarray(np.where(near, np.maximum(ink, core), 0), np.float32)


def inside_rims(rim: Mask, cell_um: float) -> Plane:
    """Return the share of each cell that a thin, closed and roundish rim surrounds.

    The border runs along the middle of the rim.
    """
    lines = cv2.morphologyEx(rim.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    inside = np.zeros(rim.shape, np.float32)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(1 - lines, connectivity=4)
    margin = _odd(RIM_BAND_UM / cell_um) + 2
    for number, (x, y, width, height, area) in enumerate(boxes[1:].tolist(), 1):
        touching = x == 0 or y == 0 or x + width == rim.shape[1] or y + height == rim.shape[0]
        if touching or area * cell_um**2 < SMALLEST_BUBBLE_UM2:
            continue
        rows = slice(max(0, y - margin), y + height + margin)
        columns = slice(max(0, x - margin), x + width + margin)
        filled = _filled_if_round(labels[rows, columns] == number)
        band = cv2.dilate(filled, disc(RIM_BAND_UM / cell_um)) - filled
        if not filled.any() or lines[rows, columns][band > 0].mean() > RIM_FILL:
            continue
        own = cv2.dilate(filled, disc(RIM_BAND_UM / cell_um / 2)) * lines[rows, columns]
        share = np.where(filled > 0, 1.0, 0.5 * own)
        inside[rows, columns] = np.maximum(inside[rows, columns], share)
    return inside


def out_of_focus(features: CellFeatures, drawn: Mask, cell_um: float) -> Mask:
    """Return which cells lack sharp structure; the lines ``drawn`` over the tissue do not count.

    Where there is too little structure to tell, as in secretion, the nearest that can be judged
    decides: focus is lost by degrees, so that around an area without focus there is blurred structure.
    """
    beside_lines = cv2.dilate(drawn.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    tissue = (features.cover > 0) & ~beside_lines
    if tissue.sum() < LEAST_CELLS:
        return np.zeros(tissue.shape, np.bool_)
    ratio, structured = sharpness(features, tissue)
    beyond = np.clip(ratio - math.log(IN_FOCUS), -1, 1)
    window = FOCUS_UM / cell_um
    verdict = blurred(np.asarray(beyond * structured, np.float32), window)
    known = blurred(structured.astype(np.float32), window) > LEAST_STRUCTURE
    area = cv2.morphologyEx(
        _from_nearest(verdict <= 0, known, FAR_UM / cell_um).astype(np.uint8),
        cv2.MORPH_OPEN,
        disc(SMALLEST_BLUR_UM / cell_um),
    )
    return np.asarray(cv2.dilate(area, disc(HALFWAY_UM / cell_um)), bool)


def _from_nearest(spoilt: Mask, known: Mask, most: float) -> Mask:
    """Return ``spoilt`` where it is ``known``, elsewhere that of the nearest such cell.

    Farther away than ``most`` cells everything is spoilt.
    """
    if not known.any():
        return np.ones_like(spoilt)
    distance, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(labels.max() + 1, np.bool_)
    of_label[labels[known]] = spoilt[known]
    return np.asarray(of_label[labels] | (distance > most))


def _filled_if_round(hollow: Mask) -> NDArray[np.uint8]:
    """Return the area within the outline of ``hollow``, or nothing where that is not roundish."""
    padded = np.pad(hollow.astype(np.uint8), 1)
    outlines, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    around = cv2.arcLength(outline, closed=True)
    filled = np.zeros(padded.shape, np.uint8)
    if 4 * math.pi * cv2.contourArea(outline) > ROUND * around**2:
        cv2.drawContours(filled, [outline], -1, 1, cv2.FILLED)
    return filled[1:-1, 1:-1]


def _odd(length: float) -> int:
    return 2 * max(1, round(length / 2)) + 1
