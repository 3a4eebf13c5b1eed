"""``bci-pipeline``: one command per stage. Every error a user can cause ends here, as one message."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, ClassVar

import typer

from pipeline.cli.ending import ended
from pipeline.cli.help import Entry, LazyGroup

PAIR, DATASET, COHORT = "One pair of slides", "A dataset of patches", "Many cases at once"
STAIN, RESEARCH, FIRST = "A virtual stain", "Research", "First steps"


class Commands(LazyGroup):
    """The commands in order of use."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "demo": Entry("pipeline.cli.demo", FIRST, "Everything once, on slides that it makes."),
        "doctor": Entry("pipeline.cli.doctor", FIRST, "What of this machine will work."),
        "register": Entry("pipeline.cli.register", PAIR, "Align an H&E and an IHC slide."),
        "pick": Entry("pipeline.cli.pick", PAIR, "Pick landmarks in a window."),
        "review": Entry("pipeline.cli.pick", PAIR, "Judge a registration in a window."),
        "warp-points": Entry(
            "pipeline.cli.warp_points", PAIR, "Carry points and annotations to the other slide."
        ),
        "patch": Entry("pipeline.cli.patch", DATASET, "Cut registered slides into image pairs."),
        "dataset": Entry("pipeline.cli.dataset", DATASET, "Check a dataset, whoever made it."),
        "manifest": Entry(
            "pipeline.cli.manifest", COHORT, "From a folder of slides to a manifest."
        ),
        "run": Entry("pipeline.cli.run", COHORT, "From a manifest of slides to a dataset."),
        "status": Entry("pipeline.cli.status", COHORT, "How far each case has come."),
        "train": Entry("pipeline.cli.train", STAIN, "Train a generator of IHC from H&E."),
        "evaluate": Entry("pipeline.cli.evaluate", STAIN, "Score what a generator makes."),
        "translate": Entry("pipeline.cli.translate", STAIN, "Turn an H&E slide into virtual IHC."),
        "export": Entry("pipeline.cli.export", STAIN, "Write a transform or generator for others."),
        "study": Entry("pipeline.cli.study", RESEARCH, "Let pathologists score generated images."),
        "ablate": Entry("pipeline.cli.ablate", RESEARCH, "Train the models of the paper's tables."),
        "synth": Entry("pipeline.cli.synth", RESEARCH, "Draw slide pairs with known truth."),
    }


app = typer.Typer(
    name="bci-pipeline",
    cls=Commands,
    help="""From raw H&E and IHC whole-slide images to a registered dataset and a virtual stain.

    Start with `bci-pipeline demo`, then `bci-pipeline register HE IHC` with slides of your own. The
    usual order is register, patch, train, evaluate, translate; every command has examples in its
    --help.""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bci-pipeline {version('bci-pipeline')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Show no progress; results, warnings and errors stay."),
    ] = False,
) -> None:
    """Take the options that belong to no command."""
    if quiet:
        from pipeline.cli.progress import QUIET  # rich's bars are slow to import for a --help

        token = QUIET.set(True)
        context.call_on_close(lambda: QUIET.reset(token))


def main() -> None:
    """Run the command line; see :func:`pipeline.cli.ending.ended` for the exit codes."""
    sys.exit(ended(app, sys.argv[1:]))
