"""``bci-pipeline pick`` and ``bci-pipeline review``: a napari window of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.help import command
from pipeline.cli.options import HeMpp, HeSlide, IhcMpp, IhcSlide, ManifestConfig
from pipeline.errors import UsageError
from registration.children import environment, python
from registration.files.commands import install_extra, mpp_options, typed

EXAMPLES = (
    "bci-pipeline pick he.ndpi ihc.ndpi",
    "bci-pipeline pick he.ndpi ihc.ndpi --landmarks registered/he/landmarks.csv",
    "bci-pipeline register he.ndpi ihc.ndpi --landmarks registered/he/landmarks.csv --overwrite",
)


REVIEW_EXAMPLES = ("bci-pipeline review registered/p012", "bci-pipeline review cohort.yaml")
REVIEW_NOTES = """
Of a cohort, the cases that need a person are opened one after another, worst first: the review where
there is a registration, the landmark picker where none was found or a person asks for landmarks.
Close a window to go on to the next, press Ctrl-C here to stop. What was decided and picked is used by
the next run.
"""


@command(EXAMPLES)
def pick(
    he: HeSlide,
    ihc: IhcSlide,
    landmarks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Pairs to go on with, and the file they are kept in. Other formats than ours are "
            "taken over into a new file. Default: <HE>_<IHC>_landmarks.csv in the current folder.",
        ),
    ] = None,
    mpp_he: HeMpp = None,
    mpp_ihc: IhcMpp = None,
) -> None:
    """Pick pairs of landmarks on an H&E and an IHC slide, in a napari window."""
    _check_window()
    words = ["pick", str(he), str(ihc)]
    if landmarks is not None:
        words += ["--landmarks", landmarks]
    _open_window([*words, *mpp_options(mpp_he, mpp_ihc)])


@command(REVIEW_EXAMPLES, REVIEW_NOTES)
def review(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder that `register` wrote, or a cohort's manifest."),
    ],
    config: ManifestConfig = None,
) -> None:
    """Look at a registration, or at those of a cohort, in a napari window; accept or reject it."""
    _check_window()
    if run.is_file():
        _review_cohort(run, config)
    else:
        _open_window(["review", str(run)])


def _review_cohort(manifest: Path, config: Path | None) -> None:
    """Open the cases of a cohort that need a person, one after another."""
    from pipeline.cohort.facts import case_facts, pick_words, waiting
    from pipeline.cohort.state import Cohort

    cohort = Cohort.load(manifest, config)
    found = waiting(cohort)
    for number, (case, facts) in enumerate(found, start=1):
        typer.echo(
            f"{case.id} ({number} of {len(found)}), {facts.word}: {'; '.join(facts.reasons)}"
        )
        if facts.window is None:
            typer.echo(f"  no window helps here; mend it, then: {facts.next}")
        if facts.window == "review":
            _open_window(["review", str(cohort.run(case))])
            facts = case_facts(cohort, case)
        if facts.window == "pick":
            _open_window(["pick", *pick_words(cohort, case)])
    if found:
        typer.echo(f"next: {typed('run', *cohort.paths)}")
    else:
        typer.echo("no case needs a person")


def _open_window(words: list[str]) -> None:
    """Open a window in a process of its own, and end as it ends."""
    typer.echo("Opening the window …", err=True)
    ended = subprocess.run(python("-m", "napari_plugin", *words), check=False, env=environment())
    if ended.returncode:
        raise typer.Exit(ended.returncode if ended.returncode > 0 else 1)


def _check_window() -> None:
    """Raise :class:`UsageError` where no window can be opened, with the remedy."""
    if find_spec("napari") is None:
        raise UsageError(
            "napari is not installed, which the picker is a part of. "
            f"Install it with: {install_extra('napari')}"
        )
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in shown):
        raise UsageError(
            "there is no display to open a window on. Run this where there is a screen (or with "
            "`ssh -X`), or copy the slides there; the landmark file works anywhere."
        )
