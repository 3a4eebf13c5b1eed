"""What the patch stage recorded of a registration: each candidate patch with its shift and its fate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registration.errors import RunError
from registration.files.tables import read_table
from registration.files.text import read_json
from registration.geometry import Box
from registration.result import Registration

DATASET_TABLE = "patches.csv"
"""In a dataset: all candidates of all its cases."""
CASE_RECORD = "patches.json"
"""In a folder of one case, which ``bci-pipeline run`` keeps beside the registration."""
CASE_FOLDER = "patches"
COLUMNS = (
    *("pair_id", "he_hash", "ihc_hash", "x", "y", "size", "mpp"),
    *("shift_um", "kept", "reason"),
)


@dataclass(frozen=True, slots=True)
class Patch:
    """A candidate pair that was cut from a registration."""

    name: str
    box: Box
    """Level-0 pixels of the fixed slide."""
    shift_um: float
    """The shift that is left; NaN where none was measured."""
    kept: bool
    reason: str
    """Why it was rejected."""


def recorded_beside(run: Path) -> Path | None:
    """Return where ``bci-pipeline run`` keeps the patches of a run folder, if they are there."""
    folder = run.resolve().parent / CASE_FOLDER
    return folder if (folder / CASE_RECORD).is_file() else None


def read_patches(registration: Registration, place: Path) -> list[Patch]:
    """Return a registration's patches from a dataset, a case folder, or the file itself.

    Raises :class:`RunError` where there is no such record, or none of this pair of slides.
    """
    path = place
    if place.is_dir():
        path = place / (CASE_RECORD if (place / CASE_RECORD).is_file() else DATASET_TABLE)
    read = _of_case if path.suffix == ".json" else _of_dataset
    try:
        found = read(registration, path)
    except (KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path} is no table of patches: {error}") from error
    if not found:
        raise RunError(f"{path} has no patches of this pair of slides")
    return found


def _of_dataset(registration: Registration, path: Path) -> list[Patch]:
    table = read_table(path, RunError)
    columns = table.columns(COLUMNS)
    return [
        Patch(
            cells["pair_id"],
            _square(
                cells, round(int(cells["size"]) * float(cells["mpp"]) / registration.fixed.mpp)
            ),
            row.number(columns["shift_um"], "shift_um") if cells["shift_um"] else float("nan"),
            row.flag(columns["kept"], "kept"),
            cells["reason"],
        )
        for row, cells in table.records(COLUMNS)
        if _is_of(registration, cells)
    ]


def _of_case(registration: Registration, path: Path) -> list[Patch]:
    record = read_json(path, RunError)
    if not _is_of(registration, record["slides"]):
        return []
    return [
        Patch(
            f"{one['x']}-{one['y']}",
            _square(one, int(record["side"])),
            float("nan") if one["shift_um"] is None else float(one["shift_um"]),
            not one["reason"],
            one["reason"],
        )
        for one in record["candidates"]
    ]


def _is_of(registration: Registration, row: Mapping[str, Any]) -> bool:
    hashes = registration.he.hash, registration.ihc.hash
    return (row["he_hash"], row["ihc_hash"]) == hashes


def _square(row: Mapping[str, Any], side: int) -> Box:
    return Box(int(row["x"]), int(row["y"]), side, side)
