"""A table of cases, as Excel saves it: one row per case, the columns called like a manifest's keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import ManifestError
from pipeline.manifest.yaml_positions import Located, Position, read_located
from registration.files.tables import MERGED, Row, Table, read_table

NUMBERS, FLAGS = ("mpp_he", "mpp_ihc"), ("flip",)
CASE_NAMES = ("case", "id")
_SPOKEN = {"id": "case", "patient": "patient"}
IDENTIFIERS = (*CASE_NAMES, "patient")
COLUMNS = (
    *CASE_NAMES,
    *("patient", "he", "ihc", "stain", "her2", "split", "landmarks", "truth", "pieces"),
    *NUMBERS,
    *FLAGS,
)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
WORKBOOK_SUFFIXES = (".xlsx", ".xls", ".ods")


@dataclass(frozen=True, slots=True)
class CaseRow:
    """What one line of a table says of a case; cells that are empty are left out."""

    line: int
    values: dict[str, str]
    """By the keys of a manifest."""
    columns: dict[str, int]
    """Where they stand, counted from 1."""
    place: str
    """File and line, for messages."""


def is_table(path: Path) -> bool:
    """Return whether a manifest is a table. Raises :class:`ManifestError` for a workbook."""
    suffix = path.suffix.lower()
    if suffix in WORKBOOK_SUFFIXES:
        raise ManifestError(f"{path} is a workbook; save its sheet as CSV (UTF-8) and give that")
    return suffix in TABLE_SUFFIXES


def read_case_table(path: Path, needed: Iterable[str] = ()) -> tuple[list[CaseRow], list[str]]:
    """Return the rows of a table and the names of its columns that mean nothing here.

    Raises :class:`ManifestError` for a table that cannot be read, or lacks a ``needed`` column or
    the one of cases, ``case`` or ``id``.
    """
    is_table(path)
    table = read_table(path, ManifestError, short_rows=True)
    columns = table.columns(COLUMNS)
    missing = [name for name in needed if name not in columns]
    if not columns.keys() & set(CASE_NAMES):
        missing = ["case", *missing]
    if missing:
        raise table.header.error(f"no column {missing[0]!r} in: {table.header}")
    if columns.keys() >= set(CASE_NAMES):
        raise table.header.error("the columns case and id mean the same; keep one")
    rows = [_case_row(table, row, columns) for row in table.rows[1:]]
    for name in ("id", "patient"):
        lacking = [row for row in rows if name not in row.values]
        if 0 < len(lacking) < len(rows):
            raise ManifestError(f"{lacking[0].place}: the {_SPOKEN[name]} is missing{MERGED}")
    return rows, table.others(COLUMNS)


def located_cases(path: Path, config: Path | None) -> Located:
    """Return a manifest whose cases are a table and whose settings are a YAML file, if any."""
    rows = _of_several_stains(read_case_table(path, ("he", "ihc"))[0])
    located = Located(path, value={}) if config is None else _settings(path, config)
    located.value["cases"] = [row.values for row in rows]
    located.value.setdefault("out", path.stem)
    for number, row in enumerate(rows):
        located.values["cases", number] = Position(row.line, 1, path)
        for key, column in row.columns.items():
            located.values["cases", number, key] = Position(row.line, column, path)
    return located


def _of_several_stains(rows: list[CaseRow]) -> list[CaseRow]:
    """Give rows of one case with different stains ids of their own and the H&E slide as frame."""
    counts = Counter(row.values.get("id") for row in rows)
    return [
        replace(
            row,
            values=row.values
            | {"id": f"{row.values['id']}_{row.values['stain']}", "he_fixed": "true"},
        )
        if counts[row.values.get("id")] > 1 and {"id", "stain"} <= row.values.keys()
        else row
        for row in rows
    ]


def _settings(path: Path, config: Path) -> Located:
    located = read_located(config)
    if located.value is None:
        located.value = {}
    if not isinstance(located.value, dict):
        raise ManifestError(f"{config}:1:1: expected the settings of the stages")
    if "cases" in located.value:
        place = located.keys["cases",]
        raise ManifestError(
            f"{config}:{place.line}:{place.column}: the cases are those of {path}; leave them out here"
        )
    return located


def _case_row(table: Table, row: Row, columns: dict[str, int]) -> CaseRow:
    values: dict[str, str] = {}
    places: dict[str, int] = {}
    for name, column in columns.items():
        text = row.cells[column]
        if not text:
            continue
        if name in NUMBERS:
            text = f"{row.number(column, name):.12g}"
        elif name in FLAGS:
            text = str(row.flag(column, name)).lower()
        elif name in IDENTIFIERS:
            text = row.identifier(column, name)
        key = "id" if name in CASE_NAMES else name
        values[key], places[key] = text, column + 1
    return CaseRow(row.line, values, places, row.place)
