"""``bci-pipeline doctor``: what of this machine will work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.help import command
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from pipeline.doctor import Diagnosis

EXAMPLES = ("bci-pipeline doctor", "bci-pipeline doctor --json > machine.json")
COLORS = {"works": "green", "limited": "yellow", "fails": "red"}


@command(EXAMPLES)
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what will and will not work on this machine, and the remedy. Takes some ten seconds.

    Every part is tried for real. Ends with 1 where slides cannot be registered here, else with 0.
    """
    from dataclasses import asdict

    from rich.console import Console

    from pipeline.doctor import diagnose

    with Console(stderr=True).status("trying everything once ..."):
        diagnosis = diagnose(Path.cwd())
    if as_json:
        report = {**asdict(diagnosis), "can_register": diagnosis.can_register}
        typer.echo(json_text(report))
    else:
        _show(diagnosis)
    raise typer.Exit(0 if diagnosis.can_register else 1)


def _show(diagnosis: Diagnosis) -> None:
    """Print the report for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    versions = ", ".join(f"{name} {found}" for name, found in diagnosis.machine.packages.items())
    console.print(f"[dim]{escape(versions)}[/]\n")
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in diagnosis.checks:
        found = escape(check.detail) + (f"\n[dim]{escape(check.remedy)}[/]" if check.remedy else "")
        table.add_row(f"[{COLORS[check.status]}]{check.status}[/]", check.name, found)
    console.print(table)
    if diagnosis.can_register:
        console.print("\nSlides can be registered on this machine.")
    else:
        console.print("\n[red]Slides cannot be registered on this machine[/]; see the remedies.")
