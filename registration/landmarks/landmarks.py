"""Landmarks: points of the H&E slide paired with points of the IHC slide, and the files they live in.

All points are ``(x, y)`` in level-0 pixels of their slide, pixel centres at integers. Read are

* our own CSV with a header: ``id,he_x,he_y,ihc_x,ihc_y`` and optionally ``enabled``;
* BigWarp's CSV without a header: ``"Pt-0","true",movingX,movingY,fixedX,fixedY``, H&E moving;
* ANHIR / BIRL's two files, one per image, with ``x`` and ``y`` columns, paired by id;
* two QuPath GeoJSON files of point annotations, paired by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registration.errors import LandmarkError
from registration.files.storage import write_text
from registration.files.tables import (
    FALSE_WORDS,
    TRUE_WORDS,
    Row,
    Table,
    read_table,
    table_text,
)
from registration.files.text import read_text
from registration.files.words import counted, excerpt, split_files
from registration.geometry import Box, Points, Size
from registration.landmarks.geojson import Origin, read_named_points
from registration.landmarks.problems import MINIMUM_PAIRS

PIECE = "piece"
COORDINATES = ("he_x", "he_y", "ihc_x", "ihc_y")
SLIDES = ("he_slide", "ihc_slide")
"""Columns that name the slides a file was picked on; cut rows may leave them out."""
ID_NAMES = ("id", "name", "label", "")
DECIMALS = 4
_HEADER = 1000
Moving = Literal["he", "ihc"]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """``N`` pairs of points; those that are not enabled are kept, and left out of every fit."""

    names: tuple[str, ...]
    he: Points
    """``(N, 2)`` on the H&E slide."""
    ihc: Points
    """``(N, 2)`` on the IHC slide."""
    enabled: NDArray[np.bool_]
    pieces: tuple[str, ...] | None = None
    """The piece of tissue that each pair lies on, empty where it was not said."""
    source: str = ""
    """The file or files that they were read from."""
    lines: tuple[str, ...] = ()
    """Where in them each pair stands, where that is known."""

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = self.he.shape, self.ihc.shape, self.enabled.shape
        if shapes != ((count, 2), (count, 2), (count,)):
            raise ValueError(f"{count} names for arrays of shapes {shapes}")

    @classmethod
    def of(cls, he: Points, ihc: Points, names: Sequence[str] | None = None) -> Landmarks:
        """Return enabled pairs, named ``1 .. N`` unless names are given."""
        he, ihc = (np.asarray(points, np.float64).reshape(-1, 2) for points in (he, ihc))
        names = [str(number + 1) for number in range(len(he))] if names is None else names
        return cls(tuple(names), he, ihc, np.ones(len(he), bool))

    def __len__(self) -> int:
        return len(self.names)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Landmarks:
        """Return the pairs of a mask or of indices."""
        indices = np.arange(len(self))[chosen]
        names = tuple(self.names[index] for index in indices)
        pieces = None if self.pieces is None else tuple(self.pieces[index] for index in indices)
        lines = tuple(self.lines[index] for index in indices) if self.lines else ()
        he, ihc, enabled = self.he[indices], self.ihc[indices], self.enabled[indices]
        return Landmarks(names, he, ihc, enabled, pieces, self.source, lines)

    def active(self) -> Landmarks:
        """Return the enabled pairs."""
        return self.take(self.enabled)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names for messages, with the line that each pair stands in."""
        if not self.lines:
            return self.names
        return tuple(f"{n} ({line})" for n, line in zip(self.names, self.lines, strict=True))

    def error(self, message: str) -> LandmarkError:
        """Return an error that names the file."""
        return LandmarkError(f"{self.source}: {message}" if self.source else message)

    def oriented(self, moving: Moving = "he") -> tuple[Points, Points]:
        """Return ``(fixed, moving)`` points of the enabled pairs."""
        he, ihc = self.he[self.enabled], self.ihc[self.enabled]
        return (ihc, he) if moving == "he" else (he, ihc)


def read_landmarks(
    path: Path,
    partner: Path | None = None,
    minimum: int = MINIMUM_PAIRS,
    origins: tuple[Origin, Origin] = ((0, 0), (0, 0)),
) -> Landmarks:
    """Read landmarks of any known format; ``partner`` is the IHC file where there are two.

    ``origins`` are the pixels from which QuPath counts on the H&E and on the IHC slide.

    Raises :class:`LandmarkError` naming file, line and what was expected, also where fewer than
    ``minimum`` pairs are enabled.
    """
    if partner is not None:
        landmarks = _paired(path, partner, origins)
    else:
        if path.suffix.lower() in (".geojson", ".json"):
            raise LandmarkError(f"{path} holds points of one image: {_BOTH_FILES}")
        table = read_table(path, LandmarkError, short_rows=_names_slides(path))
        landmarks = _from_bigwarp(table) if _is_bigwarp(table) else _from_our_csv(table)
    source = str(path) if partner is None else f"{path} and {partner}"
    landmarks = replace(landmarks, source=source)
    enabled = int(landmarks.enabled.sum())
    if enabled < minimum:
        raise landmarks.error(f"{enabled} enabled pairs, at least {minimum} are needed.")
    return landmarks


def parse_landmark_argument(
    text: str,
    minimum: int = MINIMUM_PAIRS,
    origins: tuple[Origin, Origin] = ((0, 0), (0, 0)),
) -> Landmarks:
    """Read what a user gives for ``--landmarks``: one file, or ``HE.csv,IHC.csv``."""
    names = split_files(text)
    if len(names) == 1:
        return read_landmarks(Path(names[0]), minimum=minimum)
    if len(names) != 2 or not all(names):
        raise LandmarkError(f"{text}: expected one file, or two as HE.csv,IHC.csv")
    return read_landmarks(Path(names[0]), Path(names[1]), minimum, origins)


def write_landmarks(
    path: Path, landmarks: Landmarks, slides: tuple[str, str] | None = None
) -> None:
    """Write our own CSV, with what its slides are called where that is given."""
    several = landmarks.pieces is not None
    more = [*([PIECE] if several else []), *(SLIDES if slides else [])]
    rows = [["id", *COORDINATES, "enabled", *more]]
    for index, name in enumerate(landmarks.names):
        values = [*landmarks.he[index], *landmarks.ihc[index]]
        numbers = [f"{value:.{DECIMALS}f}" for value in values]
        enabled = str(bool(landmarks.enabled[index])).lower()
        piece = [] if landmarks.pieces is None else [landmarks.pieces[index]]
        rows.append([name, *numbers, enabled, *piece, *(slides or ())])
    write_text(path, table_text(rows))


def check_inside(landmarks: Landmarks, he_size: Size, ihc_size: Size) -> None:
    """Raise :class:`LandmarkError` naming the enabled pairs that lie off their slide."""
    active = landmarks.active()
    swapped = _all_inside(active.he, ihc_size) and _all_inside(active.ihc, he_size)
    for stain, points, size in (("H&E", active.he, he_size), ("IHC", active.ihc, ihc_size)):
        outside = ~Box.of(size).contains(points)
        if not outside.any():
            continue
        if swapped:
            hint = "They fit the other slide: are the two slides or files swapped?"
        elif _all_inside(points[:, ::-1], size):
            hint = "Are x and y swapped?"
        else:
            hint = "Level-0 pixels are expected; are these micrometres, or pixels of another level?"
        names = ", ".join(name for name, off in zip(active.labels, outside, strict=True) if off)
        raise landmarks.error(
            f"pair {names}: the {stain} point lies off the slide ({size.width} x {size.height} px). "
            f"{hint}"
        )


def _all_inside(points: Points, size: Size) -> bool:
    """Return whether every point lies on a slide."""
    return bool(Box.of(size).contains(points).all())


_BOTH_FILES = "give both files, as --landmarks HE.csv,IHC.csv"


def _from_our_csv(table: Table) -> Landmarks:
    """Read a table with the columns ``he_x, he_y, ihc_x, ihc_y``."""
    columns = table.columns((*ID_NAMES, *COORDINATES, "enabled", "x", "y", PIECE))
    if not set(COORDINATES) <= set(columns):
        if {"x", "y"} <= set(columns):
            raise LandmarkError(f"{table.source.path} holds points of one image: {_BOTH_FILES}")
        raise table.header.error(
            f"expected the columns id,{','.join(COORDINATES)},enabled (or BigWarp's six columns "
            f"without a header), found {table.header}"
        )
    rows = table.rows[1:]
    values = [[row.number(columns[name], name) for name in COORDINATES] for row in rows]
    names = _names(rows, columns)
    flag = columns.get("enabled")
    enabled = [True if flag is None else row.flag(flag, "enabled") for row in rows]
    points = np.array(values, np.float64).reshape(-1, 4)
    column = columns.get(PIECE)
    pieces = None if column is None else tuple(row.cells[column].strip() for row in rows)
    he, ihc = points[:, :2].copy(), points[:, 2:].copy()
    return Landmarks(names, he, ihc, np.array(enabled, bool), pieces, lines=_lines(rows))


def _names_slides(path: Path) -> bool:
    """Return whether the last columns say only what the slides are called."""
    if not path.is_file() or path.suffix.lower() == ".parquet":
        return False
    return SLIDES[0] in read_text(path, LandmarkError)[:_HEADER]


def _is_bigwarp(table: Table) -> bool:
    """Return whether the first line is a landmark already, as BigWarp writes it."""
    first = table.rows[0].cells
    return len(first) == 6 and first[1].casefold() in TRUE_WORDS | FALSE_WORDS


def _from_bigwarp(table: Table) -> Landmarks:
    """Read BigWarp's table; points not yet placed there (infinite) are no pairs."""
    rows = [row for row in table.rows if "infinity" not in ",".join(row.cells).lower()]
    values = [
        [row.number(2 + k, name) for k, name in enumerate(("H&E x", "H&E y", "IHC x", "IHC y"))]
        for row in rows
    ]
    points = np.array(values, np.float64).reshape(-1, 4)
    names = _names(rows, {"id": 0})
    enabled = np.array([row.flag(1, "enabled") for row in rows], bool)
    he, ihc = points[:, :2].copy(), points[:, 2:].copy()
    return Landmarks(names, he, ihc, enabled, lines=_lines(rows))


def _lines(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(f"{row.source.unit} {row.line}" for row in rows)


def _paired(he_path: Path, ihc_path: Path, origins: tuple[Origin, Origin]) -> Landmarks:
    """Pair two files of points, by id where both have ids, else by order."""
    he_names, he = _points_of_one_image(he_path, origins[0])
    ihc_names, ihc = _points_of_one_image(ihc_path, origins[1])
    if he_names is None or ihc_names is None:
        if len(he) != len(ihc):
            raise LandmarkError(
                f"{he_path} has {counted(len(he), 'point')} and {ihc_path} has {len(ihc)}; without an id "
                "in both files they cannot be paired. Add a column id."
            )
        return Landmarks.of(he, ihc)
    partners = {name: index for index, name in enumerate(ihc_names)}
    both = [(index, partners[name]) for index, name in enumerate(he_names) if name in partners]
    left, right = (np.array([pair[side] for pair in both], np.intp) for side in (0, 1))
    return Landmarks.of(he[left], ihc[right], [he_names[index] for index in left])


def _points_of_one_image(path: Path, origin: Origin) -> tuple[tuple[str, ...] | None, Points]:
    """Return the ids (``None`` where there are none) and points of one file."""
    if path.suffix.lower() in (".geojson", ".json"):
        return read_named_points(path, origin)
    table = read_table(path, LandmarkError)
    columns = table.columns((*ID_NAMES, "x", "y", "he_x"))
    if not {"x", "y"} <= set(columns):
        hint = " This file holds both images' points; give it alone." if "he_x" in columns else ""
        raise table.header.error(
            f"expected the columns id,x,y or ,X,Y, found {table.header}.{hint}"
        )
    rows = table.rows[1:]
    values = [[row.number(columns[name], name) for name in ("x", "y")] for row in rows]
    has_ids = any(name in columns for name in ID_NAMES)
    names = _names(rows, columns) if has_ids else None
    return names, np.array(values, np.float64).reshape(-1, 2)


def _names(rows: Sequence[Row], columns: dict[str, int]) -> tuple[str, ...]:
    """Return each row's id, or its number; ids that appear twice are refused."""
    column = next((columns[name] for name in ID_NAMES if name in columns), None)
    if column is None:
        return tuple(str(number + 1) for number in range(len(rows)))
    first_line: dict[str, int] = {}
    for row in rows:
        name = row.cells[column]
        if name in first_line:
            raise row.error(f"id {excerpt(name)} is already used in line {first_line[name]}")
        first_line[name] = row.line
    return tuple(first_line)
