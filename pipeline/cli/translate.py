"""``bci-pipeline translate``: a trained generator on a whole slide, or on a folder of patches."""

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
from pipeline.stages.settings import TranslateSettings
from registration.files.plain_json import json_text
from registration.files.words import counted
from registration.slides.formats import SUFFIXES

if TYPE_CHECKING:
    from pipeline.stages.translate import Translated

EXAMPLES = (
    "bci-pipeline translate runs/robust he.ndpi --out virtual_ihc.tif",
    "bci-pipeline translate runs/robust registered/he/registered.tif --out virtual.tif",
    "bci-pipeline translate latest_net_G.pth he.ndpi --model-mpp 0.46 --out second.tif",
    "bci-pipeline translate runs/robust dataset/HE/test --out generated",
    "bci-pipeline translate runs/all he.ndpi --stain KI67 --out virtual_ki67.tif",
)
NOTES = """
The same command goes on where a killed one stopped. Exit codes: 0 done, 2 bad input or usage, 130
interrupted.
"""


@command(EXAMPLES, NOTES)
@with_settings(TranslateSettings)
def translate(
    checkpoint: Annotated[
        Path, typer.Argument(help="Run folder, a generator (.pt), or official weights (.pth).")
    ],
    slide: Annotated[Path, typer.Argument(help="H&E slide, or a folder of H&E patches.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File (or folder) to write. Default: virtual_ihc/<name of the slide>."),
    ] = None,
    settings: TranslateSettings = TranslateSettings(),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Turn H&E into virtual IHC."""
    if slide.is_dir():
        if dry_run:
            raise UsageError("--dry-run is for a slide; the images of a folder are few and small")
        _folder(checkpoint, slide, out or Path("virtual_ihc") / slide.name, settings, as_json)
        return
    from pipeline.stages.translate import (
        TranslateRequest,
        output_path,
        plan_translation,
        translate_slide,
    )

    named = Path("virtual_ihc") / f"{slide.stem}{SUFFIXES[settings.format]}"
    target = output_path(out or named, settings.format)
    request = TranslateRequest(checkpoint, slide, target, settings)
    if dry_run:
        planned = plan_translation(request)
        notes = {k: "; ".join(v) for k, v in planned.items() if isinstance(v, list)}
        show_facts(planned if as_json else planned | notes, as_json)
        return
    with progress_on_stderr({"translate": "virtual IHC"}) as progress:
        done = translate_slide(request, progress)
    typer.echo(_json(done) if as_json else _summary(done))


def _folder(
    checkpoint: Path, folder: Path, out: Path, settings: TranslateSettings, as_json: bool
) -> None:
    """Translate the images of a folder."""
    from pipeline.dataset.exchanged import immunostained
    from training.devices import device_named
    from training.inference.checkpoints import load_generator
    from training.inference.folder import translate_folder

    if odd := immunostained(folder):
        typer.echo(f"note: {odd}", err=True)
    trained = load_generator(
        checkpoint, device_named(settings.device), settings.precision, settings.stain
    )
    with progress_on_stderr({"translate": "virtual IHC"}) as progress:
        written = translate_folder(trained, folder, out, partial(progress, "translate"))
    values = {"folder": str(out), "images": len(written)}
    typer.echo(json_text(values) if as_json else f"{out}: {counted(len(written), 'image')}")


def _summary(done: Translated) -> str:
    """Return the result in words."""
    lines = [
        f"{done.path}: {done.size.width} x {done.size.height} px, {done.mpp:g} µm/px, "
        f"{100 * done.translated:.0f} % of it translated"
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in done.notes)])


def _json(done: Translated) -> str:
    """Return the result as JSON."""
    return json_text(
        {
            "path": str(done.path),
            "width": done.size.width,
            "height": done.size.height,
            "mpp": done.mpp,
            "translated": done.translated,
            "notes": list(done.notes),
        },
    )
