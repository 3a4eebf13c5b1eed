"""What is measured of every candidate of a case, whatever the thresholds; kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.patches.blank.filter import content_map
from pipeline.patches.geometry import PatchGeometry, Surveyor
from pipeline.patches.grid import PatchGrid
from pipeline.patches.selection import Measured, measure_all
from pipeline.patches.writer import RunSource
from registration.execution import Progress, Workers, prefixed
from registration.files.storage import settings_hash, write_json
from registration.geometry import Box
from registration.tissue import TissueMap

MEASURED_NAME = "measured.json"
VERSION = 5
"""Raised when a measure changes, so that older figures are not taken up again."""

LEAST_TISSUE = 0.02
"""A position with less tissue on the fixed slide is bare glass and no candidate."""

COMPARED_TISSUE, COMPARED_FILLED = 0.2, 0.5
"""Candidates with less tissue in either image, or with a larger part filled, are not compared."""


@dataclass(frozen=True)
class Measurements:
    """Every candidate in the order of its row and column; the three lists have equal lengths."""

    boxes: tuple[Box, ...]
    """In pixels of the patches' own level."""
    geometry: tuple[PatchGeometry, ...]
    compared: tuple[Measured | None, ...]
    """``None`` where there was too little to compare."""


@dataclass(frozen=True)
class Stored:
    """Measurements with the hash of all that they depend on, as ``measured.json`` holds them."""

    key: str
    measurements: Measurements


def measure_case(
    source: RunSource, grid: PatchGrid, folder: Path, workers: Workers, progress: Progress
) -> Measurements:
    """Measure every candidate, or take up from ``folder`` what an earlier run measured."""
    path = folder / MEASURED_NAME
    key = settings_hash(VERSION, source.key, asdict(grid))
    stored = _read(path)
    if stored is not None and stored.key == key:
        return stored.measurements
    registration, pair = source.open()
    tissue = TissueMap.of(pair.fixed_slide)
    boxes = candidate_boxes(grid, tissue)
    names = ("IHC", "H&E") if pair.moving == "he" else ("H&E", "IHC")
    of_fixed, of_moving = (prefixed(name, progress) for name in names)
    fixed = content_map(pair.fixed_slide, tissue, workers, of_fixed)
    moving = content_map(pair.moving_slide, TissueMap.of(pair.moving_slide), workers, of_moving)
    surveyor = Surveyor(registration, fixed, moving)
    geometry = [surveyor.measure(grid.level0(box)) for box in boxes]
    worth = [_is_worth_comparing(item) for item in geometry]
    chosen = [grid.level0(box) for box, good in zip(boxes, worth, strict=True) if good]
    found = iter(measure_all(source, chosen, folder, workers, progress))
    compared = tuple(next(found) if good else None for good in worth)
    measurements = Measurements(tuple(boxes), tuple(geometry), compared)
    write_json(path, asdict(Stored(key, measurements)))
    return measurements


def candidate_boxes(grid: PatchGrid, tissue: TissueMap) -> Sequence[Box]:
    """Return the positions with tissue in pixels of the patches' level, row by row."""
    return [box for row in grid.with_tissue(tissue, LEAST_TISSUE) for box in row]


def _is_worth_comparing(geometry: PatchGeometry) -> bool:
    tissue = min(geometry.fixed_tissue, geometry.moving_tissue)
    return tissue >= COMPARED_TISSUE and geometry.filled <= COMPARED_FILLED


def _read(path: Path) -> Stored | None:
    """Return what an earlier run measured; ``None`` where there is nothing, or it is damaged."""
    try:
        return TypeAdapter(Stored).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
