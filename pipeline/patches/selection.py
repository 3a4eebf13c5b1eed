"""Which candidates are worth keeping: alignment measured row by row, then one decision for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.patches.alignment import (
    SEARCH_UM,
    Alignment,
    align,
    fine_structure,
    margin_px,
    turned,
)
from pipeline.patches.blank.filter import work_downsample
from pipeline.patches.geometry import PatchGeometry
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import RunSource
from registration.cell_evidence import CellCount
from registration.execution import Progress, Workers
from registration.files.storage import settings_hash, write_npz
from registration.geometry import Box
from registration.quality.cells import CellTask, can_compare, look_at, middle_of
from registration.stain import Plane
from registration.warp import warp_box

ROW_PATCHES = 8
"""Neighbours of a row that are read at once."""

MISMATCHED_PLACES = 48
"""Fixed patches kept to be compared with moving patches of other places."""

NULL_SIZE = 400
FEWEST_DRAWS, MOST_DRAWS = 4, 24
"""Mismatched pairs per patch: enough for a null distribution of about 400, within these bounds."""


@dataclass(frozen=True)
class AlignmentTask:
    """Neighbouring patches of one row, in level-0 pixels of the fixed slide."""

    source: RunSource
    boxes: tuple[Box, ...]
    mismatched: Path
    draws: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One patch's alignment, the similarities of its mismatched pairs, and its nuclei."""

    alignment: Alignment
    null: tuple[float, ...]
    cells: CellCount | None = None
    """How nuclei in its middle pair; ``None`` where the slides are too coarse."""


@dataclass(frozen=True)
class PlanesTask:
    """Patches of the fixed slide to be compared with moving patches of other places."""

    source: RunSource
    boxes: tuple[Box, ...]


@dataclass(frozen=True, eq=False)
class MismatchedPlanes:
    """Fixed planes of other places."""

    boxes: tuple[Box, ...]
    planes: NDArray[np.float16]
    """``(K, n, n)``."""

    def partners(self, box: Box, reach: int, draws: int) -> Iterator[Plane]:
        """Yield planes that cannot match the patch at ``box``, the same ones for the same place.

        They lie farther off than ``reach``. Where few do, they are also turned and mirrored, and
        where none does, all are.
        """
        near = box.expanded(reach)
        far = [number for number, other in enumerate(self.boxes) if not near.overlaps(other)]
        numbers = far or list(range(len(self.boxes)))
        upright = [(number, 0) for number in far]
        turned_too = [(number, way) for way in range(1, 8) for number in numbers]
        rng = np.random.default_rng([box.x, box.y])
        rng.shuffle(upright)
        rng.shuffle(turned_too)
        for number, way in [*upright, *turned_too][:draws]:
            yield turned(self.planes[number].astype(np.float32), way)


def measure_all(
    source: RunSource, boxes: Sequence[Box], folder: Path, workers: Workers, progress: Progress
) -> list[Measured]:
    """Measure the alignment of all patches; ``folder`` holds the mismatched ones meanwhile."""
    if not boxes:
        return []
    # Workers outlive a case and keep what they loaded by its path, so that no path may come twice.
    corners = [(box.x, box.y, box.width) for box in boxes]
    path = folder / f"mismatched_{settings_hash(source.key, corners)}.npz"
    _write_mismatched(source, boxes, path, workers)
    draws = int(np.clip(round(NULL_SIZE / len(boxes)), FEWEST_DRAWS, MOST_DRAWS))
    tasks = [AlignmentTask(source, run, path, draws) for run in runs_of_neighbours(boxes)]
    measured: list[Measured] = []
    for found in workers.map(measure_row, tasks):
        measured += found
        progress("alignment", len(measured), len(boxes))
    path.unlink()
    return measured


def measure_row(task: AlignmentTask) -> list[Measured]:
    """Compare neighbouring patches with their partners, and with partners from elsewhere."""
    registration, pair = task.source.open()
    fixed_slide, moving_slide = pair.fixed_slide, pair.moving_slide
    downsample = work_downsample(fixed_slide.mpp)
    mpp = fixed_slide.mpp * downsample
    margin = margin_px(mpp)
    places = [_at_work(box, downsample) for box in task.boxes]
    side = places[0].width
    area = Box(places[0].x, places[0].y, places[-1].right - places[0].x, side)
    fixed = fine_structure(fixed_slide.read_scaled(area.expanded(margin), downsample), mpp)
    warped = warp_box(moving_slide, registration.chain, area.expanded(margin), downsample)
    moving = fine_structure(warped.image, mpp)
    mismatched = _load_mismatched(task.mismatched)
    reach = round(SEARCH_UM / fixed_slide.mpp)
    found = []
    for box, place in zip(task.boxes, places, strict=True):
        left = place.x - area.x
        own = moving[:, left : left + side + 2 * margin]
        partner = fixed[margin : margin + side, left + margin : left + margin + side]
        null = [
            align(other, own, mpp).similarity
            for other in mismatched.partners(box, reach, task.draws)
        ]
        cells = _cells(CellTask(fixed_slide, moving_slide, registration.chain, box))
        found.append(Measured(align(partner, own, mpp), tuple(null), cells))
    return found


def _cells(task: CellTask) -> CellCount | None:
    """Compare the nuclei in the middle of a patch."""
    if not can_compare(task.fixed, task.moving):
        return None
    field = look_at(replace(task, box=middle_of(task.box, task.fixed.mpp)))
    return None if field is None else field.count


def decide(
    geometry: PatchGeometry,
    moving: str,
    alignment: Alignment | None,
    null_percentile: float | None,
    settings: PatchSettings,
) -> str:
    """Return why a patch is rejected, the first of ``REASONS`` that holds; empty if kept."""
    he, ihc = tissue_by_stain(geometry, moving)
    if geometry.piece == 0:
        return "no piece"
    if geometry.filled > settings.max_filled:
        return "no source"
    if geometry.fold:
        return "folded"
    if he < settings.min_tissue:
        return "blank HE"
    if ihc < settings.min_tissue:
        return "blank IHC"
    return "" if alignment is None else misaligned(alignment, null_percentile, settings)


def misaligned(alignment: Alignment, null_percentile: float | None, settings: PatchSettings) -> str:
    """Return why the images of a pair are not aligned well enough; empty if they are."""
    if null_percentile is not None and null_percentile < settings.min_percentile:
        return "no match"
    return "shifted" if alignment.shift_um > settings.max_shift_um else ""


def tissue_by_stain(geometry: PatchGeometry, moving: str) -> tuple[float, float]:
    """Return the tissue fractions of the H&E and the IHC image."""
    fractions = (geometry.moving_tissue, geometry.fixed_tissue)
    return fractions if moving == "he" else fractions[::-1]


def runs_of_neighbours(boxes: Sequence[Box]) -> list[tuple[Box, ...]]:
    """Group boxes, given row by row, into runs of one row without gaps of a patch or more."""
    runs: list[list[Box]] = []
    for box in boxes:
        last = runs[-1][-1] if runs else None
        joined = last is not None and last.y == box.y and box.x < last.right + box.width
        if joined and len(runs[-1]) < ROW_PATCHES:
            runs[-1].append(box)
        else:
            runs.append([box])
    return [tuple(run) for run in runs]


def fixed_planes(task: PlanesTask) -> NDArray[np.float16]:
    """Return the planes of some fixed patches, ``(K, n, n)``."""
    _, pair = task.source.open()
    slide = pair.fixed_slide
    downsample = work_downsample(slide.mpp)
    mpp = slide.mpp * downsample
    margin = margin_px(mpp)
    planes = []
    for box in task.boxes:
        place = _at_work(box, downsample)
        plane = fine_structure(slide.read_scaled(place.expanded(margin), downsample), mpp)
        planes.append(plane[margin:-margin, margin:-margin])
    return np.stack(planes).astype(np.float16)


def _write_mismatched(
    source: RunSource, boxes: Sequence[Box], path: Path, workers: Workers
) -> None:
    """Write the planes of patches spread over the slide."""
    count = min(MISMATCHED_PLACES, len(boxes))
    chosen = [boxes[round(i)] for i in np.linspace(0, len(boxes) - 1, count)]
    tasks = [PlanesTask(source, tuple(chosen[i : i + 8])) for i in range(0, count, 8)]
    planes = np.concatenate(list(workers.map(fixed_planes, tasks)))
    write_npz(path, planes=planes, boxes=np.array([(b.x, b.y, b.width, b.height) for b in chosen]))


@lru_cache(maxsize=1)
def _load_mismatched(path: Path) -> MismatchedPlanes:
    with np.load(path, allow_pickle=False) as stored:
        boxes = tuple(Box(*(int(value) for value in box)) for box in stored["boxes"])
        return MismatchedPlanes(boxes, stored["planes"])


def _at_work(box: Box, downsample: float) -> Box:
    """Return a level-0 box in pixels of the working resolution; all boxes of one size alike."""
    side = round(box.width / downsample)
    return Box(round(box.x / downsample), round(box.y / downsample), side, side)
