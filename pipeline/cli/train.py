"""``bci-pipeline train`` and ``export``: a dataset of pairs in, a virtual stain out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.help import add_command
from pipeline.cli.options import AsJson, DryRun
from pipeline.cli.settings import assignments
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from training.data.pairs import Dataset
    from training.run.loop import Outcome
    from training.settings.config import TrainConfig

EXAMPLES = (
    "bci-pipeline train dataset --out runs/robust",
    "bci-pipeline train BCI_dataset --out runs/paper --recipe paper",
    "bci-pipeline train --he LLVIP/visible --ihc LLVIP/infrared --out runs/llvip --crop 512 --batch 8",
    "bci-pipeline train dataset --out runs/robust --resume",
    "torchrun --no-python --nproc-per-node 4 bci-pipeline train dataset --out runs/four-gpus",
)
NOTES = """
Every setting of config.json can be given with --set NAME=VALUE, in a file with --config, or as an
environment variable BCI_TRAIN_NAME; the command line goes before the environment, the environment
before the file, the file before the recipe.

Exit codes: 0 done, 1 training diverged, 2 bad input or usage, 130 interrupted (after a checkpoint).
"""

EXPORT_EXAMPLES = ("bci-pipeline export runs/robust latest_net_G.pth",)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    add_command(app, train, EXAMPLES, NOTES)
    add_command(app, export, EXPORT_EXAMPLES)


def train(
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATASET]",
            help="Ours, a BCI or MIST download, or side-by-side images; or give --he and --ihc.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/train"),
    model: Annotated[
        str | None,
        typer.Option(help="pyramid-pix2pix (default), pix2pix, pix2pix-unet, pix2pixhd, cyclegan."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="robust (default), paper, or official (the released code).")
    ] = None,
    scales: Annotated[int | None, typer.Option(help="Scales of the pyramid beside L1.")] = None,
    epochs: Annotated[
        str | None, typer.Option(metavar="A+B", help="At the full rate + falling to zero.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs per batch and process.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches per step.")] = None,
    crop: Annotated[int | None, typer.Option(help="Side of random crops; 0: whole images.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of Adam.")] = None,
    ngf: Annotated[
        int | None, typer.Option(help="Channels of the generator's first layer.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, batches and held-out pairs.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32, bf16 or fp16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda or cpu.")] = None,
    he: Annotated[Path | None, typer.Option(help="Folder of H&E (or any input) images.")] = None,
    ihc: Annotated[Path | None, typer.Option(help="Folder of IHC (or any target) images.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded pixels. Default: in the dataset.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings in YAML or JSON.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a generator of virtual IHC from H&E."""
    from pipeline.cli.train_progress import training_progress
    from training.data.pairs import open_dataset
    from training.run.loop import train as run
    from training.settings.sources import resolve

    named: dict[str, Any] = {
        "model": model,
        "recipe": recipe,
        "scales": scales,
        "epochs": epochs,
        "batch": batch,
    }
    named |= {"accumulate": accumulate, "crop": crop, "lr": lr, "ngf": ngf, "seed": seed}
    named |= {"precision": precision, "device": device}
    given = {k: v for k, v in named.items() if v is not None} | assignments(settings or [])
    saved = out / "config.json"
    chosen = resolve(given, config, base=saved if resume and saved.exists() else None)
    pairs = open_dataset(dataset, he=he, ihc=ihc)
    if dry_run:
        planned = _plan(chosen, pairs)
        typer.echo(json_text(planned) if as_json else _as_lines(planned))
        return
    with training_progress() as listener:
        done = run(chosen, pairs, out, resume=resume, cache_parent=cache, listener=listener)
    typer.echo(_json(done) if as_json else _summary(done))


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Run folder, or a generator (.pt).")],
    out: Annotated[Path, typer.Argument(help="File to write, such as latest_net_G.pth.")],
) -> None:
    """Write a generator in the form of the original code (a plain state dict)."""
    from registration.files.outputs import check_file
    from training.inference.checkpoints import load_generator
    from training.models.official import save_official

    check_file(out, [checkpoint])
    trained = load_generator(checkpoint)
    save_official(trained.network, out)
    typer.echo(f"{out}: {trained.describe()}")


def _plan(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """Return what a run would do, without decoding an image."""
    from training.data.holdout import hold_out
    from training.data.images import image_size

    parts = hold_out(dataset, config.val_fraction, config.seed, config.val_pairs)
    count = len(parts.train) + len(parts.validation)
    width, height = image_size(parts.train[0].he.path)
    if parts.train[0].he.half:
        width //= 2
    batches = -(-len(parts.train) // config.batch)
    steps = -(-batches // config.accumulate)
    return {
        "dataset": dataset.source,
        "layout": dataset.layout,
        "pairs_to_train_on": len(parts.train),
        "pairs_held_out": len(parts.validation),
        "notes": [*dataset.notes, parts.note],
        "image": f"{width} x {height} px",
        "cache_gib": round(count * 6 * width * height / 2**30, 2),
        "steps_per_epoch": steps,
        "steps": steps * config.total_epochs,
        "settings": config.as_dict(),
    }


def _as_lines(values: dict[str, Any]) -> str:
    """Return nested values as ``name: value`` lines."""
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {k}: {v}" for k, v in value.items())]
        elif isinstance(value, list):
            lines += [f"{name}:", *(f"  {item}" for item in value)]
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _summary(done: Outcome) -> str:
    """Return the outcome in words."""
    if done.best_psnr is None:
        return f"{done.epochs} epochs, {done.steps} steps. Generator: {done.folder / 'last.pt'}"
    return (
        f"{done.epochs} epochs, {done.steps} steps. Best validation PSNR {done.best_psnr:.2f} dB: "
        f"{done.folder / 'best.pt'}. Report: {done.folder / 'train.html'}"
    )


def _json(done: Outcome) -> str:
    """Return the outcome as JSON."""
    values = {"run": str(done.folder), "epochs": done.epochs, "steps": done.steps}
    return json_text({**values, "scores": done.scores, "best_psnr": done.best_psnr})
