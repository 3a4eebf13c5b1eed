"""``bci-pipeline demo``: everything once, on slides that it makes itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson, DryRun, show_facts
from pipeline.cli.progress import progress_on_stderr
from registration.files.commands import typed
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from pipeline.demo import Demo
    from registration.result import Registration

EXAMPLES = (
    "bci-pipeline demo",
    "bci-pipeline demo --out small-demo --size 2048",
)
NOTES = """
Running it again goes on where it stopped, and does nothing that is done.
"""


@command(EXAMPLES, NOTES)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    size: Annotated[
        int, typer.Option(min=2048, help="Pixels a side of the slides, a multiple of 64.")
    ] = 4096,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make slides, register them, cut patches, train a tiny network, and say how well it all did."""
    from rich.console import Console

    from pipeline.demo import Demo, plan_demo, run_demo

    if dry_run:
        show_facts(plan_demo(Demo(out, size)), as_json)
        return
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    work = Demo(out, size)
    begun = time.perf_counter()
    with progress_on_stderr() as progress:
        run_demo(work, progress, lambda title: notes.print(f"[bold]{title}[/]"))
    seconds = time.perf_counter() - begun
    if as_json:
        typer.echo(json_text(_as_json(work, seconds)))
    else:
        _print(work, seconds)


def _print(work: Demo, seconds: float) -> None:
    """Print the errors reached, where things are, and what to do next."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from pipeline.demo import DATASET

    title = "Error at points whose place is known, in µm: median, and 90th percentile"
    table = Table("case  ", "HER2  ", "start  ", "verdict", title=title, box=SIMPLE_HEAD, padding=0)
    for heading in ("scanned", "projective", "all steps", "90th"):
        table.add_column(f"  {heading}", justify="right")
    levels = {case.name: case.settings.her2 for case in work.cases}
    for name, registration in work.registrations.items():
        table.add_row(name, levels[name], *_cells(registration))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for line in work.results:
        console.print(line)
    case = work.cases[0]
    console.print(f"\ndone in {seconds:.0f} s. Open {_report(work)} in a browser, then try")
    console.print(f"  {typed('register', case.he, case.ihc, '--out', 'mine')}")
    console.print(f"  {typed('train', work.out / DATASET, '--out', 'trained', '--dry-run')}")
    if work.trained is not None:
        trained, dataset = work.trained, work.out / DATASET
        console.print(f"  {typed('translate', trained, case.he, '--out', 'virtual_ihc.tif')}")
        console.print(f"  {typed('evaluate', trained, dataset, '--out', 'scores')}")


def _cells(registration: Registration) -> list[str]:
    """Return start, verdict and errors in µm of one case."""
    tre = registration.quality.tre
    errors = [tre[stage].median_um for stage in ("before", "after_projective", "after_all")]
    errors.append(tre["after_all"].p90_um)
    start = {"landmarks": "picked", "automatic": "automatic"}[registration.start.source]
    return [start, registration.verdict, *(f"{error:.2f}" for error in errors)]


def _report(work: Demo) -> Path:
    from registration.result import REPORT_NAME

    return next(iter(work.registrations.values())).folder / REPORT_NAME


def _as_json(work: Demo, seconds: float) -> dict[str, Any]:
    from dataclasses import asdict

    cases = {
        name: {
            "folder": str(registration.folder),
            "verdict": registration.verdict,
            "tre": {stage: asdict(value) for stage, value in registration.quality.tre.items()},
        }
        for name, registration in work.registrations.items()
    }
    return {
        "out": str(work.out),
        "seconds": round(seconds, 1),
        "cases": cases,
        "trained": None if work.trained is None else str(work.trained),
    }
