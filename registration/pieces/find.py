"""The pieces of tissue on a slide: connected tissue, without debris, dust and edges of glass.

Parts with a narrow gap between them are one piece; a fragment too small to stand alone belongs to
the piece beside it. Whether two pieces move together is told later, by matching.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from registration.geometry import Box, Points, Size
from registration.pieces.drawn import DrawnPieces, mask_of
from registration.stain import Mask
from registration.tissue import TissueMap

Labels = NDArray[np.uint8]
"""``(height, width)``: 0 for glass, ``n`` for the piece numbered ``n``."""

LONGEST_SIDE_PX = 2048
JOIN_UM = 150.0
JOIN_SHARE = 0.04
"""Parts closer than :data:`JOIN_UM`, or than this share of the side of a square that holds all tissue,
whichever is less, are one piece: plain images name any number of µm."""

SMALLEST_SHARES = (0.003, 0.02)
SMALLEST_UM2 = 0.25e6
"""A piece has this much tissue, within these shares of the largest piece's; less is a fragment."""

FRAGMENT_REACHES = 2.0
"""A fragment belongs to the piece within this many times the distance that joins parts."""

THINNEST_UM = 60.0
"""Thinner lines and dots are dust, fibres and edges of cover slips."""

STRAIGHT_FILL = 0.9
STRAIGHT_ASPECT = 12.0
LABEL_FILL = 0.96
"""What lies along the slide's edge and fills a rectangle is no tissue: edges of glass, labels."""

MOST_PIECES = 60
LEFT_OUT = 255
"""Label of tissue that a person marked as control or to be left out."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of one slide, numbered from 1 as one reads."""

    labels: Labels
    downsample: float
    """Level-0 pixels per pixel of the labels."""
    mpp: float
    """Micrometres per level-0 pixel."""
    names: tuple[str, ...] = ()
    """What a person called the first of them."""
    loose_um2: float = 0.0
    """Tissue in fragments apart from every piece and too small to be one."""

    def __len__(self) -> int:
        return int(self.labels[self.labels < LEFT_OUT].max(initial=0))

    def name(self, number: int) -> str:
        """Return what a person called a piece, empty for one that was found."""
        return self.names[number - 1] if number <= len(self.names) else ""

    @property
    def numbers(self) -> range:
        """The numbers of the pieces."""
        return range(1, len(self) + 1)

    def mask(self, number: int) -> Mask:
        """Return where one piece lies."""
        return np.asarray(self.labels == number)

    @cached_property
    def areas_um2(self) -> NDArray[np.float64]:
        """``(N,)`` tissue of each piece."""
        counts = np.bincount(self.labels.ravel(), minlength=LEFT_OUT + 1)[1 : len(self) + 1]
        return np.asarray(counts * (self.downsample * self.mpp) ** 2, np.float64)

    @property
    def loose_share(self) -> float:
        """Share of the slide's tissue that is in fragments of no piece."""
        return float(self.loose_um2 / (self.areas_um2.sum() + self.loose_um2))

    def box(self, number: int) -> Box:
        """Return the level-0 box around one piece."""
        rows, columns = ndimage.find_objects(self.labels)[number - 1]
        x, y = (math.floor(part.start * self.downsample) for part in (columns, rows))
        right, bottom = (math.ceil(part.stop * self.downsample) for part in (columns, rows))
        return Box(x, y, right - x, bottom - y)

    @cached_property
    def nearest(self) -> tuple[Labels, NDArray[np.float32]]:
        """The number of the nearest piece at every pixel, and its distance in µm."""
        distance, (rows, columns) = ndimage.distance_transform_edt(
            self.labels == 0, return_indices=True
        )
        scaled = distance.astype(np.float32) * np.float32(self.downsample * self.mpp)
        return self.labels[rows, columns], scaled

    def near(self, numbers: tuple[int, ...], reach_um: float) -> Mask:
        """Return the surroundings of some pieces: nearer to them than to others, up to ``reach_um``."""
        owner, distance = self.nearest
        return np.asarray(np.isin(owner, numbers) & (distance <= reach_um))

    def owner(self, points: Points) -> NDArray[np.int64]:
        """Return the number of the piece nearest to each of the ``(N, 2)`` level-0 points."""
        height, width = self.labels.shape
        where = np.floor((points + 0.5) / self.downsample).astype(np.int64)
        columns, rows = np.clip(where, 0, [width - 1, height - 1]).T
        return np.asarray(self.nearest[0][rows, columns], np.int64)

    def under(self, points: Points) -> NDArray[np.int64]:
        """Return the number of the piece at each of the ``(N, 2)`` level-0 points; 0 for glass."""
        height, width = self.labels.shape
        where = np.floor((points + 0.5) / self.downsample).astype(np.int64)
        columns, rows = np.clip(where, 0, [width - 1, height - 1]).T
        inside = ((where >= 0) & (where < [width, height])).all(axis=1)
        found = np.where(inside, self.labels[rows, columns], 0).astype(np.int64)
        return np.where(found == LEFT_OUT, 0, found)


def find_pieces(tissue: TissueMap, mpp: float, drawn: DrawnPieces | None = None) -> Pieces:
    """Find the pieces in the tissue of a slide of ``mpp`` µm per level-0 pixel.

    Pieces that a person drew come first; what they leave of the tissue is searched.
    """
    step = math.ceil(max(tissue.mask.shape) / LONGEST_SIDE_PX)
    mask = _reduced(tissue.mask, step)
    downsample = tissue.downsample * step
    fixed = _drawn_labels(mask, downsample, drawn)
    labels, loose_um2 = _found(mask & (fixed == 0), mpp * downsample)
    names = tuple(drawn.pieces) if drawn else ()
    labels[labels > 0] += len(names)
    return Pieces(np.where(fixed > 0, fixed, labels), downsample, mpp, names, loose_um2)


def _drawn_labels(mask: Mask, downsample: float, drawn: DrawnPieces | None) -> Labels:
    """Return the labels of tissue that a person outlined."""
    labels = np.zeros(mask.shape, np.uint8)
    if drawn is not None:
        size = Size(mask.shape[1], mask.shape[0])
        for number, polygons in enumerate(drawn.pieces.values(), 1):
            labels[mask & mask_of(polygons, size, downsample)] = number
        labels[mask & mask_of(drawn.left_out, size, downsample)] = LEFT_OUT
    return labels


def _found(mask: Mask, pixel_um: float) -> tuple[Labels, float]:
    """Return the pieces in a mask of ``pixel_um`` µm per pixel, and the µm² of fragments of none."""
    mask = mask & ~_thin(mask, THINNEST_UM / pixel_um)
    side_um = math.sqrt(float(mask.sum())) * pixel_um
    join_px = min(JOIN_UM, JOIN_SHARE * side_um) / pixel_um
    parts, count = ndimage.label(_closed(mask, join_px / 2), np.ones((3, 3)))
    parts = np.where(mask, parts, 0)
    areas = np.bincount(parts.ravel(), minlength=count + 1).astype(np.float64)
    areas[0] = 0
    for part in np.flatnonzero(areas):
        if _is_edge(parts == part):
            areas[part] = 0
    labels = _numbered(parts, areas, pixel_um, join_px)
    loose = (areas[parts] > 0) & (labels == 0)
    return labels, float(loose.sum()) * pixel_um**2


def _numbered(
    parts: NDArray[np.int32], areas: NDArray[np.float64], pixel_um: float, join_px: float
) -> Labels:
    """Keep parts that are large enough, give them their fragments, and number them as one reads."""
    low, high = (share * areas.max(initial=0) for share in SMALLEST_SHARES)
    smallest = min(max(low, SMALLEST_UM2 / pixel_um**2), high)
    kept = np.flatnonzero((areas > 0) & (areas >= smallest))
    kept = kept[np.argsort(-areas[kept])][:MOST_PIECES]
    if not len(kept):
        return np.zeros(parts.shape, np.uint8)
    middles = ndimage.center_of_mass(parts > 0, parts, kept)
    number_of = np.zeros(len(areas), np.uint8)
    number_of[kept[_reading_order(np.array(middles), parts.shape[0])]] = range(1, len(kept) + 1)
    labels = number_of[parts]
    fragments = (parts > 0) & (labels == 0) & (areas[parts] > 0)
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    nearest = np.asarray(ndimage.minimum(distance, parts, np.arange(len(areas))))
    joined = fragments & (nearest[parts] <= FRAGMENT_REACHES * join_px)
    labels[joined] = labels[rows[joined], columns[joined]]
    return np.asarray(labels, np.uint8)


def _reading_order(middles: NDArray[np.float64], height: int) -> NDArray[np.intp]:
    """Return the order of ``(N, 2)`` rows and columns: rows a quarter of the slide high."""
    return np.asarray(np.lexsort((middles[:, 1], np.floor(4 * middles[:, 0] / height))))


def _reduced(mask: Mask, step: int) -> Mask:
    """Return every pixel of a coarser grid that is at least half tissue."""
    if step == 1:
        return mask.copy()
    height, width = (math.ceil(side / step) * step for side in mask.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    share = padded.reshape(height // step, step, width // step, step).mean(axis=(1, 3))
    return np.asarray(share >= 0.5)


def _closed(mask: Mask, radius: float) -> Mask:
    """Return the mask with gaps of up to twice ``radius`` pixels closed."""
    whole = math.ceil(radius)
    padded = np.pad(mask, whole + 1)
    near = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(near) > radius
    inner = slice(whole + 1, -whole - 1)
    return np.asarray((closed | padded)[inner, inner])


def _thin(mask: Mask, width: float) -> Mask:
    """Return the connected parts that are nowhere ``width`` pixels wide."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    deepest = ndimage.maximum(depth, parts, np.arange(count + 1))
    thin = np.asarray(deepest) < width / 2
    thin[0] = False
    return np.asarray(thin[parts])


def _is_edge(part: Mask) -> bool:
    """Return whether a part is an edge of glass or a label rather than tissue."""
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    at_rim = rows[0] == 0 or columns[0] == 0
    at_rim = at_rim or rows[-1] == part.shape[0] - 1 or columns[-1] == part.shape[1] - 1
    points = np.argwhere(part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    _, sides, _ = cv2.minAreaRect(points.astype(np.float32)[:, ::-1])
    short, long = sorted(side + 1 for side in sides)
    fill = len(points) / (short * long)
    if long / short > STRAIGHT_ASPECT and fill > STRAIGHT_FILL:
        return True
    covers = part.mean() > 0.5  # a field full of tissue is no label
    return bool(at_rim and fill > LABEL_FILL and not covers)
