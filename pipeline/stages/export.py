"""The ``export`` stage: the transform of a run, whole, in the form of another program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from pipeline.errors import UsageError
from pipeline.stages.warp_points import origin_of
from registration.errors import SettingsError
from registration.export.whole import ExportedFile, Program, write_itk, write_ome_zarr, write_qupath
from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.storage import folder_written_whole, write_json
from registration.files.text import json_record
from registration.files.words import did_you_mean, excerpt
from registration.landmarks.landmarks import Moving
from registration.result import Registration

FORMAT = "bci-pipeline transform"
RECORD_NAME = "transform.json"
PROGRAMS: tuple[Program, ...] = get_args(Program)

ABOUT: dict[Program, tuple[str, ...]] = {
    "itk": (
        "Points are (x, y) in millimetres, 0 at the centre of a slide's first pixel at full resolution.",
        "A file called ihc_to_he takes points of the IHC slide to the H&E slide, which resamples the "
        "H&E slide onto the IHC slide.",
        "The composite's B-spline is applied first, then its affine map. Beyond the slide (or the "
        "piece) the B-spline and the displacements are nothing.",
        "The file that ends in _grid.mha is in pixels of its own grid instead, x first.",
    ),
    "ome-zarr": (
        "An OME-NGFF 0.6 scene: axes (y, x), micrometres, 0 at the centre of a slide's first pixel.",
        "The displacements are applied first, interpolated linearly, then the affine map.",
    ),
    "qupath": (
        "QuPath's coordinates: pixels at full resolution, 0 at the first pixel's corner, counted from "
        "the slide's bounds where it has some.",
        "Warpy's file goes to the data folder of the entry that receives objects, called "
        "transform_<its id>_<id of the other>.json.",
        "The thin-plate spline approximates the registration; warp-points moves GeoJSON exactly.",
    ),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``export`` wrote."""

    folder: Path
    files: tuple[ExportedFile, ...]


@one_at_a_time(
    lambda registration, program, out=None: out or _default_folder(registration, program)
)
def export_transform(registration: Registration, program: str, out: Path | None = None) -> Exported:
    """Write the transform of a run for ``program`` into the folder ``out``.

    Without ``out`` it is ``transform_<program>`` in the run folder. Raises :class:`SettingsError`
    for an unknown program, and :class:`UsageError` for a folder that holds anything else.
    """
    chosen = _program(program)
    folder = out or _default_folder(registration, chosen)
    check_folder(folder, models=[registration.folder])
    is_ours = json_record(folder / RECORD_NAME).get("format") == FORMAT
    if folder.exists() and any(folder.iterdir()) and not is_ours:
        raise UsageError(f"{folder} holds something else; name another folder")
    with folder_written_whole(folder) as part:
        files = _write(registration, chosen, part)
        record = {
            "format": FORMAT,
            "transform": chosen,
            "registration": registration.key,
            "about": list(ABOUT[chosen]),
            "slides": {"he": asdict(registration.he), "ihc": asdict(registration.ihc)},
            "moving": registration.moving,
            "files": [asdict(file) for file in files],
        }
        write_json(part / RECORD_NAME, record)
    return Exported(folder, tuple(files))


def _default_folder(registration: Registration, program: str) -> Path:
    return registration.folder / f"transform_{program}"


def _program(name: str) -> Program:
    for program in PROGRAMS:
        if program == name:
            return program
    raise SettingsError(
        f"transform: expected {', '.join(PROGRAMS)}, found {excerpt(name)}{did_you_mean(name, PROGRAMS)}"
    )


def _write(registration: Registration, program: Program, folder: Path) -> list[ExportedFile]:
    if program == "itk":
        return write_itk(registration, folder)
    if program == "ome-zarr":
        return write_ome_zarr(registration, folder)
    stains: tuple[Moving, ...] = get_args(Moving)
    origins = {stain: origin_of(registration, stain) for stain in stains}
    return write_qupath(registration, folder, origins)
