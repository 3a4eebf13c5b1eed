"""The table of a dataset: one row per candidate pair, kept or not (``docs/dataset.md``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from pipeline.errors import DatasetError
from pipeline.her2 import Her2
from pipeline.split import Split
from registration.storage import write_text, written_whole

PARQUET_NAME = "patches.parquet"
CSV_NAME = "patches.csv"

SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("case", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("he_hash", pa.string()),
        pa.field("ihc_hash", pa.string()),
        pa.field("x", pa.int64()),
        pa.field("y", pa.int64()),
        pa.field("size", pa.int32(), nullable=False),
        pa.field("mpp", pa.float64()),
        pa.field("her2", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("he_tissue", pa.float64()),
        pa.field("ihc_tissue", pa.float64()),
        pa.field("filled", pa.float64()),
        pa.field("shift_um", pa.float64()),
        pa.field("similarity", pa.float64()),
        pa.field("null_percentile", pa.float64()),
        pa.field("fold", pa.bool_(), nullable=False),
        pa.field("seam", pa.bool_(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("he_file", pa.string()),
        pa.field("ihc_file", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class PatchRow:
    """One candidate pair; the fields are the columns of the table, in their order."""

    pair_id: str
    case: str
    patient: str
    he_hash: str | None
    ihc_hash: str | None
    x: int | None
    y: int | None
    size: int
    mpp: float | None
    her2: Her2 | None
    split: Split
    he_tissue: float | None
    ihc_tissue: float | None
    filled: float | None
    shift_um: float | None
    similarity: float | None
    null_percentile: float | None
    fold: bool
    seam: bool
    kept: bool
    reason: str
    he_file: str | None = None
    ihc_file: str | None = None


COLUMNS = tuple(field.name for field in fields(PatchRow))


def write_tables(folder: Path, rows: Sequence[PatchRow]) -> None:
    """Write ``patches.parquet`` and ``patches.csv``, the same content in both."""
    write_parquet(folder / PARQUET_NAME, [_record(row) for row in rows], SCHEMA)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in _record(row).values()] for row in rows)
    write_text(folder / CSV_NAME, text.getvalue())


def write_parquet(path: Path, records: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write records as Parquet."""
    with written_whole(path) as part:
        parquet.write_table(pa.Table.from_pylist(list(records), schema=schema), part)


def read_table(folder: Path) -> list[PatchRow]:
    """Read ``patches.parquet`` of a dataset.

    Raises :class:`DatasetError` where it is missing, damaged or has other columns.
    """
    path = folder / PARQUET_NAME
    if not path.is_file():
        raise DatasetError(
            f"no table of patches in {folder}: {PARQUET_NAME} is missing. "
            "`bci-pipeline patch` and `run` write it; a foreign folder has none."
        )
    try:
        table = parquet.read_table(path)
    except pa.ArrowException as error:
        raise DatasetError(f"{path} is damaged: {error}. Cut the patches again.") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DatasetError(
            f"{path} lacks the columns {', '.join(missing)}: not written by this version"
        )
    return [PatchRow(**record) for record in table.select(COLUMNS).to_pylist()]


def _record(row: PatchRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _cell(value: object) -> object:
    """Return a CSV cell: empty for null, ``true`` and ``false`` in lower case."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value
