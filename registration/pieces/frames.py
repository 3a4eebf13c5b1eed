"""Pixels of two slides and of parts cut from them."""

from __future__ import annotations

import numpy as np

from registration.geometry import Box, Points, from_level0, look_up, to_level0
from registration.pieces.find import Pieces
from registration.transforms import Projective, Transform

PIECE_POINTS = 4000
"""A piece is mapped by about so many of its pixels."""


def on_slides(transform: Projective, fixed: Box, moving: Box) -> Projective:
    """Return an alignment of two parts, cut at these boxes, in level-0 pixels of the slides."""
    into = Projective.translation(-fixed.x, -fixed.y)
    return Projective.translation(moving.x, moving.y).after(transform).after(into)


def between_parts(transform: Projective, fixed: Box, moving: Box) -> Projective:
    """Return an alignment of the slides in level-0 pixels of two parts, cut at these boxes."""
    out = Projective.translation(fixed.x, fixed.y)
    return Projective.translation(-moving.x, -moving.y).after(transform).after(out)


def corner(box: Box) -> Points:
    """Return ``(x, y)`` of a box's first pixel."""
    return np.array([box.x, box.y], np.float64)


def landed(
    source: Pieces, number: int, transform: Transform, target: Pieces, onto: int | None = None
) -> float:
    """Return the share of a piece that a map lays on tissue of the other slide, or on one piece."""
    there = target.under(transform(_points(source, (number,))))
    return float((there > 0).mean() if onto is None else (there == onto).mean())


def astray(
    source: Pieces,
    numbers: tuple[int, ...],
    transform: Transform,
    target: Pieces,
    onto: tuple[int, ...],
    reach_um: float,
) -> float:
    """Return the share of some pieces that a map lays farther than ``reach_um`` off those meant."""
    there = from_level0(transform(_points(source, numbers)), target.downsample)
    return float(1 - look_up(target.near(onto, reach_um), there).mean())


def _points(pieces: Pieces, numbers: tuple[int, ...]) -> Points:
    """Return about :data:`PIECE_POINTS` level-0 points spread over some pieces."""
    rows, columns = np.nonzero(np.isin(pieces.labels, numbers))
    every = max(1, len(rows) // PIECE_POINTS)
    pixels = np.stack([columns, rows], axis=1)[::every].astype(np.float64)
    return to_level0(pixels, pieces.downsample)
