"""Leaks between the splits of any dataset, found from its images and from names that carry a slide.

A model that is tested on what it was trained on looks better than it is. Two pairs of different
splits leak where they are of one slide, show the same pixels (whole, turned, or in part), or touch:
the edge of one continues in the other. Of every pair a small signature is kept: a 16 x 16 thumbnail
of both stains for duplicates, key points for overlaps (which are then verified pixel by pixel), and
the outermost pixels of all four sides, with what is large taken out, for touching patches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches.alignment import turned
from registration.execution import Progress, Workers
from registration.geometry import Image
from registration.stain import Plane, extract_channel

if TYPE_CHECKING:
    from training.data.pairs import PatchPair

Kind = Literal["same slide", "duplicate", "overlapping", "touching"]

SLIDE_NAME = re.compile(r"^(?P<slide>.*\d.*?)[_-]x?\d+[_-]y?\d+$", re.IGNORECASE)
"""``15M2102762_15_26``: a slide with a digit in its name, then two coordinates."""

BARCODE = re.compile(r"^TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}", re.IGNORECASE)

THUMBNAIL_PX = 16
DUPLICATE = 0.97
"""Correlation of thumbnails from which two pairs are worth a closer look ..."""

SAME_PIXELS = 0.9
"""... and of the shared pixels, flattened, of both stains, from which they are the same tissue."""

CLOSER_PX = 256
KEY_POINTS = 120
NEAR_BITS = 40
"""Two key points are alike where at most so many of 256 bits differ."""

FEWEST_VOTES = 5
"""Key points that must agree on one offset, to within:"""
AGREE_PX = 3

LEAST_OVERLAP_PX = 24
"""Of 256: less is not told from a patch that touches."""

EDGE_SAMPLES = 512
EDGE_FLAT = 33
CONTINUES, CONTINUES_EACH = 0.5, 0.3
"""Correlation of two edges from which one continues in the other: mean, and each of both stains. Quarters
of BCI and MIST images that touch reach 0.64 or more, 15,360 edges of different images at most 0.28."""

LEAST_CONTRAST = 0.01

WAYS = ("on the right", "on the left", "below", "above")
"""Where a pair lies whose left, right, upper or lower edge continues another's."""

AT_ONCE = 8
PAIRS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Signature:
    """What is kept of one pair."""

    thumbnail: NDArray[np.float32]
    """``(2, 16, 16)`` darkness of both stains."""
    edges: NDArray[np.float32]
    """``(4, 2, 512)``: left, right, top, bottom of both stains, each of length 1; 0 where flat."""
    places: NDArray[np.float32]
    """``(K, 2)`` key points in the image of 256 px ..."""
    bits: NDArray[np.uint8]
    """... and what is there, ``(K, 32)``."""


@dataclass(frozen=True)
class SignatureTask:
    """Some pairs."""

    pairs: tuple[PatchPair, ...]


@dataclass(frozen=True, slots=True)
class Leak:
    """Two pairs of different splits that are not independent."""

    kind: Kind
    first: str
    first_split: str
    second: str
    second_split: str
    evidence: str


def audit(pairs: Sequence[PatchPair], workers: Workers, progress: Progress) -> list[Leak]:
    """Return all leaks between the splits; none where there are no two splits.

    Raises :class:`training.errors.DataError` for damaged images.
    """
    splits = sorted({pair.split for pair in pairs if pair.split})
    if len(splits) < 2:
        return []
    tasks = [SignatureTask(tuple(pairs[k : k + AT_ONCE])) for k in range(0, len(pairs), AT_ONCE)]
    signed: list[Signature] = []
    for found in workers.map(sign, tasks):
        signed += found
        progress("signatures", len(signed), len(pairs))
    leaks = list(_same_slides(pairs))
    for first, second in combinations(splits, 2):
        a, b = ([n for n, p in enumerate(pairs) if p.split == split] for split in (first, second))
        leaks += _between(pairs, signed, a, b, progress)
    return leaks


def sign(task: SignatureTask) -> list[Signature]:
    """Return the signatures of some pairs."""
    return [signature_of(*pair.read()) for pair in task.pairs]


def signature_of(he: Image, ihc: Image) -> Signature:
    """Return what is kept of a pair of ``(h, w, 3)`` images of one size."""
    planes = [extract_channel(np.ascontiguousarray(image), "darkness") for image in (he, ihc)]
    small = [
        cv2.resize(plane, (THUMBNAIL_PX,) * 2, interpolation=cv2.INTER_AREA) for plane in planes
    ]
    edges = [[_edge(plane, side) for plane in planes] for side in range(4)]
    places, bits = _key_points(_closer(planes[0]))
    return Signature(np.stack(small), np.array(edges, np.float32), places, bits)


def slide_of(pair: PatchPair) -> str | None:
    """Return the slide or patient that a pair is known, or named, to be of; ``None`` where unknown."""
    if pair.patient:
        return pair.patient
    barcode = BARCODE.match(pair.name)
    if barcode:
        return barcode[0].upper()
    named = SLIDE_NAME.match(pair.name)
    return named["slide"] if named else None


def _same_slides(pairs: Sequence[PatchPair]) -> Iterator[Leak]:
    """Yield one leak per slide and further split that it is in."""
    first: dict[str, PatchPair] = {}
    reported: set[tuple[str, str]] = set()
    for pair in pairs:
        slide = slide_of(pair)
        if slide is None or not pair.split:
            continue
        other = first.setdefault(slide, pair)
        if other.split and other.split != pair.split and (slide, pair.split) not in reported:
            reported.add((slide, pair.split))
            yield _leak("same slide", other, pair, f"both are of {slide}")


def _watched(numbers: Sequence[int], progress: Progress) -> Iterator[int]:
    """Yield pairs of a split, and report how many have been compared with the other split."""
    for done, number in enumerate(numbers, start=1):
        yield number
        progress("comparisons", done, len(numbers))


def _between(
    pairs: Sequence[PatchPair],
    signed: Sequence[Signature],
    a: Sequence[int],
    b: Sequence[int],
    progress: Progress,
) -> Iterator[Leak]:
    """Yield the leaks between two splits, each couple of pairs once."""
    reported: set[tuple[int, int]] = set()
    for i, j, evidence in _duplicates(pairs, signed, a, b):
        reported.add((i, j))
        yield _leak("duplicate", pairs[i], pairs[j], evidence)
    for i, j, evidence in _overlaps(pairs, signed, _watched(a, progress), b):
        if (i, j) not in reported:
            reported.add((i, j))
            yield _leak("overlapping", pairs[i], pairs[j], evidence)
    for i, j, evidence in _touching(signed, a, b):
        if (i, j) not in reported:
            yield _leak("touching", pairs[i], pairs[j], evidence)


def _leak(kind: Kind, first: PatchPair, second: PatchPair, evidence: str) -> Leak:
    return Leak(kind, first.name, str(first.split), second.name, str(second.split), evidence)


def _duplicates(
    pairs: Sequence[PatchPair], signed: Sequence[Signature], a: Sequence[int], b: Sequence[int]
) -> Iterator[tuple[int, int, str]]:
    """Yield couples that show the same pixels, turned or mirrored or not."""
    rows = _unit(np.array([signed[i].thumbnail.ravel() for i in a]))
    for way in range(8):
        others = np.array([turned(signed[j].thumbnail, way).ravel() for j in b])
        for i, j in np.argwhere(rows @ _unit(others).T > DUPLICATE).tolist():
            likeness = _likeness(_planes(pairs[a[i]]), turned(_planes(pairs[b[j]]), way))
            if likeness > SAME_PIXELS:
                how = "" if way == 0 else ", turned or mirrored"
                yield a[i], b[j], f"correlation {likeness:.2f}{how}"


def _overlaps(
    pairs: Sequence[PatchPair], signed: Sequence[Signature], a: Iterable[int], b: Sequence[int]
) -> Iterator[tuple[int, int, str]]:
    """Yield couples that share a part of their pixels."""
    owner = np.repeat(np.arange(len(b)), [len(signed[j].places) for j in b])
    if not len(owner):
        return
    bits = np.concatenate([signed[j].bits for j in b])
    places = np.concatenate([signed[j].places for j in b])
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    for i in a:
        own = signed[i]
        if not len(own.places):
            continue
        near = [hit for hits in matcher.radiusMatch(own.bits, bits, NEAR_BITS) for hit in hits]
        offsets: dict[int, list[NDArray[np.float32]]] = {}
        for hit in near:
            moved = own.places[hit.queryIdx] - places[hit.trainIdx]
            offsets.setdefault(int(owner[hit.trainIdx]), []).append(moved)
        for j, votes in offsets.items():
            offset = _agreed(np.array(votes))
            if offset is None:
                continue
            likeness = _overlap_likeness(_planes(pairs[i]), _planes(pairs[b[j]]), offset)
            if likeness > SAME_PIXELS:
                yield i, b[j], f"correlation {likeness:.2f} where they overlap"


def _touching(
    signed: Sequence[Signature], a: Sequence[int], b: Sequence[int]
) -> Iterator[tuple[int, int, str]]:
    """Yield couples of which an edge of one continues in the other."""
    for k in range(0, len(a), PAIRS_AT_ONCE):
        some = a[k : k + PAIRS_AT_ONCE]
        for side in range(4):
            mine = np.array([signed[i].edges[side ^ 1] for i in some])
            theirs = np.array([signed[j].edges[side] for j in b])
            stains = np.stack([mine[:, s] @ theirs[:, s].T for s in range(2)])
            continues = (stains.mean(axis=0) > CONTINUES) & (stains.min(axis=0) > CONTINUES_EACH)
            for i, j in np.argwhere(continues).tolist():
                value = stains[:, i, j].mean()
                yield some[i], b[j], f"the second lies {WAYS[side]}; edges correlate by {value:.2f}"


def _planes(pair: PatchPair) -> NDArray[np.float32]:
    """Return a pair as it is looked at closely, ``(2, 256, 256)``."""
    return np.stack([_closer(extract_channel(image, "darkness")) for image in pair.read()])


def _closer(plane: Plane) -> Plane:
    return np.asarray(
        cv2.resize(plane, (CLOSER_PX, CLOSER_PX), interpolation=cv2.INTER_AREA), np.float32
    )


def _edge(plane: Plane, side: int) -> NDArray[np.float32]:
    """Return the outermost pixels of one side, what is large taken out, of length 1."""
    line = (plane[:, 0], plane[:, -1], plane[0], plane[-1])[side]
    even = cv2.resize(line.reshape(1, -1), (EDGE_SAMPLES, 1), interpolation=cv2.INTER_AREA)
    fine = (even - cv2.blur(even, (EDGE_FLAT, 1))).ravel()
    length = float(np.linalg.norm(fine))
    if length < LEAST_CONTRAST * np.sqrt(EDGE_SAMPLES):
        return np.zeros(EDGE_SAMPLES, np.float32)
    return np.asarray(fine / length, np.float32)


def _key_points(plane: Plane) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the key points of a plane of 256 px and their bits."""
    grey = cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    found, bits = cv2.ORB.create(
        KEY_POINTS, nlevels=1, edgeThreshold=16, patchSize=21
    ).detectAndCompute(grey, None)
    if bits is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    return np.array([point.pt for point in found], np.float32), np.asarray(bits, np.uint8)


def _agreed(offsets: NDArray[np.float32]) -> tuple[int, int] | None:
    """Return the offset that enough of ``(N, 2)`` offsets agree on."""
    if len(offsets) < FEWEST_VOTES:
        return None
    near = np.abs(offsets[:, None] - offsets[None]).max(axis=2) <= AGREE_PX
    best = int(near.sum(axis=1).argmax())
    if near[best].sum() < FEWEST_VOTES:
        return None
    x, y = np.rint(np.median(offsets[near[best]], axis=0)).astype(int)
    return int(x), int(y)


def _overlap_likeness(
    first: NDArray[np.float32], second: NDArray[np.float32], offset: tuple[int, int]
) -> float:
    """Return the correlation where ``second`` lies over ``first`` at an offset, give or take 2 px."""
    best = -1.0
    for dx in range(offset[0] - 2, offset[0] + 3):
        for dy in range(offset[1] - 2, offset[1] + 3):
            width, height = CLOSER_PX - abs(dx), CLOSER_PX - abs(dy)
            if min(width, height) < LEAST_OVERLAP_PX:
                continue
            own = first[:, max(dy, 0) : max(dy, 0) + height, max(dx, 0) : max(dx, 0) + width]
            other = second[:, max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]
            best = max(best, _likeness(own, other))
    return best


def _likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the lower of the correlations of both stains' fine structure."""
    values = []
    for a, b in zip(first, second, strict=True):
        fine = [plane - cv2.GaussianBlur(plane, (0, 0), 8) for plane in (a, b)]
        norm = float(np.linalg.norm(fine[0]) * np.linalg.norm(fine[1]))
        values.append(float((fine[0] * fine[1]).sum()) / norm if norm > 1e-6 else 0.0)
    return min(values)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows around their means, of length 1; rows without contrast are 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-3, centred / np.maximum(length, 1e-9), 0), np.float32)
