"""What each way of training is worth on misaligned pairs: ``python -m benchmarks.training_quality``.

A third of the training pairs is shifted by up to 30 px; the test pairs are aligned, consecutive
sections of other patients. All variants train for the same number of steps. Scores are means over
the test patches; brackets are 95 % intervals over patients of the difference to ``robust``: where
zero lies outside, the two differ. ``--which recipes`` compares the recipes, ``--which choices``
leaves out one choice of ``robust`` after the other, ``--which models`` trains all models.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.misaligned import Plan, write_dataset
from training.checkpoints import LAST, load_generator
from training.data import Dataset, Pair, open_dataset
from training.images import to_batch
from training.loop import train
from training.metrics import psnr, ssim
from training.metrics_intervals import mean_interval
from training.metrics_stain import stain_scores
from training.recipes import RECIPES
from training.settings import resolve

SCORES = ("PSNR", "SSIM", "DAB error")
ROBUST = RECIPES["robust"]

RECIPE_VARIANTS: dict[str, dict[str, Any]] = {name: {"recipe": name} for name in RECIPES}
CHOICE_VARIANTS: dict[str, dict[str, Any]] = {
    "robust": {"recipe": "robust"},
    "without confidence": {"recipe": "robust", "confidence": False},
    "without EMA": {"recipe": "robust", "ema": 0.0},
    "without dihedral turns": {"recipe": "robust", "augment": "none"},
    "without recalibration": {"recipe": "robust", "recalibrate": 0},
    "without coarse weights": {"recipe": "robust", "coarse_gain": 1.0, "lambda_l1": 25.0},
}
MODEL_VARIANTS: dict[str, dict[str, Any]] = {
    model: {"recipe": "robust", "model": model}
    for model in ("pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan")
}
VARIANTS = {"recipes": RECIPE_VARIANTS, "choices": CHOICE_VARIANTS, "models": MODEL_VARIANTS}


@dataclass(frozen=True)
class Scored:
    """Scores of one variant, ``(test pairs, scores)``, and how long it trained."""

    name: str
    values: NDArray[np.float64]
    seconds: float


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--which", choices=sorted(VARIANTS), default="recipes")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1, help="runs per variant")
    parser.add_argument("--data", type=Path, help="keep the dataset here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    common: dict[str, Any] = {"ngf": 16, "ndf": 16, "epochs": "10+10", "val_fraction": 0.0}
    common |= {"tensorboard": False, "seed": 0}
    common |= dict(text.split("=", 1) for text in options.set)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.data or Path(scratch) / "data"
        dataset = open_dataset(write_dataset(root, Plan(options.patients, side=options.side)))
        variants = VARIANTS[options.which]
        chosen = options.only or list(variants)
        scored = [
            run(name, {**common, **variants[name]}, dataset, options.seeds, Path(scratch))
            for name in chosen
        ]
    pairs = dataset.select("test")
    table = [controls(pairs, "H&E itself"), controls(pairs, "mean colour"), *scored]
    report(table, pairs, options.json, common)


def run(
    name: str, settings: Mapping[str, Any], dataset: Dataset, seeds: int, scratch: Path
) -> Scored:
    """Train a variant ``seeds`` times and return its mean scores on the aligned test pairs."""
    found = []
    began = time.perf_counter()
    for seed in range(seeds):
        config = resolve({**settings, "seed": int(settings["seed"]) + seed}, environment={})
        folder = scratch / f"{name.replace(' ', '-')}-{seed}"
        train(config, dataset, folder)
        generator = load_generator(folder / LAST)
        tests = dataset.select("test")
        images = [[to_batch(image) for image in pair.read()] for pair in tests]
        found.append([scores_of(ihc, generator(he)) for he, ihc in images])
    seconds = (time.perf_counter() - began) / seeds
    result = Scored(name, np.mean(found, axis=0), seconds)
    print(name, np.round(result.values.mean(axis=0), 4), f"{seconds:.0f} s", flush=True)
    return result


def scores_of(real: torch.Tensor, fake: torch.Tensor) -> list[float]:
    """Return PSNR, SSIM and the mean absolute error of the DAB optical density."""
    found = stain_scores(real, fake)
    return [psnr(real, fake).item(), ssim(real, fake).item(), found.error.item()]


def controls(pairs: Sequence[Pair], name: str) -> Scored:
    """Return the scores of images that know nothing."""
    images = [[to_batch(image) for image in pair.read()] for pair in pairs]
    colour = torch.cat([ihc.flatten(2) for _, ihc in images], dim=2).float().mean(dim=2)
    values = []
    for he, ihc in images:
        flat = colour.round().to(torch.uint8)[..., None, None].expand_as(ihc).contiguous()
        values.append(scores_of(ihc, he if name == "H&E itself" else flat))
    return Scored(name, np.array(values), 0.0)


def report(
    table: Sequence[Scored], pairs: Sequence[Pair], path: Path | None, common: Mapping[str, Any]
) -> None:
    """Print the table and write it as JSON."""
    patients = [pair.patient for pair in pairs]
    reference = next((row for row in table if row.name in ("robust", "pyramid-pix2pix")), None)
    rows = []
    print("variant                  " + "".join(f"{name:>28}" for name in SCORES) + "  seconds")
    for scored in table:
        cells = []
        row: dict[str, Any] = {"variant": scored.name, "seconds": scored.seconds}
        for k, name in enumerate(SCORES):
            mean = float(scored.values[:, k].mean())
            row[name] = {"mean": mean}
            cell = f"{mean:.3f}"
            if reference is not None and scored is not reference:
                gap = mean_interval(scored.values[:, k] - reference.values[:, k], patients)
                row[name] |= {"difference": gap.mean, "low": gap.low, "high": gap.high}
                cell += f" ({gap.low:+.3f}, {gap.high:+.3f})"
            cells.append(f"{cell:>28}")
        rows.append(row)
        print(f"{scored.name:<25}{''.join(cells)}  {scored.seconds:7.0f}", flush=True)
    if path:
        settings = {k: str(v) for k, v in common.items()}
        about = {"torch": torch.__version__, "settings": settings, "test_pairs": len(pairs)}
        path.write_text(json.dumps({**about, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
