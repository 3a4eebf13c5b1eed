"""``bci-pipeline status``: how far each case of a cohort has come."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pipeline.cli.help import command
from pipeline.cli.options import ManifestConfig, ManifestFile
from pipeline.errors import UsageError
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from pipeline.cohort.state import CaseResult, Cohort, State
    from pipeline.manifest.manifest import Case

EXAMPLES = (
    "bci-pipeline status cohort.yaml",
    "bci-pipeline status cohort.yaml --watch",
    "bci-pipeline status cohort.yaml --json",
)
WATCH_S = 5.0

STYLES = {
    "done": "green",
    "failed": "bold red",
    "excluded": "yellow",
    "changed": "yellow",
    "to do": "cyan",
    "waiting": "dim",
}


@command(EXAMPLES)
def status(
    manifest: ManifestFile,
    config: ManifestConfig = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every few seconds, until all have ended.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the states as JSON.")] = False,
) -> None:
    """Show a table of the cases and stages of a cohort.

    done: made from today's inputs and settings. changed: made from others, and to be made again.
    """
    from rich.console import Console

    from pipeline.cohort.state import Cohort

    if watch and as_json:
        raise UsageError("--watch is for people, --json for programs; give one of them")
    while True:
        cohort = Cohort.load(manifest, config)
        if watch:
            Console().clear()
        _show(cohort, as_json)
        if not watch or _is_over(cohort):
            return
        time.sleep(WATCH_S)


def _is_over(cohort: Cohort) -> bool:
    """Return whether no case is left that can still change by itself."""
    states = [state for case in cohort.manifest.cases for state in _states(cohort, case).values()]
    whole = [cohort.dataset_state(), cohort.training_state()]
    return not any(state and state.word in ("to do", "changed") for state in (*states, *whole))


def _show(cohort: Cohort, as_json: bool) -> None:
    cases = {case.id: _states(cohort, case) for case in cohort.manifest.cases}
    results = {case.id: cohort.result(case) for case in cohort.manifest.cases}
    whole = {"dataset": cohort.dataset_state(), "train": cohort.training_state()}
    if as_json:
        rows = {name: {**_words(states), **_facts(results[name])} for name, states in cases.items()}
        typer.echo(json_text({**rows, "(all)": _words(whole)}))
        return
    _print(cohort, cases, results)
    for stage, state in _words(whole).items():
        typer.echo(f"{stage}: {state}")


def _states(cohort: Cohort, case: Case) -> dict[str, State]:
    """Return the state of every stage of a case."""
    from pipeline.cohort.state import CASE_STAGES

    return {stage: cohort.state(case, stage) for stage in CASE_STAGES}


def _words(states: Mapping[str, State | None]) -> dict[str, str]:
    return {stage: str(state) for stage, state in states.items() if state is not None}


def _facts(result: CaseResult | None) -> dict[str, Any]:
    """Return what a case has come to, as JSON has it."""
    if result is None:
        return {}
    return {"verdict": result.verdict, "pairs": result.pairs, "report": str(result.report)}


def _print(
    cohort: Cohort,
    cases: Mapping[str, Mapping[str, State]],
    results: Mapping[str, CaseResult | None],
) -> None:
    """Print a table of all cases, and below it what is too long for one: reasons and reports."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for heading in ("case", "patient", "HER2", "register", "patch", "verdict", "pairs"):
        table.add_column(
            heading, overflow="fold", justify="right" if heading == "pairs" else "left"
        )
    for case in cohort.manifest.cases:
        result = results[case.id]
        found = (
            ("", "")
            if result is None
            else (result.verdict, "" if result.pairs is None else str(result.pairs))
        )
        states = [f"[{STYLES[state.word]}]{state.word}[/]" for state in cases[case.id].values()]
        table.add_row(
            escape(case.id), escape(case.patient), case.her2 or "unknown", *states, *found
        )
    Console(highlight=False).print(table)
    for name, row in cases.items():
        for note in dict.fromkeys(state.note for state in row.values() if state.note):
            typer.echo(f"{name}: {note}")
        result = results[name]
        if result is not None:
            typer.echo(f"{name}: {'; '.join(result.reasons)}: {result.report}")
