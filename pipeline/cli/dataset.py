"""``bci-pipeline dataset``: what a dataset holds, whoever made it, and whether it is sound."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.help import command
from pipeline.cli.options import AsJson, DryRun, WorkerCount, show_facts
from pipeline.cli.progress import progress_on_stderr
from registration.files.alone import one_at_a_time

if TYPE_CHECKING:
    from pipeline.dataset.external import PairScore
    from training.data.pairs import PairDataset

EXAMPLES = (
    "bci-pipeline dataset dataset",
    "bci-pipeline dataset BCI --scores BCI/patches.csv",
    "bci-pipeline dataset BCI --audit",
    "bci-pipeline dataset --he LLVIP/visible --ihc LLVIP/infrared",
)
NOTES = """
A dataset of ours is checked against its checksums and for patients in two splits. Anything that
`train` takes is listed: a BCI or MIST download, side-by-side images, or two folders. Images without
a partner are named and skipped. `--audit` compares every pair with those of other splits: of the
same slide or patient by table or name, duplicates, overlaps, and edges that continue.

Exit codes: 0 sound, 1 something is wrong with it, 2 bad input or usage.
"""


@command(EXAMPLES, NOTES)
def dataset(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", help="Folder; or give --he and --ihc.")
    ] = None,
    he: Annotated[Path | None, typer.Option(help="Folder of H&E (or any first) images.")] = None,
    ihc: Annotated[Path | None, typer.Option(help="Folder of IHC (or any second) images.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Measure how well the pairs are aligned; write it here."),
    ] = None,
    mpp: Annotated[
        float, typer.Option(min=0.01, help="µm per pixel of the images, for --scores.")
    ] = 0.46,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Look for the same or touching tissue in two splits."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for what --audit finds. Default: audit-<name of the dataset>."),
    ] = None,
    workers: WorkerCount = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say what a dataset holds, check it, and measure the alignment of its pairs."""
    from pipeline.dataset.exchanged import exchanged
    from pipeline.dataset.external import described, is_scores, write_scores
    from pipeline.dataset.inspection import inspect_dataset, is_ours
    from pipeline.dataset.table import CSV_NAME, PARQUET_NAME
    from registration.files.outputs import check_file, check_folder, resolved
    from registration.patch_reasons import REASON_WORDS
    from training.data.pairs import open_dataset

    ours = folder is not None and is_ours(folder)
    pairs = open_dataset(folder, he=he, ihc=ihc)
    facts: dict[str, Any] = (
        inspect_dataset(folder) if ours and folder is not None else described(pairs)
    )
    if odd := exchanged(pairs.pairs):
        facts["problems"] = [*facts.get("problems", []), odd]
    if scores is not None:
        images = (image.path for pair in pairs.pairs for image in (pair.he, pair.ihc))
        tables = [] if folder is None else [folder / name for name in (CSV_NAME, PARQUET_NAME)]
        read = [*images, *filter(Path.exists, tables)]
        check_file(scores, read, "--scores", (".csv", ".tsv", ".txt"), is_scores)
        if dry_run:
            show_facts({"pairs to measure": len(pairs.pairs), "table": str(scores)}, as_json)
            return
        from pipeline.dataset.external import score
        from registration.execution import workers as start_workers

        with start_workers(workers) as pool, progress_on_stderr() as progress:
            measured = score(pairs.pairs, pairs.mpp() or mpp, pool, progress)
        write_scores(scores, measured)
        facts["alignment"] = _alignment(measured)
        facts["scores"] = str(scores)
        if len(_matched(measured)) < len(measured) / 2:
            odd = "most pairs are no more alike than mismatched ones; look at some of them"
            facts["problems"] = [*facts.get("problems", []), odd]
    if audit:
        written = out or Path(f"audit-{resolved(folder or ihc or Path()).name}")
        check_folder(written, pairs.folders, [])
        if dry_run:
            show_facts({"pairs to audit": len(pairs.pairs), "folder": str(written)}, as_json)
            return
        _add_audit(facts, pairs, written, workers)
    if ours and not as_json:
        facts["rejected"] = {REASON_WORDS.get(key, key): n for key, n in facts["rejected"].items()}
    show_facts(facts, as_json)
    if facts.get("problems"):
        sys.exit(1)


@one_at_a_time(lambda facts, pairs, out, *_: out)
def _add_audit(facts: dict[str, Any], pairs: PairDataset, out: Path, workers: int | None) -> None:
    """Look for leaks, write what was found into ``out``, and add it to the facts."""
    from pipeline.dataset.audit import audit
    from pipeline.dataset.audit_pages import facts_of, problems_of, write_audit
    from registration.execution import workers as start_workers

    with start_workers(workers) as pool, progress_on_stderr() as progress:
        leaks = audit(pairs.pairs, pool, progress)
    write_audit(out, pairs.pairs, leaks)
    facts["audit"] = {"pairs": len(pairs.pairs), **facts_of(leaks), "written to": str(out)}
    facts["problems"] = [*facts.get("problems", []), *problems_of(leaks)]


def _alignment(measured: list[PairScore]) -> dict[str, Any]:
    """Sum the scores up."""
    import numpy as np

    from pipeline.patches.grades import GRADES
    from pipeline.patches.settings import PatchSettings

    limits = PatchSettings()
    matched = _matched(measured)
    good = [m for m in matched if m.shift_um <= limits.max_shift_um]
    shifts = [m.shift_um for m in matched]
    return {
        "pairs measured": len(measured),
        f"more alike than {limits.min_percentile:g} % of mismatched pairs": len(matched),
        f"and shifted by at most {limits.max_shift_um:g} µm": len(good),
        "median shift of the matching pairs (µm)": round(float(np.median(shifts)), 2)
        if shifts
        else None,
        "grades": {grade: sum(m.grade == grade for m in measured) for grade in GRADES},
    }


def _matched(measured: list[PairScore]) -> list[PairScore]:
    """Return the pairs that are more alike than mismatched ones."""
    from pipeline.patches.settings import PatchSettings

    least = PatchSettings().min_percentile
    return [one for one in measured if (one.null_percentile or 0) >= least]
