"""A run's transforms, piece by piece and both ways, written for one program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registration.export.insight import UM_PER_MM, write_composite, write_displacements
from registration.export.sampling import Accuracy, Domain, Field, sample
from registration.export.scene import write_scene
from registration.export.warpy import (
    QuPathSlide,
    affine_accuracy,
    thin_plate,
    write_matrix,
    write_warpy,
)
from registration.geometry import Box, Points, Size, mesh
from registration.landmarks.geojson import Origin
from registration.landmarks.landmarks import Moving
from registration.piece_map import MappedPiece, Outlines, PieceMap, Territories
from registration.result import Registration
from registration.transforms import Chain, Transform

Program = Literal["ome-zarr", "itk", "qupath"]
ROUND_TRIP_PX = 0.05
NAMES: dict[Moving, str] = {"he": "H&E", "ihc": "IHC"}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file or folder that was written."""

    name: str
    what: str
    piece: int | None
    accuracy: Accuracy | None
    """Against the registration itself; in level-0 pixels of the slide that points go to."""


@dataclass(frozen=True, eq=False)
class Way:
    """One piece, one direction: the transform, where it holds, and between which slides."""

    transform: Transform
    domain: Domain
    stains: tuple[Moving, Moving]
    mpp: tuple[float, float]
    piece: int | None

    @property
    def stem(self) -> str:
        """Beginning of file names."""
        numbered = "" if self.piece is None else f"piece_{self.piece}_"
        return f"{numbered}{self.stains[0]}_to_{self.stains[1]}"

    @property
    def words(self) -> str:
        """The direction in words."""
        return f"{NAMES[self.stains[0]]} to {NAMES[self.stains[1]]}"


def ways(registration: Registration, *, both: bool) -> Iterator[Way]:
    """Yield the transform from fixed to moving slide of each piece and, for ``both``, its inverse."""
    fixed, moved, chain = registration.fixed, registration.moved, registration.chain
    moving = registration.moving
    stains: tuple[Moving, Moving] = ("ihc", "he") if moving == "he" else ("he", "ihc")
    pieces = chain.pieces if isinstance(chain, PieceMap) else (None,)
    for piece in pieces:
        own = chain if piece is None else piece.chain
        number = None if piece is None else piece.number
        box, inside = _area(piece, fixed.size, piece.fixed if piece else ())
        yield Way(own, Domain.of(box, inside), stains, (fixed.mpp, moved.mpp), number)
        if both:
            box, inside = _area(piece, moved.size, piece.moving if piece else ())
            domain = Domain.of(box, _all_of(inside, _comes_back(own, fixed.size)))
            turned = (stains[1], stains[0])
            yield Way(own.inverse, domain, turned, (moved.mpp, fixed.mpp), number)


def write_itk(registration: Registration, folder: Path) -> list[ExportedFile]:
    """Write composites both ways, and the fixed slide's displacements."""
    written = []
    for way in ways(registration, both=True):
        smooth = sample(way.transform, way.domain, "cubic")
        name = f"{way.stem}.tfm"
        write_composite(folder / name, smooth, way.mpp)
        written.append(ExportedFile(name, f"{way.words}, composite", way.piece, smooth.accuracy))
        if way.stains[1] != registration.moving:
            continue
        dense = sample(way.transform, way.domain, "linear")
        name = f"{way.stem}_displacement.mha"
        total = dense.total(way.mpp[1] / way.mpp[0])
        write_displacements(folder / name, total, way.mpp[0] / UM_PER_MM)
        what = f"{way.words}, displacements in mm"
        written.append(ExportedFile(name, what, way.piece, dense.accuracy))
        spacing = dense.field.spacing
    name = "ihc_to_he_grid.mha" if registration.moving == "he" else "he_to_ihc_grid.mha"
    write_displacements(folder / name, padded_grid(registration, spacing), 1.0)
    what = "displacements in pixels of their own grid over both slides, as TIA Toolbox reads"
    return [*written, ExportedFile(name, what, None, None)]


def write_ome_zarr(registration: Registration, folder: Path) -> list[ExportedFile]:
    """Write a scene per piece."""
    written = []
    for way in ways(registration, both=False):
        dense = sample(way.transform, way.domain, "linear")
        name = f"{way.stem}.ome.zarr"
        write_scene(folder / name, dense, way.stains, way.mpp)
        written.append(ExportedFile(name, f"{way.words}, scene", way.piece, dense.accuracy))
    return written


def write_qupath(
    registration: Registration, folder: Path, origins: dict[Moving, Origin]
) -> list[ExportedFile]:
    """Write thin-plate splines for Warpy and affine matrices, both ways."""
    written = []
    for way in ways(registration, both=True):
        slides = (
            QuPathSlide(way.mpp[0], origins[way.stains[0]]),
            QuPathSlide(way.mpp[1], origins[way.stains[1]]),
        )
        plate = thin_plate(way.transform, way.domain)
        name = f"{way.stem}_warpy.json"
        write_warpy(folder / name, plate, slides)
        what = f"{way.words}, thin-plate spline of {len(plate.source)} places"
        written.append(ExportedFile(name, what, way.piece, plate.accuracy))
        affine, accuracy = affine_accuracy(way.transform, way.domain)
        name = f"{way.stem}_affine.txt"
        write_matrix(folder / name, affine, slides)
        written.append(ExportedFile(name, f"{way.words}, affine matrix", way.piece, accuracy))
    return written


def padded_grid(registration: Registration, spacing: float) -> Field:
    """Return displacements in pixels of a grid that covers the larger side of both slides.

    Node ``i`` stands for level-0 pixel ``i * step`` of the fixed slide; where it is displaced to,
    times ``step``, is a pixel of the moving slide padded to the larger size. What lies on no piece
    is sent off the slide.
    """
    fixed, moved = registration.fixed.size, registration.moved.size
    sides = np.array(
        [max(fixed.width, moved.width), max(fixed.height, moved.height)], dtype=np.float64
    )
    counts = np.maximum(2, np.ceil(sides / spacing)).astype(int)
    step = sides / counts
    padding = np.array([fixed.width - moved.width, fixed.height - moved.height]) // 2
    nodes = mesh(np.arange(counts[0], dtype=np.float64), np.arange(counts[1], dtype=np.float64))
    mapped = (registration.chain(nodes * step) + padding) / step - nodes
    mapped[~np.isfinite(mapped).all(axis=1)] = -2.0 * counts
    return Field((0.0, 0.0), 1.0, mapped.reshape(counts[1], counts[0], 2))


def _area(
    piece: MappedPiece | None, size: Size, outlines: Outlines
) -> tuple[Box, Callable[[Points], NDArray[np.bool_]] | None]:
    """Return the box of a piece's territory and which points lie in it; all of a slide for none."""
    whole = Box.of(size)
    if piece is None:
        return whole, None
    corners = np.concatenate(outlines)
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
    box = Box(int(low[0]), int(low[1]), *(int(side) for side in high - low)).intersection(whole)
    territory = Territories.of({piece.number: outlines}, size)
    return box, lambda points: np.asarray(territory.at(points) > 0)


def _comes_back(chain: Chain, fixed: Size) -> Callable[[Points], NDArray[np.bool_]]:
    """Return which points of the moving slide have a place on the fixed one."""

    def check(points: Points) -> NDArray[np.bool_]:
        back = chain.inverse(points)
        again = np.hypot(*(chain(back) - points).T) < ROUND_TRIP_PX
        return np.asarray(again & Box.of(fixed).contains(back))

    return check


def _all_of(
    *checks: Callable[[Points], NDArray[np.bool_]] | None,
) -> Callable[[Points], NDArray[np.bool_]]:
    def check(points: Points) -> NDArray[np.bool_]:
        good = np.ones(len(points), bool)
        for one in checks:
            if one is not None:
                good &= one(points)
        return good

    return check
