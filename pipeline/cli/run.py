"""``bci-pipeline run``: a whole cohort, from its manifest to its dataset."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.help import command
from pipeline.cli.options import (
    AsJson,
    DryRun,
    ManifestConfig,
    ManifestFile,
    Scheduler,
    WorkerCount,
    show_facts,
)
from pipeline.cli.progress import QUIET, progress_on_stderr
from registration.files.plain_json import json_text
from registration.files.words import counted

if TYPE_CHECKING:
    from pipeline.cohort.run import CohortOutcome, RunRequest
    from pipeline.cohort.state import Cohort

EXAMPLES = (
    "bci-pipeline run cohort.yaml --dry-run",
    "bci-pipeline run cohort.yaml",
    "bci-pipeline run cohort.yaml --only p012 --only p013",
    "bci-pipeline run cohort.yaml --stage dataset --stage train",
    "bci-pipeline run cohort.yaml --print-slurm array > submit.sh",
    "bci-pipeline run slides.csv --config settings.yaml --dry-run",
    "bci-pipeline run stained/manifest.yaml",
)
NOTES = """
Started again it goes on; changed settings redo exactly what depends on them. One bad slide never
stops the others: what failed, and why, is listed at the end.

Exit codes: 0 done, 1 something failed, 2 bad manifest or usage, 130 interrupted.
"""


class StageName(StrEnum):
    """What ``--stage`` takes."""

    VALIDATE = "validate"
    REGISTER = "register"
    PATCH = "patch"
    DATASET = "dataset"
    TRAIN = "train"


@command(EXAMPLES, NOTES)
def run(
    manifest: ManifestFile,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CASE", help="Only this case; may be repeated.")
    ] = None,
    stage: Annotated[
        list[StageName] | None,
        typer.Option(
            help="Only this stage; may be repeated. Default: all (with --only: of the case)."
        ),
    ] = None,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="<GiB>",
            help="What all processes together may take: bounds how many cases run at once. Default: "
            "most of what is free.",
        ),
    ] = None,
    config: ManifestConfig = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Name files and patients in reports and dataset.")
    ] = False,
    dry_run: DryRun = False,
    print_slurm: Annotated[
        Literal["array", "dask"] | None,
        typer.Option(help="Print a SLURM script: one job per case, or a dask cluster."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Validate, register, cut and assemble all cases of a manifest, and train where it asks for it."""
    from rich.console import Console

    from pipeline.cohort.run import RunRequest, run_cohort, run_single
    from pipeline.cohort.state import STAGES, Cohort

    cohort = Cohort.load(manifest, config, keep_names)
    stages = tuple(name for name in STAGES if name in (stage or ()))
    request = RunRequest(cohort, tuple(only or ()), stages, workers, scheduler, memory, QUIET.get())
    cohort.select(request.only)
    if print_slurm is not None:
        typer.echo(_slurm(cohort, request, print_slurm), nl=False)
        return
    if dry_run:
        _print_plan(request, as_json)
        return
    if stage and not stages:
        typer.echo(f"{manifest}: {counted(len(cohort.manifest.cases), 'case')}, no mistakes found")
        return
    if request.is_single:
        with progress_on_stderr() as progress:
            run_single(request, progress)
        return
    notes = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    with progress_on_stderr() as progress:
        outcome = run_cohort(request, notes.print, progress)
    typer.echo(_json(outcome) if as_json else _summary(outcome))
    if outcome.failed:
        sys.exit(1)


def _slurm(cohort: Cohort, request: RunRequest, way: Literal["array", "dask"]) -> str:
    from dataclasses import replace

    from pipeline.cohort.slurm import SlurmPlan, slurm_script

    names = tuple(case.id for case in cohort.select(request.only))
    config = None if cohort.config is None else cohort.config.resolve()
    there = replace(cohort, path=cohort.path.resolve(), config=config)
    return slurm_script(SlurmPlan(tuple(there.named), cohort.manifest.out, names), way)


def _print_plan(request: RunRequest, as_json: bool) -> None:
    from pipeline.cohort.plan import plan_cohort

    plan = plan_cohort(request)
    cases = {f"case {case['case']}": _without(case, "case") for case in plan["cases"]}
    show_facts(plan if as_json else {**cases, **_without(plan, "cases")}, as_json)


def _without(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != name}


def _json(outcome: CohortOutcome) -> str:
    from dataclasses import asdict

    return json_text(asdict(outcome))


def _summary(outcome: CohortOutcome) -> str:
    """Return what was made and, last, what failed."""
    lines = [f"{name}  {made}" for name, made in outcome.done.items()]
    lines += [f"left out {name}: {reason}" for name, reason in outcome.excluded.items()]
    lines += [f"FAILED   {name}: {reason}" for name, reason in outcome.failed.items()]
    return "\n".join(lines or ["nothing to do"])
