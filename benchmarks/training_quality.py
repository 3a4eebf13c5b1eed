"""What each way of training is worth on misaligned pairs: ``python -m benchmarks.training_quality``.

A third of the training pairs is shifted by up to 30 px; the test pairs are aligned sections of
other patients. All variants train for the same number of steps, from the same seeds. ``--which
recipes`` compares the recipes, ``--which choices`` leaves out one choice of ``robust`` after the
other and adds others that were tried, ``--which models`` trains all models. Scores are means over seeds
and test patches; brackets are 95 % intervals of the difference to the first variant, from resampled
seeds and patients: where zero lies outside, the two differ. With ``--keep FOLDER`` finished runs are
found again; ``--data-seed`` draws other slides, so that what was chosen on one set is confirmed on
another; with several, every variant is trained and tested on each, and the scores are put together.
``--levels`` draws patients of all HER2 levels, unevenly many of each to train on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d

from benchmarks.misaligned import Plan, write_dataset
from training.data.images import to_batch
from training.data.pairs import PairDataset, PatchPair, open_dataset
from training.devices import make_fabric
from training.inference.checkpoints import (
    CHECKPOINT,
    LAST,
    TrainedGenerator,
    load_generator,
    read_checkpoint,
)
from training.metrics.intervals import percentiles
from training.metrics.pathology import STRENGTHS, PathologyCounts
from training.metrics.published import psnr, ssim
from training.metrics.stain import dab_density, density_scores
from training.models.generators import build_generator
from training.models.pix2pix import generator_spec
from training.run.averaging import recalibrate
from training.run.history import Listener
from training.run.loop import train
from training.run.preparation import calibration_images, prepare
from training.settings.config import TrainConfig
from training.settings.sources import resolve

BETTER = {
    "PSNR": 1,
    "SSIM": 1,
    "DAB error": -1,
    "H-score off": -1,
    "level right": 1,
    "fine detail": 1,
}
"""Which way a score is better; generated images have less fine detail than real ones."""
SCORES = tuple(BETTER)
RESAMPLES = 4000
SMALL: dict[str, Any] = {
    "ngf": 8,
    "ndf": 8,
    "crop": 64,
    "epochs": "7+7",
    "val_fraction": 0.0,
    "tensorboard": False,
    "device": "cpu",
}
"""The same for all variants; small enough for one core."""

TEST_MODE = "official, test mode"
"""The generator of ``official`` as the released test script runs it: batch statistics, dropout."""

RECIPE_VARIANTS: dict[str, dict[str, Any]] = {
    name: {"recipe": name} for name in ("robust", "paper", "official")
}
RECIPE_VARIANTS[TEST_MODE] = {"recipe": "official"}
CHOICE_VARIANTS: dict[str, dict[str, Any]] = {
    "robust": {},
    "without confidence": {"confidence": False},
    "without EMA": {"ema": 0.0},
    "without recalibration": {"recalibrate": 0},
    "with a conditional discriminator": {"conditional": True},
    "with a weak discriminator": {"lambda_gan": 0.2},
    "with dropout": {"dropout": 0.5},
    "with flips": {"augment": "flip"},
    "with turns and mirrors": {"augment": "dihedral"},
    "with grade weights": {"grade_weights": True},
}
TRAINED_AS = {
    "without EMA": "robust",
    "without recalibration": "robust",
    TEST_MODE: "official",
}
"""These differ in what is made of a finished training; they are not trained again."""
MODEL_VARIANTS: dict[str, dict[str, Any]] = {
    model: {"model": model}
    for model in ("pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan")
}
VARIANTS = {"recipes": RECIPE_VARIANTS, "choices": CHOICE_VARIANTS, "models": MODEL_VARIANTS}


@dataclass(frozen=True)
class Scored:
    """Scores of one variant, ``(seeds, test pairs, scores)``, and the seconds that a run took."""

    name: str
    values: NDArray[np.float64]
    seconds: float = 0.0


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--which", choices=sorted(VARIANTS), default="recipes")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--side", type=int, default=128, help="of the patches, px")
    parser.add_argument("--patients", type=int, default=30, help="to train on")
    parser.add_argument("--test-patients", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1, help="runs per variant")
    parser.add_argument(
        "--data-seed", type=int, nargs="+", default=[0], help="other slides and patients"
    )
    parser.add_argument("--levels", action="store_true", help="patients of all HER2 levels")
    parser.add_argument(
        "--shift-um",
        type=float,
        nargs="+",
        help="of shifted pairs, one for all sets of slides or one each; any up to 30 px by default",
    )
    parser.add_argument("--keep", type=Path, help="keep the dataset and finished runs here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    sets = len(options.data_seed)
    shifts = options.shift_um or [None]
    if len(shifts) == 1:
        shifts = shifts * sets
    if len(shifts) != sets:
        parser.error(f"--shift-um: {len(shifts)} shifts for {sets} sets of slides")
    torch.set_num_threads(options.threads)
    changed = dict(text.split("=", 1) for text in options.set)
    with tempfile.TemporaryDirectory() as scratch:
        home = options.keep or Path(scratch)
        variants = VARIANTS[options.which]
        chosen = {name: variants[name] for name in options.only or variants}
        tables, patients = [], []
        for seed, shift_um in zip(options.data_seed, shifts, strict=True):
            sizes = (options.patients, options.test_patients, options.side)
            plan = Plan(*sizes, seed, options.levels, shift_um)
            name = f"data-{seed}" + ("-levels" if options.levels else "")
            name += "" if shift_um is None else f"-{shift_um:g}-um"
            dataset = open_dataset(write_dataset(home / name, plan))
            tests = dataset.select("test")
            scored = run_all(chosen, {**SMALL, **changed}, dataset, options.seeds, home)
            known_nothing = [controls(tests, name) for name in ("H&E itself", "mean colour")]
            tables.append([*scored, *known_nothing])
            patients += [f"{seed}/{pair.patient}" for pair in tests]
    table = [joined(parts) for parts in zip(*tables, strict=True)]
    about = {"torch": torch.__version__, "seeds": options.seeds, "test_pairs": len(patients)}
    about |= {"data_seeds": options.data_seed, "settings": {**SMALL, **changed}}
    report(table, patients, about, options.json)


def joined(parts: Sequence[Scored]) -> Scored:
    """Return the scores of one variant on several sets of slides as if they were one."""
    seconds = float(np.mean([part.seconds for part in parts]))
    return Scored(parts[0].name, np.concatenate([part.values for part in parts], axis=1), seconds)


def run_all(
    variants: Mapping[str, Mapping[str, Any]],
    common: Mapping[str, Any],
    dataset: PairDataset,
    seeds: int,
    home: Path,
) -> list[Scored]:
    """Train every variant with every seed, one seed after the other."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in variants}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for seed in range(seeds):
        for name, settings in variants.items():
            values, took = run({**common, **settings, "seed": seed}, name, dataset, home)
            found[name].append(values)
            seconds[name].append(took)
    return [Scored(k, np.stack(v), float(np.mean(seconds[k]))) for k, v in found.items()]


def run(
    settings: Mapping[str, Any], name: str, dataset: PairDataset, home: Path
) -> tuple[NDArray[np.float64], float]:
    """Train once; return the scores on the aligned test pairs, ``(pairs, scores)``, and seconds."""
    config = resolve(settings, environment={})
    folder = run_folder(home, dataset, name, config.seed)
    kept = folder / "scores.json"
    if kept.exists():
        stored = json.loads(kept.read_text())
        if stored["config"] == config.as_dict():
            return np.array(stored["scores"]), float(stored["seconds"])
    began = time.perf_counter()
    if name in TRAINED_AS:
        trained = run_folder(home, dataset, TRAINED_AS[name], config.seed)
        generator = made_anew(trained, config, dataset)
        generator.network.train(mode=name == TEST_MODE)
        torch.manual_seed(config.seed)
        folder.mkdir(exist_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        train(config, dataset, folder, cache_parent=home / "cache")
        generator = load_generator(folder / LAST)
    seconds = time.perf_counter() - began
    images = [[to_batch(image) for image in pair.read()] for pair in dataset.select("test")]
    scores = [scores_of(ihc, generator(he)) for he, ihc in images]
    kept.write_text(
        json.dumps({"config": config.as_dict(), "scores": scores, "seconds": seconds}, indent=1)
    )
    print(name, config.seed, np.round(np.mean(scores, axis=0), 4), f"{seconds:.0f} s", flush=True)
    return np.array(scores), seconds


def run_folder(home: Path, dataset: PairDataset, name: str, seed: int) -> Path:
    """Return where the run of a variant is kept."""
    return home / f"{dataset.root.name}-{name.replace(' ', '-')}-{seed}"


def made_anew(folder: Path, config: TrainConfig, dataset: PairDataset) -> TrainedGenerator:
    """Return the generator that a finished run would have left with other last steps."""
    state = read_checkpoint(folder / CHECKPOINT)
    spec = generator_spec(config)
    network = build_generator(spec)
    network.load_state_dict(
        state["averaged"]["network"] if config.ema else state["networks"]["generator"]
    )
    if config.recalibrate:
        data = prepare(config, dataset, make_fabric(config), Listener(), folder.parent / "cache")
        images = calibration_images(data, config.recalibrate, spec.multiple_px)
        recalibrate(network, images)
    return TrainedGenerator(network.eval(), spec, folder)


def scores_of(real: torch.Tensor, fake: torch.Tensor) -> list[float]:
    """Return a value of each of ``SCORES``; H-score and level are those of the stained area."""
    x, y = dab_density(real), dab_density(fake)
    wanted, found = counted(x), counted(y)
    return [
        psnr(real, fake).item(),
        ssim(real, fake).item(),
        density_scores(x, y).error.item(),
        abs(found.h_score - wanted.h_score),
        float(found.level == wanted.level),
        fine_detail(fake) / fine_detail(real),
    ]


def counted(density: torch.Tensor) -> PathologyCounts:
    """Return how much of an image is stained at least weakly, moderately, strongly."""
    areas = (int((density >= limit).sum()) for limit in STRENGTHS)
    return PathologyCounts(density.numel(), *areas)


def fine_detail(image: torch.Tensor) -> float:
    """Return by how much a pixel's grey value differs from the mean of its four neighbours, on average."""
    grey = image.float().mean(dim=1, keepdim=True)
    around = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]).expand(1, 1, 3, 3) / 4
    difference = grey[..., 1:-1, 1:-1] - conv2d(grey, around)
    return difference.abs().mean().item()


def controls(pairs: Sequence[PatchPair], name: str) -> Scored:
    """Return the scores of images that know nothing."""
    images = [[to_batch(image) for image in pair.read()] for pair in pairs]
    colour = torch.cat([ihc.flatten(2) for _, ihc in images], dim=2).float().mean(dim=2)
    values = []
    for he, ihc in images:
        flat = colour.round().to(torch.uint8)[..., None, None].expand_as(ihc).contiguous()
        values.append(scores_of(ihc, he if name == "H&E itself" else flat))
    return Scored(name, np.array(values)[None])


def interval(gaps: NDArray[np.float64], patients: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of ``(seeds, pairs)``, seeds and patients resampled."""
    names, units = np.unique(patients, return_inverse=True)
    sums = np.stack([np.bincount(units, weights=row, minlength=len(names)) for row in gaps])
    counts = np.bincount(units)
    random = np.random.default_rng(0)
    seeds = random.multinomial(len(gaps), np.full(len(gaps), 1 / len(gaps)), RESAMPLES)
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    totals = np.einsum("rs,sp,rp->r", seeds, sums, drawn)
    return percentiles(totals / (len(gaps) * (drawn @ counts)))


def report(
    table: Sequence[Scored],
    patients: Sequence[str],
    about: Mapping[str, Any],
    path: Path | None,
) -> None:
    """Print the table and write it as JSON."""
    rows = []
    print("variant                  " + "".join(f"{name:>34}" for name in SCORES) + "  s/run")
    for scored in table:
        row, cells = compared(scored, table[0], patients)
        rows.append(row)
        print(f"{scored.name:<25}{''.join(cells)}  {scored.seconds:5.0f}", flush=True)
    print("* the first variant is better, the interval without zero")
    if path:
        path.write_text(json.dumps({**about, "rows": rows}, indent=2))


def compared(
    scored: Scored, reference: Scored, patients: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return a row of the table as values and as text; ``*`` where the reference is better."""
    row: dict[str, Any] = {"variant": scored.name, "seconds": scored.seconds}
    cells = []
    for k, name in enumerate(SCORES):
        row[name] = {"mean": float(scored.values[..., k].mean())}
        cell = f"{row[name]['mean']:.3f}"
        if scored is not reference:
            gaps = scored.values[..., k] - reference.values[..., k]
            low, high = interval(gaps, patients)
            row[name] |= {"difference": float(gaps.mean()), "low": low, "high": high}
            worse = (high if BETTER[name] > 0 else -low) < 0
            cell += f" ({low:+.3f}, {high:+.3f}){'*' if worse else ' '}"
        cells.append(f"{cell:>34}")
    return row, cells


if __name__ == "__main__":
    main()
