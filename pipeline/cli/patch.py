"""``bci-pipeline patch``: finished registrations in, a dataset of paired patches out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.options import AsJson, DryRun, Scheduler, WorkerCount
from pipeline.cli.progress import progress_on_stderr
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from pipeline.stages.patch import PatchRequest

EXAMPLES = """
Examples:

  bci-pipeline patch registered/p012 --out dataset

  bci-pipeline patch registered/* --out dataset --labels cases.csv --test 0.25

  bci-pipeline patch registered/* --out dataset --size 512 --stride 256 --mpp 0.5 --layout hf --format webp

The labels are a CSV with the columns case (name of the run folder), patient, her2 and split; without
them every run is a patient of its own without a HER2 level.

Exit codes: 0 done, 1 done but runs had to be left out or no pair was kept, 2 bad input or usage,
130 interrupted (the same command goes on).
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("patch", epilog=EXAMPLES)(patch)


def patch(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that `register` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Dataset folder.")],
    size: Annotated[int, typer.Option(help="Side of a patch in pixels.")] = 1024,
    stride: Annotated[
        int | None, typer.Option(help="Distance between patches in pixels. Default: the size.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per pixel. Default: the unwarped slide's own.")
    ] = None,
    min_tissue: Annotated[
        float, typer.Option(help="Smallest share of tissue in either image, 0 to 1.")
    ] = 0.5,
    max_filled: Annotated[
        float, typer.Option(help="Largest share without a source on the warped slide, 0 to 1.")
    ] = 0.02,
    max_shift: Annotated[float, typer.Option(help="Largest residual shift in µm.")] = 10.0,
    min_percentile: Annotated[
        float, typer.Option(help="A pair must be more alike than this % of mismatched pairs.")
    ] = 95.0,
    layout: Annotated[
        Literal["bci", "pix2pix", "hf"],
        typer.Option(help="BCI's folders, side-by-side images, or Hugging Face's."),
    ] = "bci",
    image: Annotated[
        Literal["png", "webp", "jpeg"],
        typer.Option("--format", help="png and webp are lossless."),
    ] = "png",
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="case,patient,her2,split per run.")
    ] = None,
    test: Annotated[float, typer.Option(help="Share of the patients held out for test.")] = 0.2,
    val: Annotated[
        float, typer.Option(help="Share of the patients held out for validation.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draw of patients.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset. Default: the folder's.")
    ] = None,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Cut paired patches from finished registrations, filter them, and write a documented dataset."""
    from pipeline.patches.settings import PatchSettings
    from pipeline.split import SplitSettings
    from pipeline.stages.patch import PatchRequest, plan_patches, run_patch

    request = PatchRequest(
        runs=tuple(runs),
        out=out,
        settings=PatchSettings(
            size=size,
            stride=stride,
            mpp=mpp,
            min_tissue=min_tissue,
            max_filled=max_filled,
            max_shift_um=max_shift,
            min_percentile=min_percentile,
            image=image,
            side_by_side=layout == "pix2pix",
        ),
        layout=layout,
        split=SplitSettings(test, val, seed),
        labels=labels,
        name=name,
    )
    if dry_run:
        plan = plan_patches(request, workers)
        typer.echo(json_text(plan) if as_json else _plan_text(plan))
        return
    with progress_on_stderr() as progress:
        outcome = run_patch(request, workers, scheduler, progress)
    record = outcome.record
    typer.echo(
        json_text({"folder": str(out), "failed": outcome.failed, **record})
        if as_json
        else _summary(request, record, outcome.failed)
    )
    if outcome.failed:
        sys.exit(1)


def _plan_text(plan: list[dict[str, object]]) -> str:
    return "\n".join("  ".join(f"{key} {value}" for key, value in line.items()) for line in plan)


def _summary(request: PatchRequest, record: dict[str, Any], failed: dict[str, str]) -> str:
    """Return the lines a person wants to see first."""
    from pipeline.dataset.plan import REPORT_NAME

    lines = [
        f"{step['left']:>8}  {step['label']}"
        + (f"  (-{step['lost']} {step['reason']})" if step["lost"] else "")
        for step in record["funnel"]
    ]
    for case in record["cases"]:
        text = f"excluded: {case['excluded']}" if case["excluded"] else f"{case['kept']} pairs"
        split = case["split"] or "-"
        lines.append(f"case {case['name']}  HER2 {case['her2'] or 'unknown'}  {split}  {text}")
    lines += [f"failed: {name}: {reason}" for name, reason in failed.items()]
    lines.append(f"report   {request.out / REPORT_NAME}")
    return "\n".join(lines)
