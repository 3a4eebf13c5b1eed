"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import UsageError
from registration.files.plain_json import json_text


def decimal(text: str) -> float:
    """Return a number, with a decimal comma too, as much of the world types it."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number such as 0.25") from None


HeSlide = Annotated[Path, typer.Argument(metavar="HE", help="H&E slide.")]
IhcSlide = Annotated[Path, typer.Argument(metavar="IHC", help="IHC slide.")]
HeMpp = Annotated[
    float | None,
    typer.Option(metavar="<µm>", parser=decimal, help="Per pixel of the H&E slide."),
]
IhcMpp = Annotated[
    float | None,
    typer.Option(metavar="<µm>", parser=decimal, help="Per pixel of the IHC slide."),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(min=1, metavar="<number>", help="Worker processes. Default: one per core."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="<text>", help="Address or scheduler file of an existing dask cluster."),
]
ManifestFile = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="Cohort in YAML, or a table of cases.")
]
ManifestConfig = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings (YAML) where MANIFEST is a table.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

HeFolder = Annotated[Path | None, typer.Option(help="Folder of H&E (or any input) images.")]
IhcFolder = Annotated[Path | None, typer.Option(help="Folder of IHC (or any target) images.")]
Assigned = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; see docs/settings.md."),
]


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return names and values as lines; what belongs to a name stands below it."""
    lines = []
    alone = [name for name, value in facts.items() if not isinstance(value, Mapping | list)]
    width = max(map(len, alone), default=0)
    for name, value in facts.items():
        if name in alone:
            shown = ("no", "yes")[value] if isinstance(value, bool) else value
            lines.append(f"{name:<{width}}  {shown}")
        elif value:
            below = value if isinstance(value, list) else facts_text(value).splitlines()
            lines += [name, *(f"  {line}" for line in below)]
    return "\n".join(lines)


def show_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """Print a plan, or what was found out."""
    typer.echo(json_text(facts) if as_json else facts_text(facts))


def assignments(texts: list[str]) -> dict[str, str]:
    """Return what ``NAME=VALUE`` options set; raises :class:`UsageError` for anything else."""
    parts = [text.partition("=") for text in texts]
    wrong = [text for text, (_, equals, _) in zip(texts, parts, strict=True) if not equals]
    if wrong:
        raise UsageError(f"--set takes NAME=VALUE, not {wrong[0]!r}")
    return {name.strip(): value.strip() for name, _, value in parts}
