"""All patches of one registered case: selected, cut, and recorded in a folder of their own.

The folder holds ``measured.json`` (what was measured of every candidate, whatever the thresholds),
``images/`` and, last, ``patches.json``. A killed run goes on; other thresholds measure nothing
again and cut only what is not there yet.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pipeline.patches.alignment import null_percentiles
from pipeline.patches.examples import illustrate
from pipeline.patches.geometry import PatchGeometry
from pipeline.patches.grades import beyond_chance, grade_of
from pipeline.patches.grid import PatchGrid
from pipeline.patches.measurement import Measurements, measure_case
from pipeline.patches.record import (
    IMAGES,
    CasePatches,
    CaseSlides,
    PatchCandidate,
    finished_case_key,
)
from pipeline.patches.selection import Measured, decide, tissue_by_stain
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import CutTask, RunSource, cut, image_paths
from registration.errors import RunError
from registration.execution import Progress, Workers
from registration.files.storage import content_hash, settings_hash, write_text
from registration.geometry import Box, Size, mesh, spaced
from registration.pair import SlidePair
from registration.piece_map import Territories
from registration.result import Registration, Ring

KEY_NAME = "key.txt"
KEY_VERSION = 2
"""Raised when cutting changes, so that older images are not taken up again."""

CUT_AT_ONCE = 4
PROBES_ALONG = 17
"""A patch is probed at so many places along each side for areas that a person does not want."""
NOT_TO_BE_USED = "no piece"
FAILED = "failed: "
BY_PERSON = {"rejected": "rejected by a person", "needs landmarks": "a person asks for landmarks"}


def is_failure(excluded: str) -> bool:
    """Return whether a case is left out because something went wrong, and not by a person."""
    return excluded not in BY_PERSON.values()


def exclusion(registration: Registration) -> str | None:
    """Return why a run may not enter a dataset; a person's review overrules the verdict."""
    if registration.review in BY_PERSON:
        return BY_PERSON[registration.review]
    if registration.verdict == "fail" and registration.review != "accepted":
        return f"registration {FAILED}{'; '.join(registration.reasons)}"
    return None


def case_key(registration: Registration, settings: PatchSettings) -> str:
    """Return the hash of all that a case's patches depend on."""
    verdicts = [registration.verdict, registration.review]
    rejected = [asdict(area) for area in registration.notes.rejected]
    more = [rejected] if rejected else []
    return settings_hash(KEY_VERSION, registration.key, verdicts, settings.of_images(), *more)


def cut_case(
    run: Path, folder: Path, settings: PatchSettings, workers: Workers, progress: Progress
) -> CasePatches:
    """Select and cut all patches of one registration into ``folder``.

    Raises :class:`RunError` where the slides are no longer those that were registered, and
    :class:`pipeline.errors.UsageError` where the slide holds no patch of this size.
    """
    registration = Registration.load(run)
    key = case_key(registration, settings)
    if finished_case_key(folder) == key:
        return CasePatches.load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = RunSource(run.resolve(), registration.key)
    _, pair = source.open()
    check_unchanged(registration, pair)
    grid = grid_of(pair, settings)
    measured = measure_case(source, grid, folder, workers, progress)
    candidates = select(measured, grid, registration.moving, settings)
    candidates = without_rejected(candidates, registration, round(settings.size * grid.downsample))
    kept = [box for box, item in zip(measured.boxes, candidates, strict=True) if item.kept]
    _cut_images(source, grid, kept, folder / IMAGES, settings, workers, progress)
    patches = CasePatches(
        folder=folder,
        key=key,
        settings=settings,
        slides=CaseSlides.of(registration),
        mpp=registration.fixed.mpp * grid.downsample,
        side=round(settings.size * grid.downsample),
        positions=grid.rows * grid.columns,
        candidates=tuple(candidates),
    )
    illustrate(source, grid, patches)
    patches.write()
    return patches


def grid_of(pair: SlidePair, settings: PatchSettings) -> PatchGrid:
    """Return the grid of patches on the fixed slide."""
    slide = pair.fixed_slide
    return PatchGrid.on(slide.size, slide.mpp, settings.size, settings.step, settings.mpp)


def check_unchanged(registration: Registration, pair: SlidePair) -> None:
    """Raise :class:`RunError` where a slide is no longer the one that was registered."""
    for record, slide in ((registration.he, pair.he), (registration.ihc, pair.ihc)):
        if content_hash(slide.path) != record.hash:
            raise RunError(
                f"{slide.path} has changed since it was registered in {registration.folder}. "
                "Register the pair again."
            )


def select(
    measured: Measurements, grid: PatchGrid, moving: str, settings: PatchSettings
) -> list[PatchCandidate]:
    """Decide on every candidate.

    What chance gives is taken from the pairs that are not blank or broken; the others have no
    percentile.
    """
    whole = [
        item is not None and not decide(geometry, moving, None, None, settings)
        for geometry, item in zip(measured.geometry, measured.compared, strict=True)
    ]
    compared = [item for item, good in zip(measured.compared, whole, strict=True) if good and item]
    found = iter(
        null_percentiles(
            [item.alignment.similarity for item in compared], [item.null for item in compared]
        )
    )
    ranks = [next(found) if good else None for good in whole]
    return [
        _candidate(grid.level0(box), box, (geometry, item, rank), moving, settings)
        for box, geometry, item, rank in zip(
            measured.boxes, measured.geometry, measured.compared, ranks, strict=True
        )
    ]


def without_rejected(
    candidates: list[PatchCandidate], registration: Registration, side: int
) -> list[PatchCandidate]:
    """Drop the candidates, ``side`` level-0 pixels large, that touch what a person does not want.

    That is what was rejected in a review, and what was drawn on either slide as to be left out.
    """
    left_out = registration.left_out
    unwanted = [(area.outline,) for area in registration.notes.rejected] + [*left_out.fixed]
    fixed = _areas(unwanted, registration.fixed.size)
    moving = _areas(left_out.moving, registration.moved.size)
    along = spaced(PROBES_ALONG, (side - 1) / (PROBES_ALONG - 1))
    probes = mesh(along, along)

    def touches(candidate: PatchCandidate) -> bool:
        points = probes + np.array([candidate.x, candidate.y])
        on_moving = moving is not None and moving.at(registration.chain(points)).any()
        return bool(on_moving or (fixed is not None and fixed.at(points).any()))

    return [
        replace(one, reason=NOT_TO_BE_USED) if one.kept and touches(one) else one
        for one in candidates
    ]


def _areas(areas: Sequence[tuple[Ring, ...]], size: Size) -> Territories | None:
    """Return where a slide of ``size`` is covered by any of ``areas``; ``None`` where there are none."""
    numbered = {number: tuple(map(np.array, area)) for number, area in enumerate(areas, 1)}
    return Territories.of(numbered, size) if areas else None


def _candidate(
    at: Box,
    box: Box,
    found: tuple[PatchGeometry, Measured | None, float | None],
    moving: str,
    settings: PatchSettings,
) -> PatchCandidate:
    """Decide on one candidate, with its figures rounded to what they are worth."""
    geometry, compared, rank = found
    alignment = compared.alignment if compared else None
    cells = compared.cells if compared else None
    he, ihc = tissue_by_stain(geometry, moving)
    reason = decide(geometry, moving, alignment, rank, settings)
    shift_um = alignment.shift_um if alignment else None
    return PatchCandidate(
        x=at.x,
        y=at.y,
        column=box.x,
        row=box.y,
        he_tissue=round(he, 4),
        ihc_tissue=round(ihc, 4),
        filled=round(geometry.filled, 4),
        fold=geometry.fold,
        seam=geometry.seam,
        piece=geometry.piece or None,
        shift_um=_rounded(shift_um, 3),
        similarity=_rounded(alignment.similarity if alignment else None, 4),
        null_percentile=_rounded(rank, 2),
        reason=reason,
        nuclei=cells.fixed if cells else None,
        nuclei_paired=_rounded(cells.paired / cells.fixed if cells and cells.fixed else None, 3),
        nuclei_beyond=_rounded(beyond_chance(cells), 3),
        nuclei_median_um=_rounded(cells.median_um if cells else None, 2),
        nuclei_shift_x_um=_rounded(cells.shift_x_um if cells else None, 2),
        nuclei_shift_y_um=_rounded(cells.shift_y_um if cells else None, 2),
        grade=None if reason else grade_of(shift_um, rank, cells),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    """Return a figure rounded to what it is worth, ``None`` where there is none."""
    return None if value is None or math.isnan(value) else round(value, digits)


def _cut_images(
    source: RunSource,
    grid: PatchGrid,
    boxes: Sequence[Box],
    folder: Path,
    settings: PatchSettings,
    workers: Workers,
    progress: Progress,
) -> None:
    """Cut what is not there yet, and remove what no longer belongs."""
    image, side_by_side = settings.format, settings.side_by_side
    key = settings_hash(KEY_VERSION, source.key, grid.size, grid.downsample, image, side_by_side)
    if folder.exists() and _key_of(folder) != key:
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    write_text(folder / KEY_NAME, key)
    wanted = {path for box in boxes for path in image_paths(folder, box, image, side_by_side)}
    for path in set(folder.iterdir()) - wanted - {folder / KEY_NAME}:
        path.unlink()
    tasks = [
        CutTask(
            source,
            tuple(boxes[start : start + CUT_AT_ONCE]),
            grid.downsample,
            folder.resolve(),
            image,
            side_by_side,
        )
        for start in range(0, len(boxes), CUT_AT_ONCE)
    ]
    done = 0
    for task, _ in zip(tasks, workers.map(cut, tasks), strict=True):
        done += len(task.boxes)
        progress("patches", done, len(boxes))


def _key_of(folder: Path) -> str | None:
    path = folder / KEY_NAME
    return path.read_text(encoding="utf-8") if path.exists() else None
