"""ITK's files, written without ITK: transforms (``.tfm``) and displacement fields (``.mha``).

Physical points are ``(x, y)`` in millimetres, 0 at the centre of a slide's first pixel: level-0 pixel
times µm per pixel, divided by 1000. A transform takes points of the first slide of its name to the
second, which is how ITK resamples the second slide onto the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registration.export.sampling import Field, Sampled
from registration.files.storage import write_text, written_whole
from registration.transforms import Projective

UM_PER_MM = 1000.0


def write_composite(path: Path, sampled: Sampled, mpp: tuple[float, float]) -> None:
    """Write a composite of a cubic B-spline, applied first, and an affine map.

    ``mpp`` is that of the slide whose points go in, and of the one on which they come out.
    """
    mm = mpp[0] / UM_PER_MM
    spline = sampled.field.spline()
    # ITK's grid holds the nodes beyond the edge; scipy's spline mirrors them.
    around = np.pad(spline.coefficients, ((1, 1), (1, 1), (0, 0)), mode="reflect") * mm
    rows, columns = around.shape[:2]
    origin = [(start - spline.spacing) * mm for start in spline.origin]
    grid = [columns, rows, *origin, spline.spacing * mm, spline.spacing * mm, 1, 0, 0, 1]
    matrix = _in_mm(sampled.affine, mpp)
    linear = [*matrix[:2, :2].ravel(), *matrix[:2, 2]]
    parts = (
        ("CompositeTransform_double_2_2", None, None),
        ("AffineTransform_double_2_2", linear, [0, 0]),
        ("BSplineTransform_double_2_2", np.moveaxis(around, -1, 0).ravel(), grid),
    )
    lines = ["#Insight Transform File V1.0"]
    for number, (kind, parameters, fixed) in enumerate(parts):
        lines += [f"#Transform {number}", f"Transform: {kind}"]
        if parameters is not None and fixed is not None:
            lines += [f"Parameters: {_numbers(parameters)}", f"FixedParameters: {_numbers(fixed)}"]
    write_text(path, "\n".join(lines) + "\n")


def write_displacements(path: Path, field: Field, mm_per_px: float) -> None:
    """Write a field as MetaImage, nodes and displacements in millimetres (or pixels, for 1)."""
    rows, columns = field.values.shape[:2]
    header = {
        "ObjectType": "Image",
        "NDims": "2",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 1",
        "Offset": _numbers(start * mm_per_px for start in field.origin),
        "CenterOfRotation": "0 0",
        "ElementSpacing": _numbers([field.spacing * mm_per_px] * 2),
        "DimSize": f"{columns} {rows}",
        "ElementNumberOfChannels": "2",
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    pixels = (field.values * mm_per_px).astype("<f4")
    with written_whole(path) as part, part.open("wb") as file:
        file.write(text.encode("ascii"))
        file.write(pixels.tobytes())


def _in_mm(affine: Projective, mpp: tuple[float, float]) -> NDArray[np.float64]:
    """Return the 3 x 3 matrix of an affine map of pixels as one of millimetres."""
    into, out_of = (np.diag([value / UM_PER_MM, value / UM_PER_MM, 1.0]) for value in mpp)
    return np.asarray(out_of @ affine.matrix @ np.linalg.inv(into), np.float64)


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.17g}" for value in values)
