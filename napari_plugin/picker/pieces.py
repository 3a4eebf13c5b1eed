"""What a person says of pieces of tissue: control tissue, joined, cut in two, paired; and brush strokes.

Pieces are those that the program found on the slides and nobody touched, and those that a person
named. Only what a person touched is kept, as outlines; the program finds the others again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_plugin.picker.picks import RefusedError
from napari_plugin.picker.regions import Region, Regions
from napari_plugin.views import STAIN, XY, Side
from registration.geometry import Points, Size
from registration.piece_map import Outlines, outlines_of

PLANE_PX = 1024
"""Outlines are compared, cut and joined on a plane of about so many pixels a side."""
TOUCHED_SHARE = 0.5
"""A found piece of which a person outlined more than this is no longer shown as found."""
LEAST_PART = 0.02
"""What a cut leaves of a piece is a part of its own from this share of it on."""
CUT_PX = 3

Found = dict[Side, tuple[Outlines, ...]]
"""The pieces that the program found on each slide: the outer borders of each."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece, control tissue or excluded place on one slide."""

    kind: str
    """``found`` for one that nobody touched."""
    outlines: Outlines
    regions: tuple[Region, ...] = ()
    """What is kept of it."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """The pieces on both slides as they are shown."""

    regions: Regions = field(default_factory=Regions)
    found: Found = field(default_factory=dict)

    def on(self, side: Side) -> list[Piece]:
        """Return what is on a slide, what a person drew last."""
        own = self.regions.on(side)
        drawn = [region.outline for region in own]
        free = [
            Piece("found", outlines)
            for outlines in self.found.get(side, ())
            if _covered(outlines, drawn) <= TOUCHED_SHARE
        ]
        named = dict.fromkeys(one.kind for one in own if one.kind.startswith("piece"))
        pieces = [self._named(side, kind) for kind in named]
        others = [
            Piece(one.kind, (one.outline,), (one,))
            for one in own
            if not one.kind.startswith("piece")
        ]
        return [*free, *pieces, *others]

    def at(self, side: Side, xy: XY) -> Piece:
        """Return the piece under a point, the smallest. Raises :class:`RefusedError` where is none."""
        under = [one for one in self.on(side) if any(_holds(ring, xy) for ring in one.outlines)]
        if not under:
            raise RefusedError(f"There is no piece at that place of the {STAIN[side]} slide.")
        return min(under, key=lambda one: sum(_area(ring) for ring in one.outlines))

    def piece_of(self, side: Side, xy: XY) -> str:
        """Return a name for the piece that holds a point, or the nearest; empty where all is one."""
        pieces = [one for one in self.on(side) if one.kind == "found" or one.regions]
        pieces = [one for one in pieces if one.kind not in ("control", "exclude")]
        if len(pieces) < 2:
            return ""
        depth = [max(_depth(ring, xy) for ring in one.outlines) for one in pieces]
        nearest = int(np.argmax(depth))
        kind = pieces[nearest].kind
        return kind if kind != "found" else f"tissue {nearest + 1}"

    def marked(self, side: Side, piece: Piece, kind: str) -> Regions:
        """Return the regions with a piece called ``kind``, or left as found where it is so already."""
        new = [] if piece.kind == kind else [Region(kind, ring) for ring in piece.outlines]
        return self.regions.changed(side, piece.regions, new)

    def joined(self, side: Side, one: Piece, other: Piece) -> Regions:
        """Return the regions with two pieces of a slide as one."""
        if one.outlines[0] is other.outlines[0]:
            raise RefusedError("That is the same piece: click two different ones.")
        kind = next((p.kind for p in (one, other) if p.kind.startswith("piece")), None)
        kind = kind or self.regions.new_piece
        new = [Region(kind, ring) for p in (one, other) for ring in p.outlines]
        return self.regions.changed(side, (*one.regions, *other.regions), new)

    def paired(self, he: Piece, ihc: Piece) -> Regions:
        """Return the regions with a piece of each slide under one name."""
        kind = self.regions.new_piece
        first = self.marked("he", he, kind)
        return Tissue(first).marked("ihc", ihc, kind)

    def cut(self, side: Side, piece: Piece, begin: XY, end: XY) -> Regions:
        """Return the regions with a piece cut in two along a line.

        Raises :class:`RefusedError` where the line does not go through the whole of it.
        """
        plane = _Plane.around([*piece.outlines, np.array([begin, end])])
        whole = plane.filled(piece.outlines)
        mask, line = whole.copy(), plane.at(np.array([begin, end]))
        cv2.line(mask, line[0].tolist(), line[1].tolist(), 0, CUT_PX)
        parts = _parts(mask)
        if len(parts) <= len(_parts(whole)):
            raise RefusedError(
                "The line must go through the whole piece: begin and end outside it."
            )
        regions = self.regions.changed(side, piece.regions)
        for part in parts:
            kind = regions.new_piece
            new = [Region(kind, ring) for ring in plane.outlines(part)]
            regions = regions.changed(side, (), new)
        return regions

    def with_outline(self, side: Side, kind: str, outline: Points) -> Regions:
        """Return the regions with another outline, joined with those of its kind that it touches.

        Outlines of a kind that overlap would undo each other: a ring in a ring is a hole.
        """
        touched = [
            one for one in self.regions.of_piece(side, kind) if _covered((one.outline,), [outline])
        ]
        if not touched:
            return self.regions.changed(side, (), [Region(kind, outline)])
        rings = [outline, *(one.outline for one in touched)]
        plane = _Plane.around(rings)
        mask = np.maximum.reduce([plane.filled((ring,)) for ring in rings])
        new = [Region(kind, ring) for ring in plane.outlines(mask > 0)]
        return self.regions.changed(side, touched, new)

    def _named(self, side: Side, kind: str) -> Piece:
        regions = self.regions.of_piece(side, kind)
        return Piece(kind, tuple(one.outline for one in regions), regions)


def outer(outlines: Outlines) -> Outlines:
    """Return the outlines that lie in no other one: without holes, and without what lies in these."""
    return tuple(
        ring
        for ring in outlines
        if not any(ring is not other and _holds(other, tuple(ring[0])) for other in outlines)
    )


@dataclass(frozen=True)
class _Plane:
    """A small plane to draw outlines on."""

    x: float
    y: float
    downsample: float
    size: Size

    @classmethod
    def around(cls, outlines: Sequence[Points]) -> _Plane:
        """Return a plane with room for outlines and a margin."""
        points = np.concatenate(list(outlines))
        low, high = points.min(axis=0), points.max(axis=0)
        downsample = max(1.0, float((high - low).max()) / PLANE_PX)
        x, y = low - 4 * downsample
        width, height = (int(side) for side in np.ceil((high - low) / downsample) + 9)
        return cls(float(x), float(y), downsample, Size(width, height))

    def at(self, points: Points) -> NDArray[np.int32]:
        """Return the pixels of level-0 points."""
        return np.rint((points - [self.x, self.y]) / self.downsample).astype(np.int32)

    def filled(self, outlines: Sequence[Points]) -> NDArray[np.uint8]:
        """Return 1 inside any of the outlines."""
        mask = np.zeros(self.size.shape, np.uint8)
        for ring in outlines:
            cv2.fillPoly(mask, [self.at(ring)], 1)
        return mask

    def outlines(self, mask: NDArray[np.bool_]) -> Outlines:
        """Return the outer borders of a mask in level-0 pixels."""
        at = np.array([self.x, self.y])
        middle = (self.downsample - 1) / 2
        return tuple(ring - middle + at for ring in outer(outlines_of(mask, self.downsample)))


def stroke(path: Points, radius: float) -> Points:
    """Return the outline of what a round brush of ``radius`` covered on its way, in pixels."""
    circle = np.linspace(0, 2 * np.pi, 33)[:-1]
    disc = radius * np.stack([np.cos(circle), np.sin(circle)], axis=1)
    rings = [path[:1] + disc, path[-1:] + disc]
    for begin, end in pairwise(path):
        hull = cv2.convexHull(np.concatenate([begin + disc, end + disc]).astype(np.float32))
        rings.append(hull.reshape(-1, 2).astype(np.float64))
    plane = _Plane.around(rings)
    return max(plane.outlines(plane.filled(rings) > 0), key=_area)


def _parts(mask: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """Return the connected parts of a mask that are more than crumbs."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    least = LEAST_PART * mask.sum()
    sizes = stats[:, cv2.CC_STAT_AREA]
    return [np.asarray(labels == k) for k in range(1, count) if sizes[k] >= least]


def _covered(outlines: Sequence[Points], drawn: Sequence[Points]) -> float:
    """Return the share of what lies in outlines that lies in others as well."""
    if not drawn:
        return 0.0
    plane = _Plane.around(outlines)
    own, others = plane.filled(outlines), plane.filled(drawn)
    return float(others[own > 0].mean()) if own.any() else 0.0


def _depth(ring: Points, xy: XY) -> float:
    """Return how far inside an outline a point lies; negative outside."""
    return float(cv2.pointPolygonTest(ring.astype(np.float32), xy, measureDist=True))


def _holds(ring: Points, xy: XY) -> bool:
    return _depth(ring, (float(xy[0]), float(xy[1]))) >= 0


def _area(ring: Points) -> float:
    return float(cv2.contourArea(ring.astype(np.float32)))
