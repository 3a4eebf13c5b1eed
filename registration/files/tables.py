"""Tables that people make by hand or with other programs.

Commas, semicolons or tabs, also named by Excel's first line ``sep=;``; any line ends and any
encoding of :mod:`registration.files.text`; decimal points, or decimal commas where the comma does
not separate; Parquet by its suffix. A number that may be grouped by thousands is refused unless
others of its file show what its sign means. Every complaint names file and line.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from registration.files.memory import check_memory
from registration.files.text import IS_NO_TABLE, Refusal, read_text
from registration.files.words import excerpt

_TRUE = (
    "true t yes y on 1 1.0 1,0 wahr ja vrai oui verdadero si sí vero sì verdadeiro sim waar sand "
    "sant sann tosi kyllä prawda tak pravda ano igaz igen doğru evet adevărat da истина да 真 是 はい 참"
)
_FALSE = (
    "false f no n off 0 0.0 0,0 falsch nein faux non falso não nao onwaar nee falsk falskt nej usann "
    "nei epätosi ei fałsz nie nepravda ne hamis nem yanlış hayır fals nu ложь нет 假 否 いいえ 거짓"
)
"""What spreadsheets and people write, in the languages that Excel speaks."""

TRUE_WORDS, FALSE_WORDS = frozenset(_TRUE.split()), frozenset(_FALSE.split())
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\w\r\n])"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_SNIFFED, _LOOKED_THROUGH = 100_000, 10_000_000
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")
"""1.234 and 1,234: about one to some, a thousand to others."""
_FRACTION = re.compile(
    r"""(?<![^;|\t"\r\n ])[-+]?(?:(?:0\d*|\d{4,})([.,])\d+|\d+([.,])(?:\d{1,2}|\d{4,}))(?=[";| \t\r\n]|$)"""
)
"""A cell that only a fraction is written like."""
_ROUNDED = re.compile(r"\d[.,]\d+E\+\d+")
"""How a spreadsheet shows a long number that it has rounded."""
_APART = re.compile(r"\d['’.,\s]\d{3}(?!\d)")
MEMORY_PER_CELL = 120
"""Of a Parquet table, whose values become text; a few bytes of it may stand for billions."""
MERGED = "; of merged cells only the first keeps its text: write it into each"
_UNGROUPED = "save the table without separators of thousands"
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""What a spreadsheet takes for a formula where a cell begins with it."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file that rows come from, and how it is written."""

    path: Path
    delimiter: str
    refusal: Refusal
    unit: str = "line"
    decimals: frozenset[str] = frozenset(".")
    """The signs that its fractions are written with."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a table."""

    source: Source
    line: int
    """Where it begins."""
    cells: tuple[str, ...]

    def number(self, column: int, name: str) -> float:
        """Return a finite number; anything else is refused."""
        text = self.cells[column].strip()
        if _GROUPED.fullmatch(text) and self.source.decimals != {"," if "," in text else "."}:
            digits = re.sub("[.,]", "", text)
            raise self.error(
                f"{name} {excerpt(text)} may be a fraction, or have its thousands set apart; write "
                f"{text}0 or {digits}"
            )
        comma = self.source.delimiter != "," and "." not in text
        try:
            if "_" in text:  # Python's own way to group digits
                raise ValueError
            value = float(text.replace(",", ".") if comma else text)
        except ValueError:
            remedy = f"; {_UNGROUPED}" if _APART.search(text) else ""
            found = f"{excerpt(text)}{remedy}"
            raise self.error(f"expected a number for {name}, found {found}") from None
        if not math.isfinite(value):
            raise self.error(f"expected a finite number for {name}, found {excerpt(text)}")
        return value

    def identifier(self, column: int, name: str) -> str:
        """Return a name as it stands; a long number that a spreadsheet has rounded is refused."""
        try:
            return unrounded(self.cells[column], name)
        except ValueError as error:
            raise self.error(str(error)) from None

    def flag(self, column: int, name: str) -> bool:
        """Return whether a cell says yes, in any language that Excel writes."""
        word = self.cells[column].strip().casefold()
        if word not in TRUE_WORDS | FALSE_WORDS:
            found = excerpt(self.cells[column].strip())
            raise self.error(f"expected true or false for {name}, found {found}")
        return word in TRUE_WORDS

    def error(self, message: str) -> Exception:
        """Return an error that names file and line."""
        return self.source.refusal(f"{self.place}: {message}")

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.source.path}, {self.source.unit} {self.line}"

    def __str__(self) -> str:
        return excerpt(",".join(self.cells))[1:-1]


@dataclass(frozen=True)
class Table:
    """A file's records; the first may be a header."""

    source: Source
    rows: tuple[Row, ...]

    @property
    def header(self) -> Row:
        """The first record."""
        return self.rows[0]

    def columns(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return where the wanted columns are that it has; one that is there twice is refused."""
        names = [cell.casefold() for cell in self.header.cells]
        for name in wanted:
            if name and names.count(name) > 1:
                raise self.header.error(f"{names.count(name)} columns are called {name!r}")
        return {name: names.index(name) for name in wanted if name in names}

    def records(self, wanted: Iterable[str]) -> list[tuple[Row, dict[str, str]]]:
        """Return each record below the header with the cells of the wanted columns by name."""
        columns = self.columns(wanted)
        return [
            (row, {name: row.cells[column] for name, column in columns.items()})
            for row in self.rows[1:]
        ]

    def others(self, known: Iterable[str]) -> list[str]:
        """Return the names of the header that are none of the known ones."""
        taken = {*known, ""}
        return [name for name in self.header.cells if name.casefold() not in taken]


def unrounded(text: str, name: str) -> str:
    """Return a case's or patient's name; :class:`ValueError` for a number that has lost digits."""
    if _ROUNDED.fullmatch(text):
        raise ValueError(
            f"{name} {excerpt(text)} was rounded by a spreadsheet and may stand for several; format "
            "its column as text, enter it again and save"
        )
    return text


def table_text(rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    """Return a table as text in which no cell is a formula for a spreadsheet to run.

    Text that looks like one gets an apostrophe in front, which every reader here takes off again.
    """
    text = io.StringIO()
    write_rows(text, rows, delimiter)
    return text.getvalue()


def write_rows(file: IO[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> None:
    """Write records as :func:`table_text` does."""
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerows([_harmless(cell) for cell in row] for row in rows)


def _harmless(cell: object) -> object:
    """Return a cell that is text, marked as such where a spreadsheet would compute it."""
    if not isinstance(cell, str) or not _FORMULA.match(cell) or _is_number(cell):
        return cell
    return f"'{cell}"


def _as_written(cell: str) -> str:
    """Undo :func:`_harmless`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def read_table(path: Path, refusal: Refusal, *, short_rows: bool = False) -> Table:
    """Read a whole table, its cells stripped of blanks.

    Columns at the end without a single cell that is not empty are left out. A record of more cells
    than the first is refused unless they are empty, and one of fewer unless
    ``short_rows`` allows it: spreadsheets leave out what is empty at the end.
    """
    if path.suffix.lower() == ".parquet" and path.is_file():
        return _read_parquet(path, refusal)
    rows = [
        Row(row.source, row.line, tuple(cell.strip() for cell in row.cells))
        for row in _rows(path, refusal, short_rows=short_rows, stripped=True)
    ]
    used = 1 + max(k for row in rows for k, cell in enumerate(row.cells) if cell)
    if used < len(rows[0].cells):
        rows = [replace(row, cells=row.cells[:used]) for row in rows]
    return Table(rows[0].source, tuple(rows))


def read_rows(path: Path, refusal: Refusal) -> Iterator[Row]:
    """Yield the records of a delimited text file that are not blank, with their cells as written."""
    return _rows(path, refusal, short_rows=False, stripped=False)


def _rows(path: Path, refusal: Refusal, *, short_rows: bool, stripped: bool) -> Iterator[Row]:
    """Yield the records that are not blank; blanks before quotes go where cells are ``stripped``."""
    text = read_text(path, refusal)
    named = _SEPARATOR_LINE.match(text)
    source = _source(path, text, named[1] if named else _delimiter(text), refusal)
    width = 0
    for line, cells in _records(text, source, stripped):
        if named and line == 1:
            continue
        width = width or len(cells)
        if _swallows(cells, source.delimiter, width):
            raise Row(source, line, ()).error("a quote opens here and closes lines below")
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) > width or (len(cells) < width and not short_rows):
            raise Row(source, line, ()).error(f"expected {width} columns, found {len(cells)}")
        written = (_as_written(cell) for cell in cells)
        yield Row(source, line, (*written, *[""] * (width - len(cells))))
    if not width:
        raise refusal(f"{path} is empty")


def _source(path: Path, text: str, delimiter: str, refusal: Refusal) -> Source:
    """Return a file with the signs that its fractions show; where commas separate, the point."""
    if delimiter == ",":
        return Source(path, delimiter, refusal)
    shown = {sign for pair in _FRACTION.findall(text[:_LOOKED_THROUGH]) for sign in pair if sign}
    return Source(path, delimiter, refusal, decimals=frozenset(shown))


def _records(text: str, source: Source, stripped: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each record begins in, and its cells; blank ones are left out."""
    line = 0
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=source.delimiter,
            skipinitialspace=stripped,
            strict=True,
        )
        for cells in reader:
            begins, line = line + 1, reader.line_num
            if any(cell.strip() for cell in cells):
                yield begins, cells
    except csv.Error as error:
        raise Row(source, line + 1, ()).error(_explained(str(error))) from None


def _swallows(cells: Sequence[str], delimiter: str, width: int) -> bool:
    """Return whether a record of several lines holds whole records: a quote was not closed."""
    lines = delimiter.join(cells).splitlines()
    return len(lines) > 1 and all(line.count(delimiter) >= width - 1 for line in lines)


def _explained(reason: str) -> str:
    """Return what is wrong with a record, from the words of :mod:`csv`."""
    if "unexpected end of data" in reason:
        return "a quote opens here and never closes"
    if "larger than field limit" in reason:
        return f"a cell of more than {csv.field_size_limit():,} characters; is a quote missing?"
    return reason


def _delimiter(text: str) -> str:
    """Return what separates the cells of the first line; what stands in quotes does not count."""
    unquoted = re.sub(r'"[^"]*"', "", text[:_SNIFFED])
    head = next((line for line in unquoted.splitlines() if line.strip()), "")
    return max(",;\t", key=head.count)


def _read_parquet(path: Path, refusal: Refusal) -> Table:
    """Read a Parquet file, its values as text."""
    try:
        # Takes a second to import, and most tables are text.
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise refusal(f"reading {path} needs pyarrow; or save it as CSV") from error
    try:
        about = parquet.read_metadata(path)
        cells = max(0, about.num_rows) * max(1, about.num_columns)
        check_memory(str(path), MEMORY_PER_CELL * cells, refusal, IS_NO_TABLE)
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise refusal(f"{path} is no Parquet table: {excerpt(str(error))}") from None
    source = Source(path, ",", refusal, "row")
    records: Sequence[dict[str, Any]] = table.to_pylist()
    header = Row(source, 0, tuple(table.column_names))
    return Table(source, (header, *(_as_row(source, *one) for one in enumerate(records, 1))))


def _as_row(source: Source, number: int, record: dict[str, Any]) -> Row:
    return Row(
        source, number, tuple("" if value is None else str(value) for value in record.values())
    )
