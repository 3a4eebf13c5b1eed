"""``bci-pipeline``: one command per stage. Every error a user can cause ends here, as one message."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from rich.console import Console

from pipeline.errors import PipelineError
from registration.errors import RegistrationError, StartError
from training.errors import DivergedError, TrainingError

FAILED_CHECK = 1
BAD_INPUT = 2
INTERRUPTED = 130

COMMANDS = (
    "demo",
    "pick",
    "register",
    "patch",
    "run",
    "status",
    "dataset",
    "synth",
    "train",
    "translate",
    "evaluate",
    "ablate",
    "study",
    "warp_points",
    "doctor",
)
"""Modules of ``pipeline.cli``, in the order of ``--help``; each has a function ``add_to(app)``."""

app = typer.Typer(
    name="bci-pipeline",
    help="From raw H&E and IHC whole-slide images to a registered dataset and a virtual stain.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in COMMANDS:
    import_module(f"pipeline.cli.{_command}").add_to(app)


def main() -> None:
    """Run the command line: 0 done, 1 ran but failed its check, 2 bad input, 130 interrupted."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except StartError as error:
        errors.print(f"[bold red]not registered:[/] {_escaped(str(error))}")
        sys.exit(FAILED_CHECK)
    except DivergedError as error:
        errors.print(f"[bold red]stopped:[/] {_escaped(str(error))}")
        sys.exit(FAILED_CHECK)
    except (RegistrationError, TrainingError, PipelineError) as error:
        errors.print(f"[bold red]error:[/] {_escaped(str(error))}")
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        errors.print("interrupted; the same command goes on where it stopped")
        sys.exit(INTERRUPTED)


def _escaped(text: str) -> str:
    """Keep square brackets in a message from being read as markup."""
    return text.replace("[", r"\[")
