"""``bci-pipeline register``: two raw slides in, one registered slide and its report out."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.help import command
from pipeline.cli.options import (
    AsJson,
    DryRun,
    HeMpp,
    HeSlide,
    IhcMpp,
    IhcSlide,
    Scheduler,
    WorkerCount,
    show_facts,
)
from pipeline.cli.progress import progress_on_stderr
from pipeline.cli.setting_options import with_settings
from pipeline.stages.settings import RegisterSettings
from registration.errors import StartError
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from registration.result import Registration

EXAMPLES = (
    "bci-pipeline register he.ndpi ihc.ndpi",
    "bci-pipeline register p012_he.ndpi p012_ihc.ndpi --out registered/p012 --landmarks picked.csv",
    "bci-pipeline register he.png ihc.png --mpp-he 0.46 --mpp-ihc 0.46 --out registered/p014",
)
NOTES = """
Exit codes: 0 done (pass or review), 1 ran but failed its check, 2 bad input or usage, 130
interrupted (the same command goes on).
"""


@command(EXAMPLES, NOTES)
@with_settings(RegisterSettings)
def register(
    he: HeSlide,
    ihc: IhcSlide,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: registered/<name of the H&E slide>.")
    ] = None,
    landmarks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Picked pairs: our CSV, BigWarp's, or ANHIR's two files as HE.csv,IHC.csv. "
            "Without it they are proposed automatically.",
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Pairs that only score the result (same formats)."),
    ] = None,
    pieces: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Outlines drawn in QuPath (GeoJSON) with classes piece 1, piece 2, control, "
            "exclude; of both slides as HE.geojson,IHC.geojson.",
        ),
    ] = None,
    settings: RegisterSettings = RegisterSettings(),
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    mpp_he: HeMpp = None,
    mpp_ihc: IhcMpp = None,
    no_image: Annotated[
        bool, typer.Option("--no-image", help="Skip the registered slide.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what another run left in the folder.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Register an H&E slide and an IHC slide of the same case."""
    from pipeline.stages.register import RegisterRequest, is_done, plan, run_request

    request = RegisterRequest(
        he=he,
        ihc=ihc,
        out=out or Path("registered") / he.stem,
        settings=settings.model_copy(update={"image": "none"}) if no_image else settings,
        landmarks=landmarks,
        truth=truth,
        pieces=pieces,
        mpp_he=mpp_he,
        mpp_ihc=mpp_ihc,
        overwrite=overwrite,
    )
    if dry_run:
        show_facts(plan(request), as_json)
        return
    already = is_done(request)
    try:
        with progress_on_stderr() as progress:
            registration = run_request(request, workers, scheduler, progress)
    except StartError as error:
        if as_json:
            refused = {"reasons": [str(error)], "evidence": error.evidence}
            answer = {"folder": str(request.out), "verdict": "not registered", **refused}
            typer.echo(json_text(answer))
        raise
    if already:
        typer.echo(f"done already, nothing to do: {request.out}", err=True)
    by_hand = mpp_he is not None or mpp_ihc is not None
    typer.echo(_json(registration) if as_json else _summary(registration, by_hand))
    if registration.verdict == "fail":
        sys.exit(1)


def _json(registration: Registration) -> str:
    from registration.result import read_record

    record = read_record(registration.folder)
    return json_text({"folder": str(registration.folder), **record})


def _summary(registration: Registration, by_hand: bool) -> str:
    """Return the lines a person wants to see first; ``by_hand`` if µm per pixel were typed."""
    from registration.figures import TRE_STAGES
    from registration.result import REPORT_NAME, STATUS_WORDS

    reasons = f"\n{'':10}".join(registration.reasons)
    lines = [f"verdict   {registration.verdict}: {reasons}"]
    if registration.start.mirrored:
        lines.append("mirrored  one section lies face down; the H&E slide is turned over")
    statuses = [block.status for block in registration.blocks]
    counts = [f"{statuses.count(status)} {words}" for status, words in STATUS_WORDS.items()]
    lines.append(f"blocks    {', '.join(counts)}")
    residual = registration.quality.residual
    if residual is not None:
        found = f"{100 * residual.matched_fraction:.0f} % of {residual.points} places matched"
        if math.isfinite(residual.confirmed_fraction):  # older runs did not measure it
            found += f", {100 * residual.confirmed_fraction:.0f} % confirmed by those around them"
        lines.append(
            f"shift     {residual.median_um:.1f} µm is left (median), 90 % within "
            f"{residual.p90_um:.1f} µm ({found})"
        )
    for stage, tre in registration.quality.tre.items():
        lines.append(
            f"error     {TRE_STAGES[stage]}: {tre.median_um:.2f} µm (median of {tre.count} known "
            f"points; {tre.median_px:.2f} px), 90 % within {tre.p90_px:.2f} px, all within "
            f"{tre.max_px:.2f} px"
        )
    if by_hand and registration.verdict != "pass":
        lines.append(
            f"scale     {registration.he.mpp:g} and {registration.ihc.mpp:g} µm/px, given by hand: is that "
            "right? All µm hang on it, and so does the verdict"
        )
    lines.append(f"report    {registration.folder / REPORT_NAME}")
    if registration.image is not None:
        lines.append(f"slide     {registration.folder / registration.image}")
    return "\n".join(lines)
