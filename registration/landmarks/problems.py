"""What is odd about a set of picked pairs, whatever is fitted to it.

Shares are of the longest distance between two points, or of the slide's diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from registration.geometry import Points, Size

MINIMUM_PAIRS = 4
DUPLICATE_PX = 1.0
THIN = 0.04
"""Height of a set of points, as a share of its length, under which a fit magnifies errors."""
LINE = 0.005
"""Height under which no transform can be fitted."""
CLUSTERED = 0.1
"""Least extent of the points as a share of the slide's diagonal."""
USELESS_EXTENT = 0.01

Kind = Literal[
    "duplicate", "collinear", "clustered", "crossing", "mirrored", "outlier", "distorted"
]


@dataclass(frozen=True)
class Problem:
    """Something odd about a set of pairs."""

    kind: Kind
    indices: tuple[int, ...]
    """The pairs concerned, counted from 0."""
    message: str
    fatal: bool = False
    """Whether no trustworthy transform can be fitted."""


def numbers(count: int) -> list[str]:
    """Return the names of pairs that have none."""
    return [str(index + 1) for index in range(count)]


def shape_problems(
    fixed: Points,
    moving: Points,
    names: Sequence[str],
    slides: tuple[str, str] = ("IHC", "H&E"),
) -> list[Problem]:
    """Find duplicates, lines and crossings: what makes a fit meaningless on any slide.

    ``slides`` is what the fixed and the moving slide are called in messages.
    """
    problems = []
    duplicates = _duplicates(fixed, moving)
    if duplicates:
        which = " and ".join(names[index] for index in duplicates[0])
        fatal = len(fixed) - len({second for _, second in duplicates}) < MINIMUM_PAIRS
        problems.append(
            Problem(
                "duplicate",
                tuple(sorted({index for pair in duplicates for index in pair})),
                f"pairs {which} are at the same place; remove one of them",
                fatal,
            )
        )
    both = zip((fixed, moving), slides, strict=True)
    lines = [_line(points, names, slide) for points, slide in both]
    found = [line for line in lines if line and not duplicates]
    problems += sorted(found, key=lambda line: not line.fatal)[:1]
    if not any(problem.fatal for problem in problems):
        problems += _crossing(fixed, moving, names)
    return problems


def _duplicates(fixed: Points, moving: Points) -> list[tuple[int, int]]:
    """Return pairs that coincide with an earlier one, on either slide."""
    return [
        (first, second)
        for first, second in combinations(range(len(fixed)), 2)
        for points in (fixed, moving)
        if np.linalg.norm(points[first] - points[second]) < DUPLICATE_PX
    ]


def _line(points: Points, names: Sequence[str], slide: str) -> Problem | None:
    """Find points that make a fit degenerate: any three of four, or all of more."""
    count = len(points)
    sets = list(combinations(range(count), 3)) if count == MINIMUM_PAIRS else [tuple(range(count))]
    heights = []
    for indices in sets:
        part = points[list(indices)]
        heights.append(float(np.linalg.svd(part - part.mean(axis=0), compute_uv=False)[1]))
    thinnest = int(np.argmin(heights))
    share = heights[thinnest] / max(extent(points), 1e-12)
    if share >= THIN:
        return None
    which = ", ".join(names[index] for index in sets[thinnest])
    message = (
        f"pairs {which} lie {'' if share < LINE else 'nearly '}on one line on the {slide} slide; "
        "pick points that span an area, near the corners of the tissue"
    )
    return Problem("collinear", sets[thinnest], message, fatal=share < LINE)


def _crossing(fixed: Points, moving: Points, names: Sequence[str]) -> list[Problem]:
    """Find four pairs whose quadrilaterals run round differently: two of them are mixed up."""
    if len(fixed) != MINIMUM_PAIRS:
        return []
    turns = [
        turn(fixed[list(three)]) * turn(moving[list(three)]) for three in combinations(range(4), 3)
    ]
    if len(set(turns)) == 1:
        return []
    message = (
        f"the quadrilaterals of pairs {', '.join(names)} cross each other: two of the pairs are "
        "mixed up, or one is far from its place"
    )
    return [Problem("crossing", (0, 1, 2, 3), message, fatal=True)]


def extent_problems(fixed: Points, size: Size) -> list[Problem]:
    """Find points that are too close together to say anything about the whole slide."""
    share = extent(fixed) / size.diagonal
    if share >= CLUSTERED:
        return []
    message = (
        f"all points lie within {100 * share:.1f} % of the slide's diagonal; pick points far apart, near "
        "the edges of the tissue"
    )
    everything = tuple(range(len(fixed)))
    return [Problem("clustered", everything, message, fatal=share < USELESS_EXTENT)]


def turn(triangle: Points) -> int:
    """Return 1 or -1: which way round a triangle's corners run."""
    return int(np.sign(np.linalg.det(triangle[1:] - triangle[0])))


def extent(points: Points) -> float:
    """Return the longest distance between two of the points."""
    difference = points[:, None] - points[None]
    return float(np.linalg.norm(difference, axis=-1).max())
