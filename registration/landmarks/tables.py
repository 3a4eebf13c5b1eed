"""Small tables of numbers that people make by hand or with other programs.

Commas, semicolons (with decimal points or commas) or tabs; any line ends; with or without a byte
order mark. Every complaint names file and line.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from registration.errors import LandmarkError


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    path: Path
    line: int
    cells: tuple[str, ...]
    decimal_comma: bool = False

    def number(self, column: int, name: str) -> float:
        """Return a finite number; :class:`LandmarkError` for anything else."""
        text = self.cells[column]
        try:
            value = float(text.replace(",", ".") if self.decimal_comma else text)
        except ValueError:
            raise self.error(f"expected a number for {name}, found {text!r}") from None
        if not math.isfinite(value):
            raise self.error(f"expected a finite number for {name}, found {text!r}")
        return value

    def error(self, message: str) -> LandmarkError:
        """Return an error that names file and line."""
        return LandmarkError(f"{self.path}, line {self.line}: {message}")

    def __str__(self) -> str:
        return ",".join(self.cells)


@dataclass(frozen=True)
class Table:
    """A file's non-empty lines; the first may be a header."""

    path: Path
    rows: tuple[Row, ...]

    def columns(self) -> dict[str, int]:
        """Return the position of each name of the first line, in lower case."""
        return {name.lower(): index for index, name in enumerate(self.rows[0].cells)}


def read_table(path: Path) -> Table:
    """Read a delimited text file.

    Raises :class:`LandmarkError` where it is missing, not UTF-8 text, empty, or a line has another
    number of cells than the first.
    """
    text = read_utf8(path)
    head = next((line for line in text.splitlines() if line.strip()), "")
    if not head:
        raise LandmarkError(f"{path} is empty")
    delimiter = max(";\t,", key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    rows = tuple(
        Row(path, reader.line_num, tuple(cell.strip() for cell in cells), delimiter == ";")
        for cells in reader
        if any(cell.strip() for cell in cells)
    )
    for row in rows:
        if len(row.cells) != len(rows[0].cells):
            raise row.error(f"expected {len(rows[0].cells)} columns, found {len(row.cells)}")
    return Table(path, rows)


def read_utf8(path: Path) -> str:
    """Return the text of a file, without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LandmarkError(f"file not found: {path}") from None
    except IsADirectoryError:
        raise LandmarkError(f"{path} is a folder, not a file") from None
    except UnicodeDecodeError:
        raise LandmarkError(f"{path} is not UTF-8 text; save it as CSV (UTF-8)") from None
