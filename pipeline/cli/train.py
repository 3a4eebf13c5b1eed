"""``bci-pipeline train``: a dataset of pairs in, a virtual stain out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.ending import TRAIN_CONFIG, TRAIN_OUT
from pipeline.cli.help import command
from pipeline.cli.options import (
    AsJson,
    Assigned,
    DryRun,
    HeFolder,
    IhcFolder,
    assignments,
    show_facts,
)
from pipeline.cli.setting_options import with_settings
from registration.files.plain_json import json_text
from training.errors import MemoryFullError
from training.settings.config import TrainConfig
from training.settings.sources import origins, resolve

if TYPE_CHECKING:
    from training.data.pairs import PairDataset
    from training.run.loop import Measure, TrainingOutcome
    from training.run.plan import RunPlan

LONG_S = 600.0
"""From here on it is worth saying how to be faster."""

NAMED = (
    *("recipe", "model", "scales", "epochs", "batch", "accumulate", "crop", "lr", "ngf", "seed"),
    *("stain", "grade", "precision", "device"),
)
"""Settings with an option of their own; all others are given with --set."""

OF_MEMORY = ("recipe", "model", "batch", "crop", "ngf", "ndf")
"""Settings that decide how much memory a step needs."""

EXAMPLES = (
    "bci-pipeline train dataset --out runs/robust --dry-run",
    "bci-pipeline train dataset --out runs/robust",
    "bci-pipeline train dataset --out runs/robust --resume",
    "bci-pipeline train BCI --out runs/paper --recipe paper",
    "bci-pipeline train stained/results/dataset --out runs/all --stain all",
    "bci-pipeline train --he LLVIP/visible --ihc LLVIP/infrared --out runs/llvip --crop 256 --batch 8",
)
NOTES = """
On four GPUs: torchrun --no-python --nproc-per-node 4 bci-pipeline train dataset --out runs/four

Every setting of config.json can be given with --set NAME=VALUE, in a file with --config, or as an
environment variable BCI_TRAIN_NAME; the command line goes before the environment, the environment
before the file, the file before the recipe.

Exit codes: 0 done, 1 training diverged, 2 bad input or usage, 130 interrupted (after a checkpoint).
"""


@command(EXAMPLES, NOTES)
@with_settings(TrainConfig, "given", only=NAMED)
def train(
    given: dict[str, Any],
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATASET]",
            help="Ours, a BCI or MIST download, or side-by-side images; or give --he and --ihc.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path(TRAIN_OUT),
    he: HeFolder = None,
    ihc: IhcFolder = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded pixels. Default: in the dataset.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings in YAML or JSON.")] = None,
    assigned: Assigned = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")
    ] = False,
    no_measure: Annotated[
        bool,
        typer.Option("--no-measure", help="Pairs without a table of patches all weigh alike."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a generator of virtual IHC from H&E."""
    saved = out / TRAIN_CONFIG
    typed = given | assignments(assigned or [])
    base = saved if resume and saved.exists() else None
    chosen = resolve(typed, config, base=base)
    from pipeline.cli.train_progress import training_progress
    from training.data.confidence import alignment_known
    from training.data.pairs import open_dataset
    from training.run.loop import train as run
    from training.run.plan import plan_run
    from training.run.preparation import needs_alignment

    pairs = open_dataset(dataset, he=he, ihc=ihc)
    measure: Measure | None = None
    first = ""
    if not no_measure and needs_alignment(chosen) and not alignment_known(pairs.select("train")):
        # What compares images is loaded where it is used: training alone does without it.
        from pipeline.dataset import alignment

        first = alignment.outlook(pairs, out)
        measure = alignment.with_alignment if first else None
    with naming(origins(OF_MEMORY, typed, config, base=base)):
        plan = plan_run(chosen, pairs, out, resume=resume, measures=measure is not None)
    from pipeline.dataset.exchanged import exchanged

    odd = exchanged(pairs.select("train"))
    warned = [f"warning: {odd}"] if odd else []
    notes = [*plan.notes, *warned, *filter(None, [first])]
    if dry_run:
        show_facts(_plan(plan, pairs, notes), as_json)
        return
    with training_progress() as listener:
        listener.note(outlook(plan))
        for note in warned:
            listener.note(note)
        done = run(
            chosen,
            pairs,
            out,
            resume=resume,
            cache_parent=cache,
            listener=listener,
            measure=measure,
        )
    typer.echo(_json(done) if as_json else _summary(done))


@contextmanager
def naming(settings: str) -> Iterator[None]:
    """Say where the settings come from that ask for more memory than there is."""
    try:
        yield
    except MemoryFullError as error:
        if not settings:
            raise
        raise MemoryFullError(f"{settings}: {error}") from error


def outlook(plan: RunPlan) -> str:
    """Return device, steps, about how long they take, and what would take less."""
    from registration.files.words import duration
    from training.run.plan import shorter

    text = f"on {plan.device}: {plan.steps:,} steps, about {duration(max(1, plan.seconds))}"
    if plan.seconds < LONG_S:
        return text
    ways = [f"{option} (about {duration(seconds)})" for option, seconds in shorter(plan)]
    ways += ["a machine with a GPU"] if plan.device.startswith("the CPU") else ["--epochs"]
    return f"{text}. Shorter: {', '.join(ways[:-1])} or {ways[-1]}"


def _plan(plan: RunPlan, dataset: PairDataset, notes: list[str]) -> dict[str, Any]:
    """Return a plan as a person, or a program, reads it."""
    return {
        "outlook": outlook(plan),
        "dataset": dataset.source,
        "layout": dataset.layout,
        "pairs_to_train_on": plan.train,
        "pairs_held_out": plan.held_out,
        "notes": notes,
        "image": f"{plan.width} x {plan.height} px",
        "cache_gib": round(plan.cache_bytes / 2**30, 2),
        "steps_per_epoch": plan.steps_per_epoch,
        "steps": plan.steps,
        "seconds": round(plan.seconds),
        "settings": plan.config.as_dict(),
    }


def _summary(done: TrainingOutcome) -> str:
    """Return the outcome in words."""
    from registration.files.words import counted

    made = f"{counted(done.epochs, 'epoch')}, {counted(done.steps, 'step')}"
    if done.best is None:
        return f"{made}. Generator: {done.folder / 'last.pt'}"
    return (
        f"{made}. Best validation: PSNR "
        f"{done.best['psnr']:.2f} dB, DAB error {done.best['dab_error']:.3f} OD: "
        f"{done.folder / 'best.pt'}. Report: {done.folder / 'train.html'}"
    )


def _json(done: TrainingOutcome) -> str:
    """Return the outcome as JSON."""
    values = {"run": str(done.folder), "epochs": done.epochs, "steps": done.steps}
    return json_text({**values, "scores": done.scores, "best": done.best})
