"""Options that several commands have, so that they read alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HeSlide = Annotated[Path, typer.Argument(metavar="HE", help="H&E slide.")]
IhcSlide = Annotated[Path, typer.Argument(metavar="IHC", help="IHC slide.")]
HeMpp = Annotated[float | None, typer.Option(help="µm per pixel of the H&E slide.")]
IhcMpp = Annotated[float | None, typer.Option(help="µm per pixel of the IHC slide.")]
WorkerCount = Annotated[
    int | None, typer.Option(min=1, help="Worker processes. Default: one per core.")
]
Scheduler = Annotated[
    str | None, typer.Option(help="Address or scheduler file of an existing dask cluster.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
