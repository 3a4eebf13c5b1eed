"""``bci-pipeline evaluate``: score a model, or a folder of generated images, beside controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.help import add_command
from pipeline.cli.options import AsJson
from pipeline.cli.progress import progress_on_stderr
from pipeline.errors import UsageError
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from training.evaluation.run import EvaluationRequest
    from training.evaluation.scoring import Evaluation

EXAMPLES = (
    "bci-pipeline evaluate runs/pyramid datasets/BCI",
    "bci-pipeline evaluate latest_net_G.pth datasets/BCI --protocol official --images 50",
    "bci-pipeline evaluate datasets/BCI --generated results/images --lpips vgg16-397923af.pth",
    "bci-pipeline evaluate runs/llvip --he visible/ --ihc infrared/",
)
NOTES = """
Writes evaluation.html (read this), evaluation.json and evaluation.csv (one row per image).
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, evaluate, EXAMPLES, NOTES)


def evaluate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT] [DATASET]",
            help="Run folder, .pt file or official .pth (not with --generated); then the dataset.",
            show_default=False,
        ),
    ] = None,
    generated: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Score these images, named like the pairs; no model."),
    ] = None,
    he: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of inputs.")] = None,
    ihc: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of truths.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. Default: evaluation-<name of the model>.")
    ] = None,
    protocol: Annotated[
        Literal["official", "full"],
        typer.Option(help="'official': PSNR and SSIM only, as published. 'full': all metrics."),
    ] = "full",
    as_released: Annotated[
        bool,
        typer.Option(
            "--as-released",
            help="With --protocol official: run the model as the released test script does (320 px "
            "wide, middle 256 px, batch statistics, dropout, values cut off).",
        ),
    ] = False,
    split: Annotated[str, typer.Option(help="Which split to score.")] = "test",
    images: Annotated[
        int | None, typer.Option(min=1, help="Score only so many pairs, evenly spread.")
    ] = None,
    shift_px: Annotated[
        int, typer.Option(min=0, max=64, help="Reach of the shift-tolerant scores.")
    ] = 8,
    lpips: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="torchvision's AlexNet or VGG-16 weights: adds LPIPS."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Inception as TorchScript (or weights): adds FID, KID."),
    ] = None,
    save_images: Annotated[
        bool, typer.Option("--save-images", help="Keep the generated images, in OUT/generated.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto (a GPU where there is one), cuda or cpu.")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "32"],
        typer.Option(help="auto: half precision on a GPU, within a grey level. 32: exact."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Score generated IHC images against the real ones, per HER2 level and beside controls."""
    model, root = _told_apart(paths or [], generated, he, ihc)
    if as_released and (protocol != "official" or generated is not None):
        raise UsageError("--as-released goes with --protocol official and a model")
    from training.data.pairs import open_dataset
    from training.devices import device_named
    from training.evaluation.report import as_json as json_of
    from training.evaluation.run import EvaluationRequest, run_evaluation

    dataset = open_dataset(root, he=he, ihc=ihc)
    request = EvaluationRequest(
        dataset=dataset,
        out=out or Path(f"evaluation-{(generated or model or Path()).resolve().stem}"),
        model=model,
        generated=generated,
        split=split,
        protocol=protocol,
        as_released=as_released,
        images=images,
        shift_px=shift_px,
        device=device_named(device),
        precision=precision,
        lpips=lpips,
        features=features,
        save_images=save_images,
    )
    for note in dataset.notes:
        typer.echo(f"note: {note}", err=True)
    with progress_on_stderr({"images": "scoring images"}) as report:
        evaluation, about = run_evaluation(
            request, lambda done, total: report("images", done, total)
        )
    typer.echo(json_text(json_of(evaluation, about)) if as_json else _text(evaluation, request))


def _told_apart(
    paths: list[Path], generated: Path | None, he: Path | None, ihc: Path | None
) -> tuple[Path | None, Path | None]:
    """Return the model and the dataset among the arguments; both may be given otherwise."""
    wanted = ["RUN|CHECKPOINT"] if generated is None else []
    if (he is None) != (ihc is None):
        raise UsageError("--he and --ihc go together: the folder of inputs and that of truths")
    if he is None:
        wanted.append("DATASET")
    if len(paths) != len(wanted):
        given = " ".join(map(str, paths)) or "none"
        raise UsageError(
            f"expected {' and '.join(wanted) or 'no arguments'}, got {given}. See "
            "bci-pipeline evaluate --help."
        )
    named = dict(zip(wanted, paths, strict=True))
    return named.get("RUN|CHECKPOINT"), named.get("DATASET")


def _text(evaluation: Evaluation, request: EvaluationRequest) -> str:
    """Return the metrics over all images, the model beside its controls, and where the report is."""
    from training.evaluation.report import interval_text, number
    from training.evaluation.scoring import ALL_LEVELS

    model, *controls = evaluation.candidates
    rows = [["", model.label, *(control.label for control in controls)]]
    for metric in evaluation.metrics:
        found = [
            evaluation.intervals[candidate.key, ALL_LEVELS, metric.key]
            for candidate in evaluation.candidates
        ]
        unit = f", {metric.unit}" if metric.unit else ""
        means = [number(interval.mean, metric.digits) for interval in found[1:]]
        rows.append([metric.label + unit, interval_text(found[0], metric.digits), *means])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    by = "patient" if evaluation.by_patient else "image"
    count = f"{len(evaluation.pairs)} images; 95 % intervals, resampled by {by}"
    return "\n".join([count, "", *lines, "", f"report  {request.out / 'evaluation.html'}"])
