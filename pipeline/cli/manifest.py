"""``bci-pipeline manifest``: from a folder of slides to the manifest of a cohort."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson
from pipeline.cli.progress import progress_on_stderr
from registration.files.commands import typed
from registration.files.plain_json import json_text
from registration.files.words import counted

if TYPE_CHECKING:
    from pipeline.manifest.draft import Draft

EXAMPLES = (
    "bci-pipeline manifest slides --out monday.yaml",
    "bci-pipeline manifest slides --he '{case}_HE' --ihc '{case}_{stain}' --out named.yaml",
    "bci-pipeline manifest slides --table cases.csv --out tuesday.yaml",
)
NOTES = """
A pattern describes names: {case} and {patient} stand for what tells slides apart, {stain} for an IHC
stain, * for anything; with / it describes paths below FOLDER. Without patterns, the words that
laboratories use (HE, H&E, IHC, HER2, Ki-67, CD8 ...) tell the stain, and the rest of a name the case.

A table has one row per case: case, and any of patient, he, ihc, her2, split, landmarks, truth, pieces,
mpp_he, mpp_ihc, flip. A slide that it names is not paired by its name.

What has no partner, appears twice, cannot be opened or differs in scale is listed here and in the
manifest, which holds the cases that can run. Look at it before you run it.
"""


@command(EXAMPLES, NOTES)
def manifest(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the slides are.")],
    out: Annotated[Path, typer.Option(help="Manifest to write.")] = Path("cohort.yaml"),
    he: Annotated[str | None, typer.Option(metavar="PATTERN", help="Names of H&E slides.")] = None,
    ihc: Annotated[str | None, typer.Option(metavar="PATTERN", help="Names of IHC slides.")] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table of cases: CSV, or Parquet.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing manifest.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pair the slides of a folder and write the manifest of a cohort."""
    from pipeline.manifest.draft import DraftRequest, draft_manifest

    command = typed(*sys.argv[1:])
    request = DraftRequest(folder, out, command, he, ihc, table, overwrite)
    with progress_on_stderr() as progress:
        draft = draft_manifest(request, partial(progress, "slides"))
    typer.echo(json_text(_facts(draft)) if as_json else _summary(draft))


def _facts(draft: Draft) -> dict[str, Any]:
    """Return what was written and found, as JSON has it."""
    return {
        "out": str(draft.out),
        "slides": draft.slides,
        "cases": [entry.id for entry in draft.pairing.usable],
        "left_out": {entry.id: entry.reason for entry in draft.pairing.entries if entry.reason},
        "understood": list(draft.about),
        "findings": [{"kind": found.kind, "text": found.text} for found in draft.pairing.findings],
    }


def _summary(draft: Draft) -> str:
    """Return what a person wants to know, the way on last."""
    count = len(draft.pairing.usable)
    lines = [f"{counted(draft.slides, 'slide')}, {counted(count, 'case')}: {draft.out}"]
    lines += draft.about
    lines += [f"{found.kind}: {found.text}" for found in draft.pairing.findings]
    lines.append(f"next: {typed('run', draft.out, '--dry-run')}")
    return "\n".join(lines)
