"""``bci-pipeline patch``: finished registrations in, a dataset of paired patches out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson, DryRun, Scheduler, WorkerCount
from pipeline.cli.progress import progress_on_stderr
from pipeline.cli.setting_options import with_settings
from pipeline.errors import NoPairsError
from pipeline.patches.settings import PatchSettings
from pipeline.split import SplitSettings
from registration.files.plain_json import json_text
from registration.files.words import counted

if TYPE_CHECKING:
    from pipeline.stages.patch import PatchRequest

EXAMPLES = (
    "bci-pipeline patch registered/p012 --out p012-patches --size 512",
    "bci-pipeline patch registered/* --out dataset --size 512 --labels cases.csv --test 0.25",
    "bci-pipeline patch registered/* --out small --size 256 --stride 128 --layout hf",
)
NOTES = """
The labels are a CSV with the columns case (name of the run folder), patient, her2 and split; without
them every run is a patient of its own without a HER2 level.

Exit codes: 0 done, 1 done but runs had to be left out or no pair was kept, 2 bad input or usage, 130
interrupted (the same command goes on).
"""


@command(EXAMPLES, NOTES)
@with_settings(PatchSettings)
@with_settings(SplitSettings, "split")
def patch(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that `register` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Dataset folder.")],
    settings: PatchSettings = PatchSettings(),
    split: SplitSettings = SplitSettings(),
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="case,patient,her2,split per run.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset. Default: the folder's.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset made otherwise in --out.")
    ] = False,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Cut paired patches from finished registrations, filter them, and write a documented dataset."""
    from pipeline.labels import ignored_columns
    from pipeline.stages.patch import PatchRequest, plan_patches, run_patch

    request = PatchRequest(tuple(runs), out, settings, split, labels, name, overwrite)
    if labels is not None and (ignored := ignored_columns(labels)):
        typer.echo(f"note: {labels}: columns that are not read: {', '.join(ignored)}", err=True)
    if dry_run:
        plan = plan_patches(request, workers)
        typer.echo(json_text(plan) if as_json else _plan_text(plan))
        return
    try:
        with progress_on_stderr() as progress:
            outcome = run_patch(request, workers, scheduler, progress)
    except NoPairsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for note in outcome.notes:
        typer.echo(f"note: {note}", err=True)
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
    from pipeline.patches.case import FAILED
    from registration.patch_reasons import REASON_WORDS

    words = {"bare glass": "bare glass", **REASON_WORDS}
    lines = [
        f"{step['left']:>8}  {step['label']}"
        + (f"  (-{step['lost']}: {words[step['reason']]})" if step["lost"] else "")
        for step in record["funnel"]
    ]
    for case in record["cases"]:
        text = (
            f"excluded: {case['excluded']}" if case["excluded"] else counted(case["kept"], "pair")
        )
        split = case["split"] or "-"
        lines.append(f"case {case['name']}  HER2 {case['her2'] or 'unknown'}  {split}  {text}")
    lines += [f"failed: {name}: {reason.removeprefix(FAILED)}" for name, reason in failed.items()]
    lines.append(f"report   {request.out / REPORT_NAME}")
    return "\n".join(lines)
