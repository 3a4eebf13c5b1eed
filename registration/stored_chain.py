"""Chains of transforms on the disk: small ones in JSON, fields as NPZ files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from registration.arrays import REMEDY, checked, first_mistake, read_arrays
from registration.bspline import BSpline
from registration.errors import RunError
from registration.files.storage import write_npz
from registration.geometry import Box, Size
from registration.piece_map import MappedPiece, PieceMap
from registration.transforms import Chain, DisplacementField, Projective, SplicedField, Transform

Finite = Annotated[float, Field(allow_inf_nan=False)]
Row = tuple[Finite, Finite, Finite]
FieldFile = Annotated[str, Field(pattern=r"^[^/\\]+\.npz$")]
"""Name of a file beside the JSON."""


@dataclass(frozen=True)
class _ProjectiveRecord:
    """A homography."""

    type: Literal["projective"]
    matrix: tuple[Row, Row, Row]


@dataclass(frozen=True)
class _FieldRecord:
    """A field and the file that holds it."""

    type: Literal["displacement_field", "spliced_field"]
    file: FieldFile


_Steps = Annotated[
    tuple[Annotated[_ProjectiveRecord | _FieldRecord, Field(discriminator="type")], ...],
    Field(min_length=1),
]
_Polygon = Annotated[tuple[tuple[Finite, Finite], ...], Field(min_length=3)]
_Side = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class _PieceRecord:
    """A piece: its territories and its chain."""

    number: Annotated[int, Field(gt=0, le=255)]
    fixed: tuple[_Polygon, ...]
    moving: tuple[_Polygon, ...]
    steps: _Steps


@dataclass(frozen=True)
class _PiecesRecord:
    """A chain per piece."""

    type: Literal["pieces"]
    fixed_size: tuple[_Side, _Side]
    moving_size: tuple[_Side, _Side]
    pieces: tuple[_PieceRecord, ...]


_STEPS: TypeAdapter[tuple[_ProjectiveRecord | _FieldRecord, ...]] = TypeAdapter(_Steps)
_PIECES = TypeAdapter(tuple[_PiecesRecord])


def save_chain(chain: Chain, folder: Path) -> list[dict[str, Any]]:
    """Write the fields of ``chain`` under ``folder`` and return its JSON description."""
    if not isinstance(chain, PieceMap):
        return _save_steps(chain, folder, "field")
    pieces = [
        {
            "number": piece.number,
            "fixed": [outline.tolist() for outline in piece.fixed],
            "moving": [outline.tolist() for outline in piece.moving],
            "steps": _save_steps(piece.chain, folder, f"piece_{piece.number}_field"),
        }
        for piece in chain.pieces
    ]
    sizes = {
        "fixed_size": [chain.fixed_size.width, chain.fixed_size.height],
        "moving_size": [chain.moving_size.width, chain.moving_size.height],
    }
    return [{"type": "pieces", **sizes, "pieces": pieces}]


def _save_steps(chain: Chain, folder: Path, stem: str) -> list[dict[str, Any]]:
    """Write the fields of one chain as files whose names begin with ``stem``."""
    described: list[dict[str, Any]] = []
    for number, step in enumerate(chain.steps):
        name = f"{stem}_{number}.npz"
        if isinstance(step, Projective):
            described.append({"type": "projective", "matrix": step.matrix.tolist()})
        elif isinstance(step, DisplacementField):
            write_npz(
                folder / name,
                origin=np.array(step.origin),
                spacing=np.array(step.spacing),
                coefficients=step.coefficients,
            )
            described.append({"type": "displacement_field", "file": name})
        elif isinstance(step, SplicedField):
            write_npz(folder / name, **_spliced_arrays(step))
            described.append({"type": "spliced_field", "file": name})
        else:
            raise TypeError(f"a {type(step).__name__} is not stored")
    return described


def load_chain(described: Any, folder: Path) -> Chain:
    """Read back what :func:`save_chain` wrote.

    Raises :class:`RunError` for a description that is none, and for a field file that is missing,
    damaged or too large for the memory.
    """
    has_pieces = isinstance(described, list) and any(
        isinstance(step, dict) and step.get("type") == "pieces" for step in described
    )
    try:
        if has_pieces:
            return _load_pieces(_PIECES.validate_python(described)[0], folder)
        return _load_steps(_STEPS.validate_python(described), folder)
    except ValidationError as error:
        mistake = first_mistake(error)
        raise RunError(f"no transform is described in {folder} ({mistake}). {REMEDY}") from error


def _load_pieces(record: _PiecesRecord, folder: Path) -> PieceMap:
    pieces = [
        MappedPiece(
            piece.number,
            tuple(np.array(outline) for outline in piece.fixed),
            tuple(np.array(outline) for outline in piece.moving),
            _load_steps(piece.steps, folder),
        )
        for piece in record.pieces
    ]
    return PieceMap.of(pieces, Size(*record.fixed_size), Size(*record.moving_size))


def _load_steps(steps: tuple[_ProjectiveRecord | _FieldRecord, ...], folder: Path) -> Chain:
    return Chain(tuple(_load_step(step, folder) for step in steps))


def _load_step(step: _ProjectiveRecord | _FieldRecord, folder: Path) -> Transform:
    if isinstance(step, _ProjectiveRecord):
        matrix = np.array(step.matrix, np.float64)
        if abs(np.linalg.det(matrix)) < np.finfo(np.float64).tiny:
            raise RunError(f"a projective transform of {folder} cannot be inverted. {REMEDY}")
        return Projective(matrix)
    path = folder / step.file
    arrays = read_arrays(path)
    if step.type == "spliced_field":
        return _spliced_from(path, arrays)
    x, y = checked(path, arrays, "origin", (2,)).tolist()
    spacing = float(_positive(path, checked(path, arrays, "spacing", ())))
    return DisplacementField((x, y), spacing, _coefficients(path, arrays, "coefficients"))


def _spliced_arrays(field: SplicedField) -> dict[str, NDArray[Any]]:
    """Return the arrays that describe a spliced field; blocks without a spline store none."""
    arrays: dict[str, NDArray[Any]] = {
        "cores": np.array([(core.x, core.y, core.width, core.height) for core in field.cores])
    }
    for number, spline in enumerate(field.splines):
        if spline is not None:
            arrays[f"frame_{number}"] = np.array([*spline.origin, *spline.spacing])
            arrays[f"coefficients_{number}"] = spline.coefficients
    return arrays


def _spliced_from(path: Path, arrays: Mapping[str, NDArray[Any]]) -> SplicedField:
    cores = checked(path, arrays, "cores", (None, 4)).astype(int).tolist()
    splines: list[BSpline | None] = []
    for number in range(len(cores)):
        if f"frame_{number}" not in arrays:
            splines.append(None)
            continue
        frame = checked(path, arrays, f"frame_{number}", (4,))
        x, y, spacing_x, spacing_y = frame.tolist()
        _positive(path, frame[2:])
        coefficients = _coefficients(path, arrays, f"coefficients_{number}")
        splines.append(BSpline((x, y), (spacing_x, spacing_y), coefficients))
    return SplicedField(tuple(Box(*core) for core in cores), tuple(splines))


def _coefficients(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    """Return ``(rows, columns, 2)`` coefficients of at least one node."""
    found = checked(path, arrays, name, (None, None, 2))
    if not found.size:
        raise RunError(f"{path} is damaged ({name!r} is empty). {REMEDY}")
    return found


def _positive(path: Path, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    if not (spacing > 0).all():
        raise RunError(f"{path} is damaged (a grid's spacing of {spacing}). {REMEDY}")
    return spacing
