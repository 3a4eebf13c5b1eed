"""The paper's comparisons run again: Table 1 (models) and Table 3 (scales of the pyramid loss)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from registration.errors import BciError
from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.storage import write_json, write_text
from registration.files.tables import table_text
from registration.files.words import reason
from training.data.images import to_batch
from training.data.pairs import PairDataset, PatchPair
from training.devices import device_named
from training.errors import DataError, DivergedError, TrainingError
from training.evaluation.paper import PAPER_ROWS, PaperRow
from training.inference.checkpoints import LAST, load_generator
from training.memory import OTHER_PROGRAMS, explained
from training.metrics.intervals import Interval, mean_interval
from training.metrics.published import psnr, ssim
from training.run.history import Listener
from training.run.loop import train
from training.run.plan import RunPlan, plan_run
from training.settings.config import TrainConfig
from training.settings.sources import resolve

Table = Literal["1", "3"]

ROW_FAILURES = (BciError, OSError, RuntimeError)
"""What ends a row and not the table: settings, memory, a full disk, what a driver or compiler raises."""

_PAPER = {row.method: row for row in PAPER_ROWS}


@dataclass(frozen=True)
class Entry:
    """One row of a table: how the paper calls it, and how it is trained here."""

    folder: str
    paper: PaperRow
    settings: Mapping[str, Any]


TABLES: dict[Table, tuple[Entry, ...]] = {
    "1": (
        Entry("cyclegan", _PAPER["CycleGAN"], {"model": "cyclegan"}),
        Entry("pix2pix-unet", _PAPER["pix2pix, U-Net"], {"model": "pix2pix-unet"}),
        Entry("pix2pix", _PAPER["pix2pix, ResNet"], {"model": "pix2pix"}),
        Entry("pix2pixhd", _PAPER["pix2pixHD"], {"model": "pix2pixhd"}),
        Entry("pyramid-s1", _PAPER["pyramid pix2pix, +S1"], {"scales": 1}),
    ),
    "3": (
        Entry("pyramid-s1", _PAPER["pyramid pix2pix, +S1"], {"scales": 1}),
        Entry("pyramid-s2", _PAPER["pyramid pix2pix, +S1+S2"], {"scales": 2}),
        Entry("pyramid-s3", _PAPER["pyramid pix2pix, +S1+S2+S3"], {"scales": 3}),
    ),
}


@dataclass(frozen=True)
class Result:
    """Scores of one trained model on the test set, published evaluation, 95 % intervals."""

    entry: Entry
    psnr: Interval
    ssim: Interval
    images: int


def plan_ablation(
    dataset: PairDataset, out: Path, table: Table, settings: Mapping[str, Any]
) -> dict[str, RunPlan | str]:
    """Return what each model of a table would take, or why it cannot be trained, by its name.

    Raises :class:`DataError` where the dataset has no test split.
    """
    _tested(dataset)
    plans: dict[str, RunPlan | str] = {}
    for entry in TABLES[table]:
        config = _config(entry, settings)
        try:
            plans[entry.paper.method] = plan_run(config, dataset, out / entry.folder, resume=True)
        except TrainingError as error:
            plans[entry.paper.method] = str(error)
    return plans


@one_at_a_time(lambda dataset, out, *_, **__: out)
def run_ablation(
    dataset: PairDataset,
    out: Path,
    table: Table,
    settings: Mapping[str, Any],
    listeners: Callable[[Entry], Listener],
    cache_parent: Path | None = None,
) -> list[Result]:
    """Train every model of a table and score it on the test split.

    Each is trained in a folder of its own, ``out/<name>``, and is resumed there; models that the
    two tables share are trained once. The generator after the last epoch is scored, as in the
    paper. ``settings`` go before those of the recipe, which is ``paper`` unless they say otherwise.
    A model that cannot be trained, for want of memory or disk for instance, is noted and left out. Raises
    :class:`DataError` where the dataset has no test split, and where no model is left :class:`OSError` of
    what the system refused, or else :class:`TrainingError`.
    """
    check_folder(out, dataset.folders)
    tested = _tested(dataset)
    results: list[Result] = []
    failed: dict[str, Exception] = {}
    for entry in TABLES[table]:
        listener, run = listeners(entry), out / entry.folder
        try:
            config = _config(entry, settings)
            train(config, dataset, run, resume=True, cache_parent=cache_parent, listener=listener)
            with explained(lambda: OTHER_PROGRAMS):
                results.append(_score(entry, run, tested, config.device))
        except ROW_FAILURES as error:
            failed[entry.folder] = error
            listener.note(f"warning: {entry.paper.method} is missing from the table: {_why(error)}")
    if not results:
        if refused := [error for error in failed.values() if isinstance(error, OSError)]:
            raise refused[0]
        diverged = all(isinstance(error, DivergedError) for error in failed.values())
        raise (DivergedError if diverged else TrainingError)(
            f"no model of table {table} could be trained: {'; '.join(map(_why, failed.values()))}"
        )
    missing = [{"name": name, "error": _why(error)} for name, error in failed.items()]
    write_json(out / f"table_{table}.json", [*map(_plain, results), *missing])
    write_text(out / f"table_{table}.csv", _csv(results))
    return results


def _why(error: Exception) -> str:
    """Return what ended a row, with the file where the system refused one."""
    file = getattr(error, "filename", None)
    return f"{file}: {reason(error)}" if file else reason(error)


def _tested(dataset: PairDataset) -> tuple[PatchPair, ...]:
    """Return the pairs of the test split."""
    tested = tuple(pair for pair in dataset.pairs if pair.split == "test")
    if not tested:
        raise DataError(
            f"{dataset.source} has no test split: models are compared on images they never saw"
        )
    return tested


def _config(entry: Entry, settings: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of a model of a table."""
    return resolve({"recipe": "paper", **settings, **entry.settings})


def _score(entry: Entry, run: Path, pairs: Sequence[PatchPair], device: str) -> Result:
    """Score a trained generator as the published evaluation does."""
    where = device_named(device)
    trained = load_generator(run / LAST, where)
    values = []
    for pair in pairs:
        he, ihc = (to_batch(image).to(where) for image in pair.read())
        fake = trained(he)
        values.append((psnr(ihc, fake).item(), ssim(ihc, fake).item()))
    patients = [pair.patient for pair in pairs]
    found = [mean_interval([value[k] for value in values], patients) for k in (0, 1)]
    return Result(entry, found[0], found[1], len(pairs))


def _plain(result: Result) -> dict[str, Any]:
    """Return a result as JSON knows it."""
    return {
        "name": result.entry.folder,
        "paper": asdict(result.entry.paper),
        "settings": dict(result.entry.settings),
        **{
            name: {"mean": found.mean, "low": found.low, "high": found.high}
            for name, found in (("psnr", result.psnr), ("ssim", result.ssim))
        },
        "images": result.images,
    }


def _csv(results: Sequence[Result]) -> str:
    """Return the table as CSV."""
    ours_named = [
        f"{score}{bound}" for score in ("psnr", "ssim") for bound in ("", "_low", "_high")
    ]
    theirs_named = [f"paper_{on}_{score}" for on in ("bci", "llvip") for score in ("psnr", "ssim")]
    rows: list[list[object]] = [["method", *ours_named, *theirs_named]]
    for result in results:
        a, b, paper = result.psnr, result.ssim, result.entry.paper
        ours = [f"{v:.4f}" for v in (a.mean, a.low, a.high, b.mean, b.low, b.high)]
        theirs = [paper.bci_psnr, paper.bci_ssim, paper.llvip_psnr, paper.llvip_ssim]
        rows.append([paper.method, *ours, *theirs])
    return table_text(rows)
