"""``bci-pipeline export``: what other programs read of a registration, or of a trained generator."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson
from pipeline.errors import UsageError
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from pipeline.stages.export import Exported

EXAMPLES = (
    "bci-pipeline export registered/p012 --transform itk",
    "bci-pipeline export registered/p012 --transform ome-zarr",
    "bci-pipeline export registered/p012 p012_qupath --transform qupath",
    "bci-pipeline export runs/robust latest_net_G.pth",
)
NOTES = """
itk: composite transforms (.tfm) and displacement fields (.mha) that ITK, SimpleITK, elastix, 3D Slicer
and TIA Toolbox read. ome-zarr: an OME-NGFF 0.6 scene. qupath: a thin-plate spline for Warpy and an
affine matrix, both approximations whose error is printed. Where the slides show several pieces, each
has files of its own. transform.json beside them states units and axes.
"""


@command(EXAMPLES, NOTES)
def export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a registered pair, or of a training.")
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OUT]",
            help="Folder for the transform (default: in RUN), or the generator's file.",
        ),
    ] = None,
    transform: Annotated[
        Literal["ome-zarr", "itk", "qupath"] | None,
        typer.Option(help="Write the registration's transform for this program."),
    ] = None,
    stain: Annotated[
        str, typer.Option(help="Stain to write, of a generator that makes several.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a registration's transform for other programs, or a generator for the original code."""
    if transform is None:
        typer.echo(_generator(source, out, stain))
        return
    from pipeline.stages.export import export_transform
    from registration.result import Registration

    done = export_transform(Registration.load(source), transform, out)
    if as_json:
        typer.echo(json_text({"folder": str(done.folder), "files": list(map(asdict, done.files))}))
    else:
        typer.echo(_summary(done))


def _summary(done: Exported) -> str:
    lines = [f"{done.folder}: transform.json states units and axes"]
    for file in done.files:
        found = file.accuracy
        error = (
            f": off by {found.median_px:.3f} px median, {found.p99_px:.3f} p99, {found.max_px:.3f} max"
            if found
            else ""
        )
        lines.append(f"  {file.name}  {file.what}{error}")
    return "\n".join(lines)


def _generator(checkpoint: Path, out: Path | None, stain: str) -> str:
    """Write a generator in the form of the original code (a plain state dict)."""
    if out is None:
        raise UsageError(
            f"what of {checkpoint}? Give --transform itk, ome-zarr or qupath for a registration, or "
            "the file to write, such as latest_net_G.pth, for a generator"
        )
    from registration.files.outputs import check_file
    from training.inference.checkpoints import load_generator
    from training.models.official import save_official

    if out.is_file():
        raise UsageError(f"{out} is there already; name another file, or remove it")
    check_file(out, [checkpoint], suffixes=(".pth", ".pt"))
    trained = load_generator(checkpoint, stain=stain)
    save_official(trained.network, out)
    return f"{out}: {trained.describe()}"
