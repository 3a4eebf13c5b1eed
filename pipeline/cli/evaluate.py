"""``bci-pipeline evaluate``: score a model, or a folder of generated images, beside controls."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson, DryRun, show_facts
from pipeline.cli.progress import progress_on_stderr
from pipeline.cli.setting_options import with_settings
from pipeline.errors import UsageError
from registration.files.outputs import resolved
from registration.files.plain_json import json_text
from registration.files.words import counted
from training.settings.evaluate import EvaluateSettings

if TYPE_CHECKING:
    from training.evaluation.scoring import Evaluation

EXAMPLES = (
    "bci-pipeline evaluate runs/robust dataset",
    "bci-pipeline evaluate latest_net_G.pth BCI --protocol official --images 50",
    "bci-pipeline evaluate dataset --generated generated",
    "bci-pipeline evaluate runs/all stained/results/dataset --stain KI67",
    "bci-pipeline evaluate --slide virtual.tif ihc.ndpi",
    "bci-pipeline evaluate runs/llvip --he LLVIP/visible --ihc LLVIP/infrared --images 4",
)
NOTES = """
Writes evaluation.html (read this), evaluation.json, evaluation.csv (one row per image) and
evaluation_groups.csv (one per slide and patient).
"""


@command(EXAMPLES, NOTES)
@with_settings(EvaluateSettings)
def evaluate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN|CHECKPOINT] [DATASET]",
            help="Run folder, .pt file or official .pth (not with --generated); then the dataset. "
            "With --slide the virtual and the real slide.",
            show_default=False,
        ),
    ] = None,
    generated: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Score these images, named like the pairs; no model."),
    ] = None,
    he: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of inputs.")] = None,
    ihc: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of truths.")] = None,
    slide: Annotated[
        bool,
        typer.Option("--slide", help="The arguments are slides: a virtual and the real one."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. Default: evaluation-<name of the model>.")
    ] = None,
    settings: EvaluateSettings = EvaluateSettings(),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Score generated IHC images against the real ones, per HER2 level and beside controls."""
    if slide:
        if paths is None or len(paths) != 2 or generated or he or ihc:
            raise UsageError("--slide takes two slides: the virtual one, then the real one")
        _slides(paths[0], paths[1], out, settings, dry_run, as_json)
        return
    model, root = _told_apart(paths or [], generated, he, ihc)
    if settings.as_released and generated is not None:
        raise UsageError("--as-released goes with a model, not with --generated")
    from pipeline.dataset.exchanged import exchanged
    from pipeline.stages.evaluate import nuclei_of
    from training.data.pairs import open_dataset
    from training.evaluation.report import as_json as json_of
    from training.evaluation.run import EvaluationRequest, plan_evaluation, run_evaluation
    from training.evaluation.stains import by_stain

    dataset = open_dataset(root, he=he, ihc=ihc)
    request = EvaluationRequest(
        dataset=dataset,
        out=out or Path(f"evaluation-{resolved(generated or model or Path()).stem}"),
        model=model,
        generated=generated,
        settings=settings,
        nuclei=nuclei_of,
    )
    for note in (*dataset.notes, *filter(None, [exchanged(dataset.pairs)])):
        typer.echo(f"note: {note}", err=True)
    found = {}
    for each in by_stain(request):
        if dry_run:
            show_facts(plan_evaluation(each), as_json)
            continue
        with progress_on_stderr({"images": "scoring images"}) as report:
            evaluation, about = run_evaluation(each, partial(report, "images"))
        if as_json:
            found[each.out.name] = json_of(evaluation, about)
        else:
            typer.echo(_text(evaluation, each.out))
    if found:
        typer.echo(json_text(found if len(found) > 1 else next(iter(found.values()))))


def _slides(
    virtual: Path,
    real: Path,
    out: Path | None,
    settings: EvaluateSettings,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Score a virtual slide against the real one of the same frame."""
    from pipeline.stages.evaluate import (
        SlideEvaluationRequest,
        evaluate_slide,
        plan_slide_evaluation,
    )
    from training.evaluation.report import as_json as json_of

    target = out or Path(f"evaluation-{virtual.stem}")
    request = SlideEvaluationRequest(virtual, real, target, settings)
    if dry_run:
        show_facts(plan_slide_evaluation(request), as_json)
        return
    with progress_on_stderr({"images": "scoring tiles"}) as report:
        evaluation, about = evaluate_slide(request, partial(report, "images"))
    typer.echo(json_text(json_of(evaluation, about)) if as_json else _text(evaluation, target))


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


def _text(evaluation: Evaluation, out: Path) -> str:
    """Return the metrics over all images, the model beside its controls, and where the report is."""
    from training.evaluation.report import interval_text, number
    from training.evaluation.summary import ALL_LEVELS

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
    count = f"{counted(len(evaluation.pairs), 'image')}; 95 % intervals, resampled by {by}"
    return "\n".join([count, "", *lines, "", f"report  {out / 'evaluation.html'}"])
