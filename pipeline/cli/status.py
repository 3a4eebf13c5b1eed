"""``bci-pipeline status``: how far each case of a cohort has come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.help import add_command
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from pipeline.cohort.state import Cohort, State

EXAMPLES = ("bci-pipeline status cohort.yaml", "bci-pipeline status cohort.yaml --json")

STYLES = {
    "done": "green",
    "failed": "bold red",
    "excluded": "yellow",
    "changed": "yellow",
    "to do": "cyan",
    "waiting": "dim",
}


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, status, EXAMPLES)


def status(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Cohort in YAML.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the states as JSON.")] = False,
) -> None:
    """Show a table of the cases and stages of a cohort.

    done: made from today's inputs and settings. changed: made from others, and to be made again.
    """
    from pipeline.cohort.state import Cohort

    cohort = Cohort.load(manifest)
    states = _states(cohort)
    if as_json:
        typer.echo(
            json_text({name: {k: str(v) for k, v in row.items()} for name, row in states.items()})
        )
        return
    _print(cohort, states)


def _states(cohort: Cohort) -> dict[str, dict[str, State]]:
    """Return the state of every stage, by case; the whole cohort's under its name."""
    from pipeline.cohort.state import CASE_STAGES

    states: dict[str, dict[str, State]] = {
        case.id: {stage: cohort.state(case, stage) for stage in CASE_STAGES}
        for case in cohort.manifest.cases
    }
    whole: dict[str, State] = {"dataset": cohort.dataset_state()}
    training = cohort.training_state()
    if training is not None:
        whole["train"] = training
    return states | {"(all)": whole}


def _print(cohort: Cohort, states: dict[str, dict[str, State]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "patient", "HER2", "register", "patch", "note", box=SIMPLE_HEAD)
    for case in cohort.manifest.cases:
        row = states[case.id]
        notes = "; ".join(dict.fromkeys(state.note for state in row.values() if state.note))
        cells = [f"[{STYLES[state.word]}]{state.word}[/]" for state in row.values()]
        table.add_row(
            case.id, case.patient, case.her2 or "unknown", *cells, notes.replace("[", r"\[")
        )
    console = Console(highlight=False)
    console.print(table)
    for stage, state in states["(all)"].items():
        console.print(f"{stage}: [{STYLES[state.word]}]{state.word}[/]")
