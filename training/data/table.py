"""The table of a dataset made by this project: ``patches.csv`` or ``patches.parquet``.

One row per candidate pair, kept or not; rows without a file are no pair of the dataset. Only the
image's name is needed, every other column may be missing (see docs/dataset.md for all of them).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath

from registration.files.her2 import parse_her2
from registration.files.tables import Row, Table, read_table
from registration.files.words import excerpt
from training.errors import DataError

TABLES = ("patches.csv", "patches.parquet")
NAME_COLUMNS = ("ihc_file", "he_file", "he_file_name", "file", "file_name", "name")
"""The IHC image tells a pair from others: one H&E image may have several stains beside it."""
COLUMNS = (
    *NAME_COLUMNS,
    *(
        "kept",
        "split",
        "patient",
        "case",
        "her2",
        "stain",
        "mpp",
        "shift_um",
        "shift_px",
        "null_percentile",
        "grade",
    ),
)
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
"""Names that mean what they say, by what is written; others are splits of their own."""
LEAST_LIKENESS = 0.65
LEAST_MPP, MOST_MPP = 0.01, 100.0
TRUST_FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the table says of one pair."""

    kept: bool
    split: str | None
    patient: str | None
    her2: str | None
    stain: str | None
    mpp: float | None
    shift_px: float | None
    trust: float
    slide: str | None
    grade: str | None


@dataclass(frozen=True)
class PairTable:
    """The rows of a dataset's table, by the image's path in the dataset, without its suffix."""

    rows: Mapping[tuple[str, ...], TableRow]
    of_ihc: bool = False
    """Whether rows are named after the IHC images, not the H&E images."""

    @cached_property
    def _named(self) -> dict[str, list[TableRow]]:
        """The rows by the image's name alone."""
        named: dict[str, list[TableRow]] = {}
        for path, row in self.rows.items():
            named.setdefault(path[-1], []).append(row)
        return named

    def of(self, he: Path, ihc: Path) -> TableRow | None:
        """Return the row of a pair: of its path from the right, else of its name alone."""
        image = ihc if self.of_ihc else he
        parts = (*image.parent.parts, image.stem)
        for start in range(len(parts)):
            if (found := self.rows.get(parts[start:])) is not None:
                return found
        named = self._named.get(image.stem, [])
        return named[0] if len(named) == 1 else None


def read_pair_table(root: Path) -> PairTable:
    """Return the dataset's table; without rows where there is none.

    Raises :class:`DataError` where the table cannot be read, names no images, names one twice, or
    has a cell of another kind than its column, with file and line.
    """
    path = next((root / name for name in TABLES if (root / name).is_file()), None)
    return PairTable({}) if path is None else _table(read_table(path, DataError))


def trust_of(null_percentile: float | None) -> float:
    """Return the trust in a pair that is more similar than so many per cent of mismatched pairs.

    Fifty is what chance gives; a pair at or below it keeps a trace of weight, one that beats all
    mismatched pairs counts fully, and one without the figure counts fully too.
    """
    if null_percentile is None:
        return 1.0
    return min(1.0, max(TRUST_FLOOR, null_percentile / 50 - 1))


def _table(table: Table) -> PairTable:
    """Return the table's rows by path."""
    columns = table.columns(COLUMNS)
    name = next((name for name in NAME_COLUMNS if name in columns), None)
    if name is None:
        raise DataError(
            f"{table.source.path} has no column with the images' names (one of "
            f"{', '.join(NAME_COLUMNS)}); it has {table.header}"
        )
    rows: dict[tuple[str, ...], TableRow] = {}
    lines: dict[tuple[str, ...], int] = {}
    for row in table.rows[1:]:
        if not (written := row.cells[columns[name]]):
            continue
        # Reads the slashes of either system.
        path = PureWindowsPath(written)
        key = (*path.parent.parts, path.stem)
        if key in rows:
            raise row.error(f"image {path.name} stands in {table.source.unit} {lines[key]} already")
        rows[key], lines[key] = _row(row, columns), row.line
    return PairTable(rows, of_ihc=name == "ihc_file")


def _row(row: Row, columns: dict[str, int]) -> TableRow:
    """Return one row; what is missing or empty becomes ``None``."""

    def text(name: str) -> str | None:
        return (row.cells[columns[name]] or None) if name in columns else None

    def number(name: str) -> float | None:
        written = text(name)
        if written is None or written.lower() in ("nan", "inf", "-inf"):
            return None
        return row.number(columns[name], name)

    mpp, shift_um, shift_px = (number(name) for name in ("mpp", "shift_um", "shift_px"))
    if mpp is not None and not LEAST_MPP <= mpp <= MOST_MPP:
        raise row.error(f"expected from {LEAST_MPP:g} to {MOST_MPP:g} µm for mpp, found {mpp:g}")
    if shift_px is None and shift_um is not None and mpp:
        shift_px = shift_um / mpp
    return TableRow(
        kept=text("kept") is None or row.flag(columns["kept"], "kept"),
        split=_split(row, text("split")),
        patient=text("patient") and row.identifier(columns["patient"], "patient"),
        her2=_level(text("her2")),
        stain=text("stain"),
        mpp=mpp,
        shift_px=shift_px,
        trust=trust_of(number("null_percentile")),
        slide=text("case"),
        grade=text("grade"),
    )


def _split(row: Row, written: str | None) -> str | None:
    """Return a split's name; a slip of the pen, whose pairs nothing would use, is refused."""
    if written is None:
        return None
    word = written.lower().strip(" ._-")
    near = difflib.get_close_matches(word, SPLITS, n=1, cutoff=LEAST_LIKENESS)
    if written.lower() not in SPLITS and word.isalpha() and near and near[0][0] == word[0]:
        raise row.error(
            "expected train, val, test or a name that differs more from these for split, found "
            f"{excerpt(written)}. Did you mean {near[0]}?"
        )
    return SPLITS.get(written.lower(), written)


def _level(written: str | None) -> str | None:
    """Return a HER2 level as it is written here; what is none, of another marker, as it stands."""
    if written is None:
        return None
    try:
        return parse_her2(written)
    except ValueError:
        return written
