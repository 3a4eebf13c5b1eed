"""Several pieces on one slide, each with a chain of its own: one look-up from point to piece to chain.

Every piece has a territory on both slides: its tissue and a margin of glass around it. A point of
the fixed slide maps through the chain of the piece whose territory it lies in; a point that lies in
none maps nowhere (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from registration.geometry import Points, Size, mesh
from registration.transforms import Chain, Transform

LOOKUP_SIDE_PX = 4096
"""Territories are looked up on a plane of at most so many pixels a side."""

Outlines = tuple[Points, ...]
"""Polygons in level-0 pixels; a polygon inside another is a hole."""


@dataclass(frozen=True, eq=False)
class MappedPiece:
    """A piece that was registered: its territories and its chain, in level-0 pixels of the slides."""

    number: int
    fixed: Outlines
    moving: Outlines
    chain: Chain


@dataclass(frozen=True, eq=False)
class Territories:
    """Which piece each place of a slide belongs to; 0 where to none."""

    labels: NDArray[np.uint8]
    downsample: float

    @classmethod
    def of(cls, outlines: Mapping[int, Outlines], size: Size) -> Territories:
        """Draw the territories of pieces, by number, on a slide of ``size``."""
        downsample = max(1.0, max(size.width, size.height) / LOOKUP_SIDE_PX)
        labels = np.zeros(size.downsampled(downsample).shape, np.uint8)
        for number, polygons in outlines.items():
            drawn = [np.rint((p + 0.5) / downsample - 0.5).astype(np.int32) for p in polygons]
            cv2.fillPoly(labels, drawn, number)
        return cls(labels, downsample)

    def at(self, points: Points) -> NDArray[np.uint8]:
        """Return the piece at each of the ``(N, 2)`` level-0 points."""
        height, width = self.labels.shape
        where = np.floor((np.nan_to_num(points, nan=-1e9) + 0.5) / self.downsample)
        within = (where >= 0) & (where < [width, height])
        inside = np.asarray(within.all(axis=1))
        columns, rows = np.where(inside[:, None], where, 0).astype(np.int64).T
        return np.where(inside, self.labels[rows, columns], 0).astype(np.uint8)

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the piece at every crossing of a grid: ``(len(ys), len(xs))``."""
        height, width = self.labels.shape
        columns, rows = (np.floor((axis + 0.5) / self.downsample).astype(int) for axis in (xs, ys))
        taken = self.labels[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)]
        taken[(rows < 0) | (rows >= height)] = 0
        taken[:, (columns < 0) | (columns >= width)] = 0
        return np.asarray(taken, np.uint8)


@dataclass(frozen=True, eq=False)
class Piecewise:
    """One transform per territory."""

    territories: Territories
    transforms: Mapping[int, Transform]
    stays: bool = False
    """Whether points of no territory map to themselves; otherwise they map nowhere."""

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points."""
        points = np.atleast_2d(np.asarray(points, np.float64))
        piece = self.territories.at(points)
        mapped = points.copy() if self.stays else np.full_like(points, np.nan)
        for number, transform in self.transforms.items():
            own = piece == number
            if own.any():
                mapped[own] = transform(points[own])
        return mapped

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``."""
        piece = self.territories.on_grid(xs, ys)
        mapped = mesh(xs, ys).reshape(len(ys), len(xs), 2)
        if not self.stays:
            mapped[...] = np.nan
        for number, transform in self.transforms.items():
            own = piece == number
            if own.any():
                rows, columns = span(own)
                part = transform.on_grid(xs[columns], ys[rows])
                mapped[rows, columns][own[rows, columns]] = part[own[rows, columns]]
        return mapped

    @property
    def inverse(self) -> Transform:
        """Not known: where a point comes from depends on the territories of the other slide."""
        raise NotImplementedError("the inverse of a part of a chain is that of the whole chain")


@dataclass(frozen=True, eq=False)
class PieceMap(Chain):
    """A chain per piece, chosen by the territory that a point lies in; a :class:`Chain` to all users.

    Its two steps are those of the pieces: what is non-rigid, and the initial alignments.
    """

    pieces: tuple[MappedPiece, ...]
    fixed_size: Size
    moving_size: Size

    @classmethod
    def of(cls, pieces: Sequence[MappedPiece], fixed_size: Size, moving_size: Size) -> PieceMap:
        """Join the pieces of two slides of these level-0 sizes."""
        territories = Territories.of({piece.number: piece.fixed for piece in pieces}, fixed_size)
        first = {piece.number: piece.chain.steps[0] for piece in pieces}
        rest = {piece.number: Chain(piece.chain.steps[1:]) for piece in pieces}
        steps = (Piecewise(territories, first, stays=True), Piecewise(territories, rest))
        return cls(steps, tuple(pieces), fixed_size, moving_size)

    @cached_property
    def fixed_territories(self) -> Territories:
        """Which piece each place of the fixed slide belongs to."""
        return Territories.of({piece.number: piece.fixed for piece in self.pieces}, self.fixed_size)

    @cached_property
    def moving_territories(self) -> Territories:
        """Which piece each place of the moving slide belongs to."""
        outlines = {piece.number: piece.moving for piece in self.pieces}
        return Territories.of(outlines, self.moving_size)

    @cached_property
    def _whole(self) -> Piecewise:
        chains = {piece.number: piece.chain for piece in self.pieces}
        return Piecewise(self.fixed_territories, chains)

    def __call__(self, points: ArrayLike) -> Points:
        """Map ``(N, 2)`` points; NaN for those in no territory."""
        return self._whole(points)

    def on_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map every crossing of a grid: ``(len(ys), len(xs), 2)``; NaN in no territory."""
        return self._whole.on_grid(xs, ys)

    @property
    def inverse(self) -> Chain:
        """The inverse, by the territories of the moving slide."""
        back = {piece.number: piece.chain.inverse for piece in self.pieces}
        return Chain((_Back(self.moving_territories, back, forth=self),))


@dataclass(frozen=True, eq=False)
class _Back(Piecewise):
    """The inverse of a :class:`PieceMap`."""

    forth: Chain | None = None

    @property
    def inverse(self) -> Transform:
        """The map itself."""
        assert self.forth is not None
        return self.forth


def piece_numbers(chain: Chain, points: Points, *, moving: bool = False) -> NDArray[np.int64]:
    """Return the piece of each of the ``(N, 2)`` points of the fixed (or the moving) slide.

    0 stands for none. With a single chain for the whole slide every point is of piece 1.
    """
    if not isinstance(chain, PieceMap):
        return np.ones(len(points), np.int64)
    territories = chain.moving_territories if moving else chain.fixed_territories
    return territories.at(points).astype(np.int64)


def initial_of(chain: Chain) -> Chain:
    """Return a chain without its first step, which is the non-rigid one."""
    if not isinstance(chain, PieceMap):
        return Chain(chain.steps[1:])
    pieces = [replace(piece, chain=Chain(piece.chain.steps[1:])) for piece in chain.pieces]
    return PieceMap.of(pieces, chain.fixed_size, chain.moving_size)


def span(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold all of a mask, which is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def outlines_of(mask: NDArray[np.bool_], downsample: float) -> Outlines:
    """Return the outer and inner borders of a mask as level-0 polygons."""
    twice = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in found:
        line = cv2.approxPolyDP(contour, 1.0, closed=True).reshape(-1, 2)
        if len(line) >= 3:
            polygons.append((line + 0.5) * (downsample / 2) - 0.5)
    return tuple(polygons)
