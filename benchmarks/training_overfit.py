"""Whether the models learn: ``python -m benchmarks.training_overfit [--json FILE]``.

Eight synthetic pairs of 256 px (level 2+, the default of ``synth``), whole images, scored on the very
pairs trained on, beside the H&E itself and the mean image. The goal: pyramid pix2pix reaches 25 dB
within ten minutes of a CPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.misaligned import REDUCED_BY, SLIDE_PX, aligned_sections, save, tissue_share
from training.data.images import to_batch
from training.data.pairs import PairDataset, open_dataset
from training.inference.checkpoints import LAST, load_generator
from training.metrics.published import psnr
from training.run.history import HISTORY, CsvLog, read_numbers
from training.run.loop import train
from training.settings.sources import resolve

SIDE_PX, PAIRS, HER2 = 256, 8, "2+"
MODELS = ("pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan")
COMMON: dict[str, Any] = {"batch": 2, "val_fraction": 0.0, "tensorboard": False, "device": "cpu"}
COMMON |= {"recipe": "paper", "ema": 0.99, "recalibrate": 8, "log_every": 4, "dropout": 0.0}
COMMON |= {"lr": 5e-4, "ndf": 8, "validate_every": 1000}
ENOUGH_TISSUE = 0.5


def main() -> None:
    """Train every model on the same pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--epochs", default="90+60", help="of four steps each")
    parser.add_argument("--ngf", type=int, default=12, help="width of the generators")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        dataset = open_dataset(write_pairs(Path(scratch) / "data"))
        rows = controls(dataset)
        print(f"{'':<18}{'PSNR, dB':>10}{'L1 at first':>14}{'at last':>10}{'CPU s':>8}{'s':>8}")
        for row in rows:
            print(f"{row['name']:<18}{row['psnr']:>10.2f}")
        for model in options.models:
            row = learnt(model, dataset, Path(scratch) / model, options)
            rows.append(row)
            print(
                f"{row['name']:<18}{row['psnr']:>10.2f}{row['first']:>14.3f}{row['last']:>10.3f}"
                f"{row['cpu_s']:>8.0f}{row['seconds']:>8.0f}",
                flush=True,
            )
    if options.json:
        about = {"torch": torch.__version__, "epochs": options.epochs, "ngf": options.ngf}
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=2))


def write_pairs(root: Path) -> Path:
    """Write the aligned pairs in BCI's layout."""
    count, seed = 0, 0
    starts = range(0, SLIDE_PX // REDUCED_BY - SIDE_PX + 1, SIDE_PX)
    while count < PAIRS:
        he, ihc = aligned_sections(seed, HER2)
        seed += 1
        for y in starts:
            for x in starts:
                part = slice(y, y + SIDE_PX), slice(x, x + SIDE_PX)
                if count < PAIRS and tissue_share(he[part]) > ENOUGH_TISSUE:
                    for domain, image in (("HE", he), ("IHC", ihc)):
                        save(root / domain / "train" / f"{count:05d}_train_{HER2}.png", image[part])
                    count += 1
    return root


def learnt(
    model: str, dataset: PairDataset, out: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Train one model; return its PSNR on the pairs trained on, and how its loss fell."""
    settings = {**COMMON, "model": model, "ngf": options.ngf, "epochs": options.epochs}
    config = resolve(settings, environment={})
    began, cpu = time.perf_counter(), time.process_time()
    train(config, dataset, out)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    history = read_numbers(CsvLog(out / HISTORY).rows())
    image_loss = next(history[k] for k in ("G_L1", "G_features", "G_cycle") if k in history)
    generator = load_generator(out / LAST)
    values = [
        psnr(to_batch(ihc), generator(to_batch(he))).item()
        for he, ihc in (pair.read() for pair in dataset.pairs)
    ]
    return {
        "name": model,
        "psnr": float(np.mean(values)),
        "first": image_loss[0],
        "last": image_loss[-1],
        "cpu_s": cpu_s,
        "seconds": seconds,
    }


def controls(dataset: PairDataset) -> list[dict[str, Any]]:
    """Return the PSNR of the H&E itself and of the mean image."""
    pairs = [pair.read() for pair in dataset.pairs]
    mean = np.mean([ihc for _, ihc in pairs], axis=0).round().astype(np.uint8)
    found = {"H&E itself": [he for he, _ in pairs], "mean image": [mean] * len(pairs)}
    return [
        {
            "name": name,
            "psnr": float(
                np.mean(
                    [
                        psnr(to_batch(ihc), to_batch(fake)).item()
                        for (_, ihc), fake in zip(pairs, fakes, strict=True)
                    ]
                )
            ),
        }
        for name, fakes in found.items()
    ]


if __name__ == "__main__":
    main()
