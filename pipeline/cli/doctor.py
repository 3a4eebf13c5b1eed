"""``bci-pipeline doctor``: what of this machine will work."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Say what will and will not work on this machine."""
    raise typer.Exit(0)
