"""The ``warp-points`` stage: cells, annotations and other points carried from one slide to the other.

Points are level-0 pixels of one slide of a registered pair; they come out in level-0 pixels of the
other, through the whole chain. A CSV file is worked through in parts, so that the millions of cells
of a slide fit in memory. Where a slide shows several pieces of tissue, a point goes through the chain
of the piece it lies on; a point on none has no place on the other slide.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registration.errors import LandmarkError
from registration.files.outputs import check_file
from registration.files.storage import written_whole
from registration.files.tables import Row, read_rows, write_rows
from registration.geometry import Box, Points, Size
from registration.landmarks.geojson import (
    GEOMETRY_KEYS,
    Origin,
    counts,
    features,
    move_geojson,
    odd_shapes,
    read_geojson,
    write_geojson,
)
from registration.landmarks.landmarks import Moving
from registration.piece_map import PieceMap, piece_numbers
from registration.result import LANDMARKS_NAME, RECORD_NAME, Registration
from registration.transforms import Chain, Transform

FLAG = "on_slide"
PIECE = "piece"
DECIMALS = 4
ROWS_AT_ONCE = 50_000
ROUND_TRIP_PX = 0.05
GEOJSON_SUFFIXES = (".geojson", ".json")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
COUNTED_FROM_THE_CORNER = (".ndpi", ".svs", ".png", ".jpg", ".jpeg")
"""Slides of these kinds have no bounds, and need not be at hand."""


@dataclass(frozen=True, slots=True)
class WarpedPoints:
    """What ``warp-points`` did."""

    out: Path
    to: Moving
    """The slide in whose pixels the written points are."""
    points: int
    off_slide: int
    """Points that do not lie on both slides; kept, and flagged."""
    unsolved: int
    """Points that do not come back to within :data:`ROUND_TRIP_PX`: there the field folds."""
    off_piece: int = 0
    """Points on none of the registered pieces: written without a place."""
    odd_shapes: tuple[str, ...] = ()
    """Names of GeoJSON features whose polygon is open or has no area; carried over as they are."""


@dataclass
class _Mapper:
    """Maps points and counts what happens to them."""

    chain: Chain
    forward: bool
    """Whether points of the fixed slide are mapped, or points of the moving one."""
    source: Size
    target: Size
    points: int = 0
    off_slide: int = 0
    unsolved: int = 0
    off_piece: int = 0
    flags: list[NDArray[np.bool_]] = field(default_factory=list)
    pieces: list[NDArray[np.int64]] = field(default_factory=list)

    @cached_property
    def forth(self) -> Transform:
        """What maps the points."""
        return self.chain if self.forward else self.chain.inverse

    @property
    def back(self) -> Transform | None:
        """Checks :attr:`forth` where that is solved by iteration."""
        return None if self.forward else self.chain

    @property
    def has_pieces(self) -> bool:
        """Whether there are several pieces to tell apart."""
        return isinstance(self.chain, PieceMap)

    def __call__(self, points: Points) -> Points:
        """Map ``(N, 2)`` points and remember which lie on both slides, and on which piece."""
        mapped = self.forth(points)
        piece = piece_numbers(self.chain, points, moving=not self.forward)
        on_both = Box.of(self.source).contains(points) & Box.of(self.target).contains(mapped)
        self.flags.append(on_both)
        self.pieces.append(piece)
        self.points += len(points)
        self.off_piece += int((piece == 0).sum())
        self.off_slide += int((~on_both & (piece > 0)).sum())
        if self.back is not None:
            missed = np.hypot(*(self.back(mapped) - points).T) > ROUND_TRIP_PX
            self.unsolved += int((missed & on_both).sum())
        return mapped


def warp_points(
    registration: Registration, points: Path, out: Path, to: Moving | None = None
) -> WarpedPoints:
    """Map the points of a CSV or GeoJSON file to the other slide and write them to ``out``.

    ``to`` names the slide that the result is for; without it, the fixed slide, where the registered
    image lies. Raises :class:`LandmarkError` naming file and line for unreadable points, and
    :class:`OutputError` where ``out`` would replace something that is read or was not written here,
    or is no such file.
    """
    to = to or ("ihc" if registration.moving == "he" else "he")
    is_geojson = points.suffix.lower() in GEOJSON_SUFFIXES
    suffixes = GEOJSON_SUFFIXES if is_geojson else TABLE_SUFFIXES
    check_file(out, [points, *_files_of(registration)], suffixes=suffixes, is_ours=_is_ours)
    mapper = _mapper(registration, to)
    odd: list[str] = []
    if is_geojson:
        stains: tuple[Moving, ...] = ("he", "ihc") if to == "ihc" else ("ihc", "he")
        here, there = (origin_of(registration, stain) for stain in stains)
        with _uncollected():
            document = read_geojson(points, here)
            odd = odd_shapes(document)
            move_geojson(document, mapper)
            _flag(document, mapper)
            write_geojson(out, document, there)
    else:
        _warp_table(points, out, mapper)
    found = (mapper.points, mapper.off_slide, mapper.unsolved, mapper.off_piece)
    return WarpedPoints(out, to, *found, tuple(odd))


def origin_of(registration: Registration, stain: Moving) -> Origin:
    """Return from where QuPath counts on a slide, which is asked where some of its kind do so.

    Raises :class:`registration.errors.SlideError` where such a slide is gone.
    """
    record = registration.he if stain == "he" else registration.ihc
    if Path(record.path).suffix.lower() in COUNTED_FROM_THE_CORNER:
        return 0, 0
    with record.open(registration.folder) as slide:
        return slide.origin


def _is_ours(path: Path) -> bool:
    """Return whether a file has the flag that is written here: a table in its first line."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        is_table = path.suffix.lower() in TABLE_SUFFIXES
        end = content.find(b"\n") if is_table else len(content)
        return content.find(FLAG.encode(), 0, end) >= 0


def _files_of(registration: Registration) -> list[Path]:
    """Return the slides, and what makes up the run folder."""
    folder = registration.folder
    names = (RECORD_NAME, LANDMARKS_NAME, registration.image or RECORD_NAME)
    slides = (folder / side.path for side in (registration.he, registration.ihc))
    return [*slides, *(folder / name for name in names), *folder.glob("*.npz")]


def _mapper(registration: Registration, to: Moving) -> _Mapper:
    """Return the chain in the direction that leads to ``to``."""
    fixed, moved, chain = registration.fixed.size, registration.moved.size, registration.chain
    if to == registration.moving:
        return _Mapper(chain, True, fixed, moved)
    return _Mapper(chain, False, moved, fixed)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spare the collector the millions of small lists of a slide's cells; none is part of a cycle."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _flag(mapped: Any, mapper: _Mapper) -> None:
    """Write into each feature's properties whether all of it lies on both slides, and its piece.

    A shape that does not lie on one registered piece as a whole has no place on the other slide:
    its geometry becomes null, as GeoJSON has it for what lies nowhere.
    """
    flags = np.concatenate([np.zeros(0, bool), *mapper.flags])
    pieces = np.concatenate([np.zeros(0, int), *mapper.pieces])
    ends = np.cumsum(counts(mapped))
    for feature, start, end in zip(features(mapped), [0, *ends[:-1]], ends, strict=True):
        properties = {**(feature.get("properties") or {}), FLAG: bool(flags[start:end].all())}
        if mapper.has_pieces:
            numbers = set(pieces[start:end].tolist())
            whole = len(numbers) == 1 and 0 not in numbers
            properties[PIECE] = numbers.pop() if whole else None
            if end > start and not whole:
                properties[FLAG] = False
                feature.update({key: None for key in GEOMETRY_KEYS if feature.get(key)})
        feature["properties"] = properties


def _warp_table(path: Path, out: Path, mapper: _Mapper) -> None:
    """Map the columns ``x`` and ``y`` of a delimited file; keep every other cell as it is."""
    rows = read_rows(path, LandmarkError)
    header = next(rows)
    delimiter = header.source.delimiter
    x, y = _coordinate_columns(header)
    added = (FLAG, PIECE) if mapper.has_pieces else (FLAG,)
    kept = [index for index, name in enumerate(header.cells) if name.strip().lower() not in added]
    with written_whole(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        write_rows(file, [[*(header.cells[index] for index in kept), *added]], delimiter)
        while some := list(islice(rows, ROWS_AT_ONCE)):
            write_rows(file, _warped(some, (x, y), kept, mapper), delimiter)


def _coordinate_columns(header: Row) -> tuple[int, int]:
    """Return the positions of ``x`` and ``y``."""
    names = [cell.strip().lower() for cell in header.cells]
    for name in ("x", "y"):
        if names.count(name) != 1:
            found = "none" if name not in names else f"{names.count(name)} of them"
            raise header.error(
                f"expected one column {name!r} (level-0 pixels), found {found} in: {header}"
            )
    return names.index("x"), names.index("y")


def _warped(
    rows: Sequence[Row], columns: tuple[int, int], kept: Iterable[int], mapper: _Mapper
) -> Iterator[list[str]]:
    """Yield the cells of mapped rows; a point on no piece has an empty place."""
    x, y = columns
    points = np.array([(row.number(x, "x"), row.number(y, "y")) for row in rows], np.float64)
    mapped = mapper(points)
    found = zip(rows, mapped, mapper.flags.pop(), mapper.pieces.pop(), strict=True)
    for row, point, on_both, piece in found:
        cells = list(row.cells)
        comma = row.source.delimiter != "," and any("," in cells[column] for column in columns)
        for column, value in zip(columns, point, strict=True):
            number = f"{value:.{DECIMALS}f}" if piece else ""
            cells[column] = number.replace(".", ",") if comma else number
        added = [str(bool(on_both)).lower()]
        if mapper.has_pieces:
            added.append(str(piece) if piece else "")
        yield [*(cells[index] for index in kept), *added]
