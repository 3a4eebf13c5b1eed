"""``bci-pipeline ablate``: the paper's Table 1 or 3, run again on a dataset, beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.help import command
from pipeline.cli.options import (
    AsJson,
    Assigned,
    DryRun,
    HeFolder,
    IhcFolder,
    assignments,
    show_facts,
)
from pipeline.cli.setting_options import with_settings
from registration.files.plain_json import json_text
from training.settings.config import TrainConfig

if TYPE_CHECKING:
    from rich.table import Table

    from training.evaluation.ablation import Entry, Result
    from training.metrics.intervals import Interval
    from training.run.history import Listener
    from training.run.plan import RunPlan

EXAMPLES = (
    "bci-pipeline ablate BCI --table 1 --out runs/table1 --dry-run",
    "bci-pipeline ablate dataset --table 3 --epochs 5+5 --crop 256 --batch 8",
)
NOTES = """
The same command goes on where a killed one stopped. Exit codes: 0 done, 1 training diverged, 2 bad
input or usage, 130 interrupted.
"""


TABLE_WIDTH = 120
"""Wide enough for every row: figures broken over two lines are hard to compare."""


@command(EXAMPLES, NOTES)
@with_settings(TrainConfig, "given", only=("epochs", "batch", "crop"))
def ablate(
    given: dict[str, Any],
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", help="With a test split; or --he, --ihc.")
    ] = None,
    table: Annotated[
        Literal["1", "3"], typer.Option(help="1: models. 3: scales of the pyramid loss.")
    ] = "3",
    out: Annotated[Path, typer.Option(help="Folder of the runs and the table.")] = Path(
        "runs/ablation"
    ),
    he: HeFolder = None,
    ihc: IhcFolder = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pixels.")] = None,
    assigned: Assigned = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train the paper's models on a dataset and print its table beside ours."""
    from rich.console import Console

    from pipeline.cli.train_progress import training_progress
    from training.data.pairs import open_dataset
    from training.evaluation.ablation import plan_ablation, run_ablation

    given |= assignments(assigned or [])
    pairs = open_dataset(dataset, he=he, ihc=ihc)
    if dry_run:
        plans = plan_ablation(pairs, out, table, given)
        show_facts(_plan(plans) if as_json else _in_words(plans), as_json)
        return
    with training_progress() as listener:

        def announced(entry: Entry) -> Listener:
            listener.note(f"training {entry.paper.method} in {out / entry.folder}")
            return listener

        results = run_ablation(pairs, out, table, given, announced, cache)
    if as_json:
        typer.echo(json_text(json.loads((out / f"table_{table}.json").read_text())))
        return
    Console(width=TABLE_WIDTH, highlight=False).print(_drawn(results, table))


def _plan(plans: Mapping[str, RunPlan | str]) -> dict[str, Any]:
    """Return steps and seconds of each model, or why it cannot be trained."""
    return {
        name: {"problem": plan}
        if isinstance(plan, str)
        else {"steps": plan.steps, "seconds": round(plan.seconds)}
        for name, plan in plans.items()
    }


def _in_words(plans: Mapping[str, RunPlan | str]) -> dict[str, str]:
    """Return what each model takes, and all of them."""
    from registration.files.words import duration

    def takes(steps: int, seconds: float) -> str:
        return f"{steps:,} steps, about {duration(max(1, seconds))}"

    sound = [plan for plan in plans.values() if not isinstance(plan, str)]
    words = {
        name: plan if isinstance(plan, str) else takes(plan.steps, plan.seconds)
        for name, plan in plans.items()
    }
    where = f" on {sound[0].device}" if sound else ""
    in_all = takes(sum(plan.steps for plan in sound), sum(plan.seconds for plan in sound))
    return {**words, "all": in_all + where}


def _drawn(results: list[Result], table: str) -> Table:
    """Return the paper's table beside ours."""
    from rich.table import Table

    title = f"Table {table}: {results[0].images} test images, 95 % intervals in brackets"
    drawn = Table(title=title)
    for column in ("method", "PSNR, dB", "SSIM", "paper, BCI", "paper, LLVIP"):
        drawn.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for result in results:
        a, b, paper = result.psnr, result.ssim, result.entry.paper
        drawn.add_row(
            paper.method,
            _interval(a, 2),
            _interval(b, 3),
            f"{paper.bci_psnr:.3f} / {paper.bci_ssim:.3f}",
            f"{paper.llvip_psnr:.3f} / {paper.llvip_ssim:.3f}",
        )
    return drawn


def _interval(found: Interval, digits: int) -> str:
    """Return a mean with its bounds, which one patient alone does not give."""
    bounds = f"{found.low:.{digits}f} to {found.high:.{digits}f}" if found.low == found.low else "–"
    return f"{found.mean:.{digits}f} ({bounds})"
