"""OME-NGFF 0.6: a scene of named coordinate systems and the transforms between them.

The scene holds no image: the slides stay where they are. Its systems are the pixels and the micrometres
of both slides, axes ``y, x``, pixel centres at integers, 0 at the centre of the first pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from registration.export.sampling import Sampled
from registration.files.storage import folder_written_whole

VERSION = "0.6"
FIELD = "displacements"
UNIT = "micrometer"
CHUNK = 1024


def write_scene(
    path: Path, sampled: Sampled, names: tuple[str, str], mpp: tuple[float, float]
) -> None:
    """Write the scene of two slides, with the transform from the first to the second.

    The field holds ``(dy, dx)`` in micrometres of the first slide, interpolated linearly.
    """
    source, target = names
    field = sampled.field
    with folder_written_whole(path) as part:
        root = zarr.open_group(str(part), mode="w", zarr_format=3)
        root.attrs["ome"] = {"version": VERSION, "scene": _scene(sampled, names, mpp)}
        group = root.create_group(FIELD)
        group.attrs["ome"] = _image(sampled, mpp[0], f"{source} to {target}")
        values = np.moveaxis(field.values[..., ::-1], -1, 0) * mpp[0]
        array = group.create_array(
            "0",
            shape=values.shape,
            chunks=(2, min(CHUNK, values.shape[1]), min(CHUNK, values.shape[2])),
            dtype="float32",
            compressors=BloscCodec(cname="zstd", clevel=3),
            dimension_names=["c", "y", "x"],
        )
        array[:] = values.astype(np.float32)


def _scene(sampled: Sampled, names: tuple[str, str], mpp: tuple[float, float]) -> dict[str, Any]:
    source, target = names
    systems = []
    scales = []
    for name, each in zip(names, mpp, strict=True):
        systems += [_system(f"{name} pixels"), _system(f"{name} micrometers", UNIT)]
        scales.append(
            {
                "type": "scale",
                "scale": [each, each],
                "input": {"name": f"{name} pixels"},
                "output": {"name": f"{name} micrometers"},
            }
        )
    whole = {
        "type": "sequence",
        "name": f"{source} to {target}",
        "input": {"name": f"{source} micrometers"},
        "output": {"name": f"{target} micrometers"},
        "transformations": [
            {"type": "displacements", "path": FIELD, "interpolation": "linear"},
            {"type": "affine", "affine": _affine(sampled, mpp)},
        ],
    }
    return {"coordinateSystems": systems, "coordinateTransformations": [*scales, whole]}


def _image(sampled: Sampled, mpp: float, name: str) -> dict[str, Any]:
    """Return the metadata of the field, which is an image of its own."""
    field = sampled.field
    step = field.spacing * mpp
    place = {
        "type": "sequence",
        "input": {"path": "0"},
        "output": {"name": "physical"},
        "transformations": [
            {"type": "scale", "scale": [1.0, step, step]},
            {"type": "translation", "translation": [0.0, *(v * mpp for v in field.origin[::-1])]},
        ],
    }
    axes = [{"name": "c", "type": "displacement", "discrete": True}, *_axes(UNIT)]
    dataset = {"path": "0", "coordinateTransformations": [place]}
    systems = [{"name": "physical", "axes": axes}]
    multiscale = {"name": name, "coordinateSystems": systems, "datasets": [dataset]}
    return {"version": VERSION, "multiscales": [multiscale]}


def _system(name: str, unit: str | None = None) -> dict[str, Any]:
    return {"name": name, "axes": _axes(unit)}


def _axes(unit: str | None) -> list[dict[str, Any]]:
    return [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in "yx"]


def _affine(sampled: Sampled, mpp: tuple[float, float]) -> list[list[float]]:
    """Return the affine map of micrometres, rows and columns in the order ``y, x``."""
    matrix = sampled.affine.matrix
    linear = matrix[:2, :2][::-1, ::-1] * (mpp[1] / mpp[0])
    shift = matrix[:2, 2][::-1] * mpp[1]
    rows: list[list[float]] = np.column_stack([linear, shift]).tolist()
    return rows
