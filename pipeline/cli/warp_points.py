"""``bci-pipeline warp-points``: points and annotations from one slide of a pair to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson
from registration.files.plain_json import json_text
from registration.files.words import counted

EXAMPLES = (
    "bci-pipeline warp-points registered/p012 he_cells.csv --out ihc_cells.csv",
    "bci-pipeline warp-points registered/p012 ihc_tumour.geojson --to he --out he_tumour.geojson",
)
NOTES = """
A CSV file needs the columns x and y, in level-0 pixels of the slide the points come from; all other
columns are kept. A column on_slide says which points lie on both slides. Where the slides show
several pieces of tissue, a column piece says on which one a point lies; on none of them, x and y stay
empty, and in GeoJSON a shape that does not lie on one piece has no geometry.
"""

MOST_NAMED = 8


@command(EXAMPLES, NOTES)
def warp_points(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a registered pair.")],
    points: Annotated[
        Path, typer.Argument(metavar="POINTS", help="CSV with columns x,y, or QuPath GeoJSON.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, in the format of POINTS.")],
    to: Annotated[
        Literal["he", "ihc"] | None,
        typer.Option(help="Slide to carry the points to. Default: the one that kept its pixels."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry points of one slide to the other, through the whole registration."""
    from pipeline.stages import warp_points as warping
    from registration.result import Registration

    done = warping.warp_points(Registration.load(run), points, out, to)
    if as_json:
        names = ("to", "points", "off_slide", "off_piece", "unsolved", "odd_shapes")
        result = {name: getattr(done, name) for name in names}
        typer.echo(json_text({"out": str(done.out), **result}))
        return
    slide = {"he": "H&E", "ihc": "IHC"}[done.to]
    typer.echo(f"{counted(done.points, 'point')} in pixels of the {slide} slide: {done.out}")
    if done.off_slide:
        typer.echo(f"{done.off_slide} of them do not lie on both slides (on_slide = false)")
    if done.off_piece:
        typer.echo(f"{done.off_piece} of them lie on no registered piece: x and y are left empty")
    if done.unsolved:
        typer.echo(
            f"{done.unsolved} of them lie where the registration folds or jumps; their place is uncertain"
        )
    if done.odd_shapes:
        named = ", ".join(done.odd_shapes[:MOST_NAMED])
        more = len(done.odd_shapes) - MOST_NAMED
        typer.echo(
            f"{counted(len(done.odd_shapes), 'polygon')} open or without area, carried over unchanged: "
            f"{named}{f' and {more} more' if more > 0 else ''}"
        )
