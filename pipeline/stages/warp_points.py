"""The ``warp-points`` stage: cells, annotations and other points carried from one slide to the other.

Points are level-0 pixels of one slide of a registered pair; they come out in level-0 pixels of the
other, through the whole chain. A CSV file is worked through in parts, so that the millions of cells
of a slide fit in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from registration.errors import LandmarkError
from registration.files.storage import written_whole
from registration.files.tables import Row, read_rows
from registration.geometry import Box, Points, Size
from registration.landmarks.geojson import (
    features,
    map_geojson,
    positions,
    read_geojson,
    write_geojson,
)
from registration.landmarks.landmarks import Moving
from registration.result import Registration
from registration.transforms import Transform

FLAG = "on_slide"
DECIMALS = 4
ROWS_AT_ONCE = 50_000
ROUND_TRIP_PX = 0.05
GEOJSON_SUFFIXES = (".geojson", ".json")


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


@dataclass
class _Mapper:
    """Maps points and counts what happens to them."""

    forth: Transform
    back: Transform | None
    """Checks ``forth`` where that is solved by iteration."""
    source: Size
    target: Size
    points: int = 0
    off_slide: int = 0
    unsolved: int = 0
    flags: list[NDArray[np.bool_]] = field(default_factory=list)

    def __call__(self, points: Points) -> Points:
        """Map ``(N, 2)`` points and remember which lie on both slides."""
        mapped = self.forth(points)
        on_both = Box.of(self.source).contains(points) & Box.of(self.target).contains(mapped)
        self.flags.append(on_both)
        self.points += len(points)
        self.off_slide += int((~on_both).sum())
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
    :class:`UsageError` where ``out`` would replace ``points``.
    """
    to = to or ("ihc" if registration.moving == "he" else "he")
    if out.resolve() == points.resolve():
        raise UsageError(f"--out {out} is the file of points itself; name another file")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file")
    mapper = _mapper(registration, to)
    if points.suffix.lower() in GEOJSON_SUFFIXES:
        document = read_geojson(points)
        write_geojson(out, _flagged(map_geojson(document, mapper), mapper))
    else:
        _warp_table(points, out, mapper)
    return WarpedPoints(out, to, mapper.points, mapper.off_slide, mapper.unsolved)


def _mapper(registration: Registration, to: Moving) -> _Mapper:
    """Return the chain in the direction that leads to ``to``."""
    fixed, moved, chain = registration.fixed.size, registration.moved.size, registration.chain
    if to == registration.moving:
        return _Mapper(chain, None, fixed, moved)
    return _Mapper(chain.inverse, chain, moved, fixed)


def _flagged(document: Any, mapper: _Mapper) -> Any:
    """Write into each feature's properties whether all of it lies on both slides."""
    flags = np.concatenate(mapper.flags) if mapper.flags else np.zeros(0, bool)
    on_both = {id(position): on for position, on in zip(positions(document), flags, strict=True)}
    for feature in features(document):
        whole = all(on_both[id(position)] for position in positions(feature))
        feature["properties"] = {**(feature.get("properties") or {}), FLAG: whole}
    return document


def _warp_table(path: Path, out: Path, mapper: _Mapper) -> None:
    """Map the columns ``x`` and ``y`` of a delimited file; keep every other cell as it is."""
    rows = read_rows(path, LandmarkError)
    header = next(rows)
    delimiter = header.source.delimiter
    x, y = _coordinate_columns(header)
    kept = [index for index, name in enumerate(header.cells) if name.strip().lower() != FLAG]
    with written_whole(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow([*(header.cells[index] for index in kept), FLAG])
        while some := list(islice(rows, ROWS_AT_ONCE)):
            writer.writerows(_warped(some, (x, y), kept, mapper))


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
    """Yield the cells of mapped rows."""
    x, y = columns
    points = np.array([(row.number(x, "x"), row.number(y, "y")) for row in rows], np.float64)
    mapped = mapper(points)
    flags = mapper.flags.pop()
    for row, point, on_both in zip(rows, mapped, flags, strict=True):
        cells = list(row.cells)
        comma = row.source.delimiter != "," and any("," in cells[column] for column in columns)
        for column, value in zip(columns, point, strict=True):
            number = f"{value:.{DECIMALS}f}"
            cells[column] = number.replace(".", ",") if comma else number
        yield [*(cells[index] for index in kept), str(bool(on_both)).lower()]
