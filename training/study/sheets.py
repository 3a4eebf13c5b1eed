"""Reading what readers and their spreadsheets made of a scoring sheet, strictly."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import DataError
from training.study.create import FORMAT, KEY_COLUMNS, SHEET_COLUMNS, StudyImage

_SCORE = re.compile(r"^([0-3])(?:[.,]0)?\s*\+?$")
_NAMED_AT_MOST = 8


@dataclass(frozen=True)
class Study:
    """A study folder: its id and its key, in the order of the images' numbers."""

    folder: Path
    id: str
    key: tuple[StudyImage, ...]


@dataclass(frozen=True)
class Sheet:
    """One reader's scores, HER2 level 0 to 3 by image."""

    reader: str
    path: Path
    scores: dict[str, int]


def read_study(folder: Path) -> Study:
    """Return a study; raises :class:`DataError` when the folder holds none, or a foreign one."""
    try:
        described = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no reader study in {folder}: study.json is missing") from error
    except ValueError as error:
        raise DataError(f"not readable: {folder / 'study.json'} ({error})") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise DataError(f"{folder / 'study.json'} was not written by study create")
    rows = [row for _, row in _rows(folder / "key.csv", KEY_COLUMNS)]
    key = tuple(
        StudyImage(
            row["image"], row["kind"], row["pair"], row["her2"] or None, row["patient"] or None
        )
        for row in rows
    )
    return Study(folder, str(described["study"]), key)


def read_sheets(study: Study, paths: Sequence[Path]) -> tuple[Sheet, ...]:
    """Return the sheets of different readers; raises :class:`DataError` for two of one reader."""
    sheets = tuple(read_sheet(study, path) for path in paths)
    by_reader: dict[str, Sheet] = {}
    for sheet in sheets:
        other = by_reader.setdefault(sheet.reader.casefold(), sheet)
        if other is not sheet:
            raise DataError(
                f"{other.path} and {sheet.path} both come from reader {sheet.reader!r}. Give each "
                "reader one sheet, with a name of their own in the column 'reader'."
            )
    return sheets


def read_sheet(study: Study, path: Path) -> Sheet:
    """Return one reader's scores.

    Semicolons, tabs and a byte-order mark are understood, ``2`` counts as ``2+``, and image
    numbers may have lost their zeros to a spreadsheet. Raises :class:`DataError` that lists every
    row that is missing, doubled, unknown, or has no valid score.
    """
    wanted = {entry.image: entry for entry in study.key}
    digits = max(len(image) for image in wanted)
    scores: dict[str, int] = {}
    lines: dict[str, int] = {}
    faults, readers = [], set()
    for line, row in _rows(path, SHEET_COLUMNS[2:]):
        image = row["image"].zfill(digits)
        found = _SCORE.match(row["her2"])
        readers |= {row["reader"]} if row.get("reader") else set()
        if row.get("study") and row["study"] != study.id:
            raise DataError(f"{path} belongs to study {row['study']}, not to {study.id}")
        if image not in wanted:
            faults.append(f"line {line}: there is no image {row['image']!r} in this study")
        elif image in lines:
            faults.append(f"line {line}: image {image} was scored on line {lines[image]} already")
        elif row["her2"] and not found:
            faults.append(f"line {line}: {row['her2']!r} is no HER2 level (0, 1+, 2+, 3+)")
        if found and image in wanted and image not in lines:
            scores[image] = int(found[1])
        lines.setdefault(image, line)
    empty = [image for image in wanted if image in lines and image not in scores]
    empty = [image for image in empty if not any(f"line {lines[image]}:" in f for f in faults)]
    for what, images in (
        ("not scored", empty),
        ("missing", [image for image in wanted if image not in lines]),
    ):
        if images:
            faults.append(f"{len(images)} images {what}: {_some(images)}")
    if len(readers) > 1:
        faults.append(f"more than one reader: {_some(sorted(readers))}")
    if faults:
        raise DataError(f"{path} cannot be scored:\n  " + "\n  ".join(faults))
    return Sheet(next(iter(readers), path.stem), path, scores)


def _rows(path: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return line numbers and rows of a CSV file, cells stripped, names of columns in lower case.

    Raises :class:`DataError` for a missing or unreadable file and for missing columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"not found: {path}") from error
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"not a readable CSV file: {path}. Save the sheet as CSV.") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    names = [name.strip().lower() for name in next(reader, [])]
    if lacking := [column for column in required if column not in names]:
        raise DataError(
            f"{path} has no column {' and no column '.join(lacking)}; it has "
            f"{', '.join(filter(None, names)) or 'none'}"
        )
    return [
        (
            reader.line_num,
            dict(zip(names, map(str.strip, cells), strict=False)) | _blank(names, cells),
        )
        for cells in reader
        if any(cell.strip() for cell in cells)
    ]


def _blank(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Return empty text for the columns that a short row leaves out."""
    return dict.fromkeys(names[len(cells) :], "")


def _some(values: Sequence[str]) -> str:
    """Return the first few values as text."""
    return ", ".join(values[:_NAMED_AT_MOST]) + (", ..." if len(values) > _NAMED_AT_MOST else "")
