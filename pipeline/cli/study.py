"""``bci-pipeline study``: the paper's reader study, prepared and scored."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.help import HelpfulGroup, command
from pipeline.cli.options import AsJson, DryRun, show_facts
from pipeline.cli.progress import progress_on_stderr
from registration.files.outputs import check_file, check_folder
from registration.files.plain_json import json_text

if TYPE_CHECKING:
    from training.study.scores import Agreement

CREATE_EXAMPLES = (
    "bci-pipeline study create dataset --generated runs/robust --n 4",
    "bci-pipeline study create dataset --generated generated --n 4 --out second-study",
)
CREATE_NOTES = """
Send readers the folder STUDY/readers, or study.html alone; keep STUDY/key.csv to yourself.
"""

SCORE_EXAMPLES = ("bci-pipeline study score study ada.csv grace.csv",)
SCORE_NOTES = """
Writes agreement.html and agreement.json into STUDY. Every sheet must be complete.
"""


@command(CREATE_EXAMPLES, CREATE_NOTES)
def create(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset of image pairs.")],
    generated: Annotated[
        Path,
        typer.Option(
            metavar="DIR|CHECKPOINT", help="Generated images, or a run or checkpoint to make them."
        ),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Pairs; twice as many images.")] = 40,
    out: Annotated[Path, typer.Option(help="Study folder, new.")] = Path("study"),
    split: Annotated[str, typer.Option(help="Split to draw from.")] = "test",
    seed: Annotated[
        int | None, typer.Option(help="Repeat a draw. Without it, nobody can guess the order.")
    ] = None,
    device: Annotated[
        Literal["auto", "cuda", "cpu"], typer.Option(help="Device of the model.")
    ] = "auto",
    dry_run: DryRun = False,
) -> None:
    """Draw pairs, shuffle and blind their images, and write the page that readers score on."""
    from training.data.pairs import open_dataset
    from training.devices import device_named
    from training.evaluation.run import pairs_of_split
    from training.evaluation.sources import generated_source
    from training.study.create import check_study, create_study

    opened = open_dataset(dataset)
    check_folder(out, [*opened.folders, generated])
    pairs = pairs_of_split(opened, split)
    pairs, make = generated_source(pairs, generated, device_named(device))
    if dry_run:
        check_study(pairs, out, n)
        show_facts({"pairs": n, "of": len(pairs), "images": 2 * n, "out": str(out)}, False)
        return
    with progress_on_stderr({"images": "writing images"}) as report:
        key = create_study(pairs, make, out, n, seed, partial(report, "images"))
    levels = [entry.her2 or "unknown" for entry in key if entry.kind == "real"]
    counts = ", ".join(f"{levels.count(level)} of {level}" for level in sorted(set(levels)))
    typer.echo(f"pairs    {n} (HER2: {counts}), {len(key)} images")
    typer.echo(
        f"readers  {out / 'readers'}  (study.html works alone; sheet.csv: for another viewer)"
    )
    typer.echo(f"key      {out / 'key.csv'}  (do not show it to readers)")


@command(SCORE_EXAMPLES, SCORE_NOTES)
def score(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Study folder.")],
    sheets: Annotated[
        list[Path], typer.Argument(metavar="SHEET...", help="One CSV file per reader.")
    ],
    as_json: AsJson = False,
) -> None:
    """Compare readers with the dataset's HER2 levels, and with each other."""
    from training.study.report import as_json as json_of
    from training.study.report import write_agreement
    from training.study.scores import score_study
    from training.study.sheets import read_sheets, read_study

    opened = read_study(study)
    read = read_sheets(opened, sheets)
    for name in ("agreement.json", "agreement.html"):
        check_file(study / name, [*sheets, study / "key.csv"], "STUDY")
    agreement = score_study(opened, read)
    write_agreement(study, opened, read, agreement)
    if as_json:
        typer.echo(json_text(json_of(opened, read, agreement)))
    else:
        typer.echo(_text(agreement, study))


study = HelpfulGroup(
    name="study",
    commands=[create, score],
    rich_markup_mode=None,
    help="Reader study: do pathologists read the same HER2 level from generated images?",
    no_args_is_help=True,
)


def _text(agreement: Agreement, study: Path) -> str:
    """Return the lines a person wants to see first."""
    from training.evaluation.paper import PAPER_READER_ACCURACY
    from training.study.report import KIND_LABELS, kappa_text, share_text

    lines = []
    for reader in agreement.readers:
        lines += [
            reader.reader,
            f"  generated, right  {share_text(reader.generated)}",
            f"  real, right       {share_text(reader.real)}",
            f"  pair read alike   {share_text(reader.same_as_real)}",
        ]
    paper = " and ".join(f"{100 * value:.1f} %" for value in PAPER_READER_ACCURACY)
    lines += [f"paper, Table 5: generated images right: {paper} of 40", ""]
    for kappa in agreement.kappas:
        who = ", ".join(kappa.readers)
        lines.append(
            f"kappa ({kappa.method}), {KIND_LABELS[kappa.kind]}, {who}: {kappa_text(kappa)}"
        )
    return "\n".join(
        [*lines, *([""] if agreement.kappas else []), f"report  {study / 'agreement.html'}"]
    )
