"""The table of a dataset made by this project: ``patches.csv`` or ``patches.parquet``.

One row per candidate pair, kept or not; rows without a file are no pair of the dataset. Only the
image's name is needed, every other column may be missing (see docs/dataset.md for all of them).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from training.errors import DataError

NAME_COLUMNS = ("he_file", "he_file_name", "file", "file_name", "name")
FALSE = frozenset({"0", "false", "no", "n", ""})
TRUST_FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the table says of one pair."""

    kept: bool
    split: str | None
    patient: str | None
    her2: str | None
    mpp: float | None
    shift_px: float | None
    trust: float


def read_table(root: Path) -> dict[str, TableRow]:
    """Return the rows of the dataset's table by image name without suffix; empty without a table.

    Raises :class:`DataError` when the table cannot be read or names no images.
    """
    for path, read in (
        (root / "patches.csv", _read_csv),
        (root / "patches.parquet", _read_parquet),
    ):
        if path.is_file():
            records = read(path)
            return _rows(records, path)
    return {}


def trust_of(null_percentile: float | None) -> float:
    """Return the trust in a pair that is more similar than so many per cent of mismatched pairs.

    Fifty is what chance gives; a pair at or below it keeps a trace of weight, one that beats all
    mismatched pairs counts fully, and one without the figure counts fully too.
    """
    if null_percentile is None:
        return 1.0
    return min(1.0, max(TRUST_FLOOR, null_percentile / 50 - 1))


def _rows(records: list[dict[str, Any]], path: Path) -> dict[str, TableRow]:
    """Return the table's rows by name."""
    if not records:
        return {}
    column = next((name for name in NAME_COLUMNS if name in records[0]), None)
    if column is None:
        raise DataError(
            f"{path} has no column with the images' names (one of {', '.join(NAME_COLUMNS)}); "
            f"it has {', '.join(records[0])}"
        )
    named = [record for record in records if _text(record, column)]
    return {PurePosixPath(str(record[column])).stem: _row(record) for record in named}


def _row(record: Mapping[str, Any]) -> TableRow:
    """Return one row; what is missing or empty becomes ``None``."""
    mpp, shift_um = _number(record, "mpp"), _number(record, "shift_um")
    shift_px = _number(record, "shift_px")
    if shift_px is None and shift_um is not None and mpp:
        shift_px = shift_um / mpp
    return TableRow(
        kept=(_text(record, "kept") or "true").lower() not in FALSE,
        split=_text(record, "split"),
        patient=_text(record, "patient"),
        her2=_text(record, "her2"),
        mpp=mpp,
        shift_px=shift_px,
        trust=trust_of(_number(record, "null_percentile")),
    )


def _text(record: Mapping[str, Any], column: str) -> str | None:
    """Return a cell as text, ``None`` when it is missing or empty."""
    value = record.get(column)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def _number(record: Mapping[str, Any], column: str) -> float | None:
    """Return a cell as a finite number, ``None`` when it is missing, empty or not one."""
    text = _text(record, column)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"column {column}: {text!r} is not a number") from error
    return value if math.isfinite(value) else None


def _read_csv(path: Path) -> list[dict[str, Any]]:
    """Return a CSV file's rows as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    """Return a Parquet file's rows."""
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise DataError(f"reading {path} needs pyarrow; or put patches.csv beside it") from error
    try:
        return list(parquet.read_table(path).to_pylist())
    except ArrowInvalid as error:
        raise DataError(f"not a Parquet table: {path} ({error})") from error
