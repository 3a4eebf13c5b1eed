"""Datasets that others made: what they hold, and how well their pairs lie on each other.

A pair is compared as the patches of a slide are: its two images, and the first against the second
images of other pairs. Those come from other slides, which makes for an easier null distribution
than a slide's own; the figures of different datasets compare among themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches.alignment import Alignment, align, fine_structure, null_percentiles
from pipeline.patches.blank.filter import work_downsample
from pipeline.patches.grades import Grade, grade_of
from pipeline.patches.selection import misaligned
from pipeline.patches.settings import PatchSettings
from registration.cell_evidence import CellCount
from registration.execution import Progress, Workers
from registration.files.storage import write_text
from registration.files.tables import table_text
from registration.quality.cells import look_at_images
from registration.stain import Plane

if TYPE_CHECKING:
    from training.data.pairs import PairDataset, PatchPair

MOST_MISMATCHED = 12
"""Other pairs' images that each image is compared with."""


@dataclass(frozen=True, slots=True)
class PairScore:
    """How well one pair is aligned."""

    name: str
    split: str | None
    her2: str | None
    shift_um: float
    shift_px: float
    """In pixels of the images."""
    similarity: float
    null_percentile: float | None
    grade: Grade | None
    """``None`` where a patch of ours would not be kept."""


SCORE_COLUMNS = tuple(field.name for field in fields(PairScore))


@dataclass(frozen=True)
class Compared:
    """What is measured of one pair."""

    own: Alignment
    null: list[float]
    """Similarities of mismatched pairs."""
    cells: CellCount | None


@dataclass(frozen=True)
class ScoreTask:
    """Some pairs, each of which is compared with some of the others, too."""

    pairs: tuple[PatchPair, ...]
    mpp: float


def described(dataset: PairDataset) -> dict[str, Any]:
    """Return what a dataset holds.

    Raises :class:`training.errors.DataError` for damaged images, and for pairs of two sizes.
    """
    sizes = Counter(pair.size for pair in dataset.pairs)
    return {
        "source": dataset.source,
        "layout": dataset.layout,
        "pairs": len(dataset.pairs),
        "splits": dict(Counter(pair.split or "none" for pair in dataset.pairs)),
        "her2": dict(sorted(Counter(pair.her2 or "unknown" for pair in dataset.pairs).items())),
        "sizes": {f"{width} x {height}": count for (width, height), count in sizes.items()},
        "notes": list(dataset.notes),
    }


def score(
    pairs: Sequence[PatchPair], mpp: float, workers: Workers, progress: Progress
) -> list[PairScore]:
    """Return the alignment of every pair; ``mpp`` is that of the images.

    Pairs are compared in groups drawn from the whole dataset, so that each image is read once.
    """
    order = np.random.default_rng(len(pairs)).permutation(len(pairs))
    groups = np.array_split(order, max(1, len(pairs) // (MOST_MISMATCHED + 1)))
    tasks = [ScoreTask(tuple(pairs[k] for k in group), mpp) for group in groups]
    measured: list[Compared] = []
    for found in workers.map(score_some, tasks):
        measured += found
        progress("alignment", len(measured), len(pairs))
    ranks = null_percentiles(
        [one.own.similarity for one in measured], [one.null for one in measured]
    )
    places = {int(number): place for place, number in enumerate(order)}
    return [
        _scored(pair, measured[places[number]], ranks[places[number]], mpp)
        for number, pair in enumerate(pairs)
    ]


def score_some(task: ScoreTask) -> list[Compared]:
    """Compare some pairs with their partners and with mismatched ones."""
    downsample = work_downsample(task.mpp)
    mpp = task.mpp * downsample
    planes, cells = [], []
    for pair in task.pairs:
        he, ihc = pair.read()
        planes.append((_plane(he, downsample, mpp), _plane(ihc, downsample, mpp)))
        cells.append(look_at_images(ihc, he, task.mpp))
    found = []
    for number, (first, second) in enumerate(planes):
        others = [other for k, (_, other) in enumerate(planes) if k != number]
        null = [
            align(other, first, mpp).similarity
            for other in others[:MOST_MISMATCHED]
            if other.shape == first.shape
        ]
        found.append(Compared(align(second, first, mpp), null, cells[number]))
    return found


def write_scores(path: Path, measured: Sequence[PairScore]) -> None:
    """Write one line per pair."""
    write_text(path, table_text([SCORE_COLUMNS, *map(astuple, measured)]))


def is_scores(path: Path) -> bool:
    """Return whether a file is a table that :func:`write_scores` wrote."""
    with path.open("rb") as file:
        # Earlier tables have no grade.
        return (
            file.readline(1000).decode("utf-8", "replace").startswith(",".join(SCORE_COLUMNS[:-1]))
        )


def _plane(image: NDArray[np.uint8], downsample: float, mpp: float) -> Plane:
    """Return the middle square of an image as the plane that is compared."""
    side = min(image.shape[:2])
    top, left = ((extent - side) // 2 for extent in image.shape[:2])
    square = image[top : top + side, left : left + side]
    small = max(1, round(side / downsample))
    resized = cv2.resize(square, (small, small), interpolation=cv2.INTER_AREA)
    return fine_structure(np.ascontiguousarray(resized), mpp)


def _scored(pair: PatchPair, found: Compared, rank: float | None, mpp: float) -> PairScore:
    own = found.own
    kept = not misaligned(own, rank, PatchSettings())
    return PairScore(
        name=pair.name,
        split=pair.split,
        her2=pair.her2,
        shift_um=round(own.shift_um, 3),
        shift_px=round(own.shift_um / mpp, 2),
        similarity=round(own.similarity, 4),
        null_percentile=None if rank is None else round(rank, 2),
        grade=grade_of(own.shift_um, rank, found.cells) if kept else None,
    )
