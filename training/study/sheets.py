"""Reading what readers and their spreadsheets made of a scoring sheet, strictly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registration.files.her2 import HER2_LEVELS, parse_her2
from registration.files.tables import read_table
from registration.files.text import read_json
from registration.files.words import counted, excerpt, listed, some
from training.errors import DataError
from training.study.create import (
    FORMAT,
    GENERATED,
    KEY_COLUMNS,
    REAL,
    SHEET_COLUMNS,
    STUDY,
    StudyImage,
)

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
    if not (folder / STUDY).exists():
        raise DataError(f"no reader study in {folder}: {STUDY} is missing")
    described = read_json(folder / STUDY, DataError)
    if (
        not isinstance(described, dict)
        or described.get("format") != FORMAT
        or not isinstance(described.get("study"), str)
    ):
        raise DataError(f"{folder / STUDY} was not written by study create")
    key = tuple(
        StudyImage(
            row["image"], row["kind"], row["pair"], row["her2"] or None, row["patient"] or None
        )
        for _, row in _records(folder / "key.csv", KEY_COLUMNS)
    )
    images = {(entry.pair, entry.kind) for entry in key}
    pairs = {entry.pair for entry in key}
    if not key or images != {(pair, kind) for pair in pairs for kind in (REAL, GENERATED)}:
        raise DataError(
            f"{folder / 'key.csv'} is no whole key: it must name a real and a generated image of "
            "every pair. Take it from where the study was created."
        )
    return Study(folder, described["study"], key)


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
    for line, row in _records(path, SHEET_COLUMNS[2:]):
        image = row["image"].zfill(digits)
        readers |= {row["reader"]} if row.get("reader") else set()
        if row.get("study") and row["study"] != study.id:
            raise DataError(f"{path} belongs to study {row['study']}, not to {study.id}")
        if image not in wanted:
            faults.append(f"line {line}: there is no image {excerpt(row['image'])} in this study")
        elif image in lines:
            faults.append(f"line {line}: image {image} was scored on line {lines[image]} already")
        elif row["her2"]:
            try:
                scores[image] = HER2_LEVELS.index(parse_her2(row["her2"]))
            except ValueError as error:
                faults.append(f"line {line}: {error}")
        lines.setdefault(image, line)
    empty = [image for image in wanted if image in lines and image not in scores]
    empty = [image for image in empty if not any(f"line {lines[image]}:" in f for f in faults)]
    for what, images in (
        ("not scored", empty),
        ("missing", [image for image in wanted if image not in lines]),
    ):
        if images:
            faults.append(f"{counted(len(images), 'image')} {what}: {some(images, _NAMED_AT_MOST)}")
    if len(readers) > 1:
        faults.append(f"more than one reader: {some(sorted(readers), _NAMED_AT_MOST)}")
    if faults:
        raise DataError(f"{path} cannot be scored:\n" + listed([f"  {fault}" for fault in faults]))
    return Sheet(next(iter(readers), path.stem), path, scores)


def _records(path: Path, required: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return line numbers and cells by column of a table with a header."""
    table = read_table(path, DataError, short_rows=True)
    if lacking := [name for name in required if name not in table.columns(required)]:
        raise DataError(
            f"{path} has no column {' and no column '.join(lacking)}; it has {table.header}"
        )
    wanted = dict.fromkeys((*required, *SHEET_COLUMNS))
    return [(row.line, record) for row, record in table.records(wanted)]
