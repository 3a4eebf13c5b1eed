"""``bci-pipeline ablate``: the paper's Table 1 or 3, run again on a dataset, beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.help import add_command
from pipeline.cli.options import AsJson, Assigned, HeFolder, IhcFolder, assignments, with_settings
from registration.files.plain_json import json_text
from training.settings.config import TrainConfig

if TYPE_CHECKING:
    from rich.table import Table

    from training.evaluation.ablation import Entry, Result
    from training.run.history import Listener

EXAMPLES = (
    "bci-pipeline ablate BCI_dataset --table 1 --out runs/table1",
    "bci-pipeline ablate dataset --table 3 --epochs 10+10 --crop 512 --batch 8",
)
NOTES = """
The same command goes on where a killed one stopped. Exit codes: 0 done, 1 training diverged, 2 bad
input or usage, 130 interrupted.
"""


TABLE_WIDTH = 120
"""Wide enough for every row: figures broken over two lines are hard to compare."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, ablate, EXAMPLES, NOTES)


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
    as_json: AsJson = False,
) -> None:
    """Train the paper's models on a dataset and print its table beside ours."""
    from rich.console import Console

    from pipeline.cli.train_progress import training_progress
    from training.data.pairs import open_dataset
    from training.evaluation.ablation import run_ablation

    given |= assignments(assigned or [])
    pairs = open_dataset(dataset, he=he, ihc=ihc)
    with training_progress() as listener:

        def announced(entry: Entry) -> Listener:
            listener.note(f"training {entry.paper.method} in {out / entry.folder}")
            return listener

        results = run_ablation(pairs, out, table, given, announced, cache)
    if as_json:
        typer.echo(json_text(json.loads((out / f"table_{table}.json").read_text())))
        return
    Console(width=TABLE_WIDTH, highlight=False).print(_drawn(results, table))


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
            f"{a.mean:.2f} ({a.low:.2f} to {a.high:.2f})",
            f"{b.mean:.3f} ({b.low:.3f} to {b.high:.3f})",
            f"{paper.bci_psnr:.3f} / {paper.bci_ssim:.3f}",
            f"{paper.llvip_psnr:.3f} / {paper.llvip_ssim:.3f}",
        )
    return drawn
