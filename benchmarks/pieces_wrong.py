"""Pairs of slides with several pieces that must not pass, made of drawn ones, with what is true of them.

What is true of a spoiled pair differs from what was drawn: half a section that was moved belongs
where it lies now, a piece that was copied belongs in both places, and tissue that is gone has no
place. :class:`Spoiled` says so place by place, so that a program that finds the moved half is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Image, Points, Size, axis_positions, mesh
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.slides.slide import open_slide
from registration.synth import SynthCase, load_piece_truths
from registration.synth.case import MASK_DOWNSAMPLE
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.synth.rendering import macro_of
from registration.transforms import Chain

KINDS = ("other specimen", "swapped piece", "moved half", "wrong landmarks")
SIBLINGS = (
    "moved third",
    "moved fragment",
    "doubled piece",
    "half lost on H&E",
    "half lost on IHC",
    "exchanged landmarks",
    "mixed landmarks",
)
MOVED_UM = (50.0, 500.0)
FRAGMENT_UM = 100.0
GLASS_RGB = (243, 242, 245)

Placed = Callable[[Points], Points]
"""Where points of the drawn H&E slide lie on the spoiled one; NaN where they are gone."""


@dataclass(frozen=True, eq=False)
class Spoiled:
    """A pair that must not pass, or must not pass wrongly."""

    kind: str
    he: Path
    ihc: Path
    truths: dict[int, Chain]
    """Of the drawn pieces; empty where nothing is true."""
    labels: NDArray[np.uint8]
    """Number of the drawn piece at every pixel of the IHC slide's truth mask."""
    landmarks: Landmarks | None = None
    he_places: dict[int, list[Placed]] = field(default_factory=dict)
    """For the pieces that were changed: every place where a point belongs now."""
    victims: tuple[int, ...] = ()
    """Drawn pieces that are wrong."""
    may_pass: bool = False
    """Whether a program that leaves the wrong tissue out, or finds its place, may say so."""

    def errors(self, mapped: Points, points: Points, piece: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far mapped points are off, in px; infinite where they have no true place."""
        off = np.full(len(points), np.inf)
        for number, truth in self.truths.items():
            own = piece == number
            if own.any():
                drawn = truth(points[own])
                places = self.he_places.get(number, [lambda points: points])
                apart = [np.hypot(*(mapped[own] - place(drawn)).T) for place in places]
                off[own] = np.min(np.where(np.isnan(apart), np.inf, apart), axis=0)
        return off

    @property
    def place(self) -> Points:
        """The middle of the wrong tissue on the IHC slide, ``(N, 2)``."""
        middles = []
        for number in self.victims:
            rows, columns = np.nonzero(self.labels == number)
            middles.append((np.array([columns.mean(), rows.mean()]) + 0.5) * MASK_DOWNSAMPLE)
        return np.array(middles).reshape(-1, 2)


def spoiled(kind: str, number: int, case: SynthCase, other: SynthCase) -> Spoiled:
    """Spoil one of three drawn pieces; ``number`` varies how."""
    rng = np.random.default_rng([case.settings.seed, 77])
    labels, truths = piece_labels(case, "ihc"), load_piece_truths(case.folder)
    whole = Spoiled(kind, case.he, case.ihc, truths, labels)
    if kind == "other specimen":
        return replace(whole, he=other.he, truths={}, victims=tuple(truths))
    pieces = [piece for piece in described(case) if piece["kind"] == "both"]
    victim = pieces[int(rng.integers(len(pieces)))]
    donor = next(piece for piece in pieces if piece["number"] != victim["number"])
    whole = replace(whole, victims=(victim["number"],))
    if kind.endswith("landmarks"):
        return replace(whole, landmarks=misled(kind, number, case, (victim, donor), rng))
    return _repainted(whole, case, victim, donor, rng)


def _repainted(
    whole: Spoiled,
    case: SynthCase,
    victim: dict[str, Any],
    donor: dict[str, Any],
    rng: np.random.Generator,
) -> Spoiled:
    """Change the pixels of one piece on one slide."""
    section = "ihc" if whole.kind.endswith("IHC") else "he"
    with open_slide(case.ihc if section == "ihc" else case.he) as slide:
        image, size, mpp = slide.read(Box.of(slide.size)), slide.size, slide.mpp
    cell, number = Box(*victim[section]), victim["number"]
    if whole.kind in ("swapped piece", "doubled piece"):
        onto = Box(*donor["he"])
        image, shift = pasted(image, cell, onto)
        places = {number: [_gone], donor["number"]: [_same, lambda points: points + shift]}
        # The tissue that was doubled is right in both places; that of the victim in none.
        found = replace(whole, he_places=places, may_pass=whole.kind == "doubled piece")
    else:
        cut = _cut_of(whole.kind, cell, rng, mpp)
        image = cut.applied(image, cell)
        found = _with_cut(whole, case, number, cut, section)
    path = case.folder / f"spoiled_{section}.ndpi"
    label = "H&E" if section == "he" else "IHC"
    write_ndpi(path, NdpiSpec(size, mpp), iter([image]), lambda small: macro_of(small, label))
    return replace(found, **{section: path})


@dataclass(frozen=True, eq=False)
class Cut:
    """A line, or a circle, through a cell, and where the tissue beyond it goes."""

    middle: Points
    radius: float
    direction: Points
    """Of the line's normal; the circle needs none."""
    shift: Points | None
    """``None`` where it is lost."""

    def beyond(self, points: Points) -> NDArray[np.bool_]:
        """Return which points of the slide lie beyond the cut."""
        away = points - self.middle
        if self.radius > 0:
            return np.asarray(np.hypot(*away.T) < self.radius)
        return np.asarray(away @ self.direction > 0)

    def applied(self, image: Image, cell: Box) -> Image:
        """Return the slide with the tissue beyond the cut moved, or painted over."""
        part = image[cell.slices()]
        xs, ys = (
            np.arange(a, a + n, dtype=np.float64)
            for a, n in ((cell.x, cell.width), (cell.y, cell.height))
        )
        beyond = self.beyond(mesh(xs, ys)).reshape(part.shape[:2])
        glass = np.full_like(part, GLASS_RGB)
        new = np.where(beyond[..., None], glass, part)
        if self.shift is not None:
            moved = np.where(beyond[..., None], part, glass)
            matrix = np.column_stack([np.eye(2), self.shift])
            size = (cell.width, cell.height)
            new = np.minimum(new, cv2.warpAffine(moved, matrix, size, borderValue=GLASS_RGB))
        result = image.copy()
        result[cell.slices()] = new
        return result


def _cut_of(kind: str, cell: Box, rng: np.random.Generator, mpp: float) -> Cut:
    """Throw the dice for a cut through the middle of a cell, off it, or around a fragment."""
    turn = rng.uniform(0, 2 * np.pi)
    away = turn + rng.uniform(-1.2, 1.2)
    low, high = (FRAGMENT_UM, FRAGMENT_UM) if kind == "moved fragment" else MOVED_UM
    distance = np.exp(rng.uniform(np.log(low), np.log(high))) / mpp
    normal = np.array([np.cos(turn), np.sin(turn)])
    sides = np.array([cell.width, cell.height])
    middle = np.array([cell.x, cell.y]) + sides / 2
    if kind in ("moved third", "moved fragment"):
        middle = middle + normal * sides * 0.15
    return Cut(
        middle,
        0.2 * float(sides.min()) if kind == "moved fragment" else 0.0,
        normal,
        None if "lost" in kind else distance * np.array([np.cos(away), np.sin(away)]),
    )


def _with_cut(whole: Spoiled, case: SynthCase, number: int, cut: Cut, section: str) -> Spoiled:
    """Return what is true after a cut; tissue that is lost on the IHC slide is no tissue there."""
    if section == "ihc":
        return replace(whole, labels=_without(whole.labels, number, cut), may_pass=True)

    def place(points: Points) -> Points:
        beyond = cut.beyond(points)[:, None]
        return np.where(beyond, np.nan if cut.shift is None else points + cut.shift, points)

    return replace(whole, he_places={number: [place]}, may_pass=cut.shift is not None)


def _without(labels: NDArray[np.uint8], number: int, cut: Cut) -> NDArray[np.uint8]:
    """Return the labels of the truth's mask without what a cut took of one piece."""
    height, width = labels.shape
    points = mesh(*(axis_positions(0, side, MASK_DOWNSAMPLE) for side in (width, height)))
    lost = cut.beyond(points).reshape(labels.shape) & (labels == number)
    return np.where(lost, 0, labels).astype(np.uint8)


def _gone(points: Points) -> Points:
    return np.full_like(points, np.nan)


def _same(points: Points) -> Points:
    return points


def pasted(image: Image, cell: Box, donor: Box) -> tuple[Image, Points]:
    """Put another piece of the same slide in the place of one; return the image and its shift."""
    result = image.copy()
    result[cell.slices()] = GLASS_RGB
    size = Size(min(cell.width, donor.width), min(cell.height, donor.height))
    source, target = _centred(donor, size), _centred(cell, size)
    result[target.slices()] = image[source.slices()]
    return result, np.array([target.x - source.x, target.y - source.y], np.float64)


def _centred(cell: Box, size: Size) -> Box:
    x, y = cell.x + (cell.width - size.width) // 2, cell.y + (cell.height - size.height) // 2
    return Box(x, y, size.width, size.height)


def misled(
    kind: str,
    number: int,
    case: SynthCase,
    pieces: tuple[dict[str, Any], dict[str, Any]],
    rng: np.random.Generator,
) -> Landmarks:
    """Return the picks of a case with those of one piece wrong, in one of several ways."""
    picks = read_landmarks(case.landmarks)
    nearest = nearest_label(piece_labels(case, "he"), picks.he)
    own, others = (nearest == piece["number"] for piece in pieces)
    he = picks.he.copy()
    if kind == "exchanged landmarks":
        count = min(own.sum(), others.sum())
        first, second = np.flatnonzero(own)[:count], np.flatnonzero(others)[:count]
        he[first], he[second] = picks.he[second], picks.he[first]
    elif kind == "mixed landmarks":
        both = np.flatnonzero(own | others)[::2]
        he[both] = picks.he[np.roll(both, 1)]
    else:
        he[own] = WRONG_WAYS[number // len(KINDS) % len(WRONG_WAYS)](he[own], case, rng)
    pieces_column = None if number % 2 else picks.pieces
    return replace(picks, he=he, pieces=pieces_column)


def _turned(he: Points, case: SynthCase, rng: np.random.Generator) -> Points:
    return np.asarray(2 * he.mean(axis=0) - he)


def _shifted(he: Points, case: SynthCase, rng: np.random.Generator) -> Points:
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(100, 400) / case.settings.mpp_he
    return np.asarray(he + distance * np.array([np.cos(angle), np.sin(angle)]))


def _mirrored(he: Points, case: SynthCase, rng: np.random.Generator) -> Points:
    return np.asarray(he * [-1, 1] + [2 * he[:, 0].mean(), 0])


WRONG_WAYS = (_turned, _shifted, _mirrored)


def described(case: SynthCase) -> list[dict[str, Any]]:
    """Return what the truth says of the pieces."""
    text = (case.truth_folder / "truth.json").read_text(encoding="utf-8")
    return list(json.loads(text)["pieces"])


def piece_labels(case: SynthCase, section: str) -> NDArray[np.uint8]:
    """Return the number of the drawn piece at every pixel of the truth's mask."""
    path = case.truth_folder / f"pieces_{section}.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    return np.asarray(labels, np.uint8)


def nearest_label(labels: NDArray[np.uint8], points: Points) -> NDArray[np.integer]:
    """Return the drawn piece under level-0 points."""
    columns, rows = np.floor((points + 0.5) / MASK_DOWNSAMPLE).astype(int).T
    near = cv2.dilate(labels, np.ones((5, 5), np.uint8))
    return near[np.clip(rows, 0, labels.shape[0] - 1), np.clip(columns, 0, labels.shape[1] - 1)]
