"""One generator told which stain to make, or one for each: ``python -m benchmarks.training_stains``.

Drawn sections of other patients for training and for the test: an H&E section and sections stained for
HER2 and Ki-67, brought into the frame of the H&E section by the known transform. All networks have the
same size and take the same number of epochs over their pairs. Brackets are 95 % intervals of the
difference, seeds and patients resampled.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.misaligned import MPP, REDUCED_BY, TISSUE_SHARE, Pixels, save, tissue_share
from benchmarks.training_quality import BETTER, SMALL, interval, scores_of
from benchmarks.training_quality import SCORES as SCORES_OF_HER2
from registration.geometry import Box, Size, axis_positions, mesh
from registration.synth import SynthSettings, render_pair
from registration.synth.settings import Stain
from training.data.images import to_batch
from training.data.pairs import open_dataset
from training.inference.checkpoints import LAST, load_generator
from training.run.loop import train
from training.settings.sources import resolve

SCORES = SCORES_OF_HER2[:3]
"""Those of any stain: not the HER2 level."""
STAINS: tuple[Stain, ...] = ("HER2", "KI67")
ALL = "all"
SLIDE_PX = 1024


def main() -> None:
    """Draw, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=30, help="to train on")
    parser.add_argument("--test-patients", type=int, default=10)
    parser.add_argument("--side", type=int, default=128, help="of the patches, px")
    parser.add_argument("--seeds", type=int, default=3, help="runs per network")
    parser.add_argument("--data-seed", type=int, default=0, help="other slides and patients")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the dataset and finished runs here")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    changed = {**SMALL, **dict(text.split("=", 1) for text in options.set)}
    with tempfile.TemporaryDirectory() as scratch:
        home = options.keep or Path(scratch)
        counts = (options.patients, options.test_patients)
        root = write_dataset(
            home / f"data-{options.data_seed}", counts, options.side, options.data_seed
        )
        scored = {
            (name, seed): run({**changed, "stain": name, "seed": seed}, root, home)
            for seed in range(options.seeds)
            for name in (*STAINS, ALL)
        }
    report(
        scored, root, options.seeds, {"settings": changed, "torch": torch.__version__}, options.json
    )


def write_dataset(root: Path, counts: tuple[int, int], side: int, seed: int) -> Path:
    """Write training and test patches in the layout ``multi``; nothing when they are there already."""
    if (root / "patches.csv").exists():
        return root
    rows: list[dict[str, object]] = []
    for patient in range(sum(counts)):
        split = "train" if patient < counts[0] else "test"
        sections = aligned_sections(1000 * seed + patient)
        for box in Box.of(Size(*sections["HE"].shape[1::-1])).tiles(side):
            he = sections["HE"][box.slices()]
            if he.shape[:2] != (side, side) or tissue_share(he) < TISSUE_SHARE:
                continue
            name = f"{len(rows):05d}.png"
            for stain, image in sections.items():
                save(root / stain / split / name, image[box.slices()])
            rows += [
                {"ihc_file": f"{stain}/{split}/{name}", "patient": f"p{patient:02d}", "mpp": MPP}
                for stain in STAINS
            ]
    with (root / "patches.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def aligned_sections(seed: int) -> dict[str, Pixels]:
    """Return the H&E section and every stain in its frame, reduced to ``MPP``."""
    settings = SynthSettings(size=SLIDE_PX, seed=seed, her2="3+", warp_px=0.0, rotation_deg=0.0)
    found: dict[str, Pixels] = {}
    grid = axis_positions(0, SLIDE_PX)
    for stain in STAINS:
        he, ihc, ihc_to_he = render_pair(replace(settings, stain=stain))
        where = (
            ihc_to_he.inverse(mesh(grid, grid)).reshape(SLIDE_PX, SLIDE_PX, 2).astype(np.float32)
        )
        found["HE"] = reduced(he)
        found[stain] = reduced(
            cv2.remap(
                ihc, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        )
    return found


def reduced(image: NDArray[Any]) -> Pixels:
    """Return an image at half its size."""
    size = (image.shape[1] // REDUCED_BY, image.shape[0] // REDUCED_BY)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def run(settings: Mapping[str, Any], root: Path, home: Path) -> dict[str, NDArray[np.float64]]:
    """Train once; return the scores on the test pairs of each stain it makes, ``(pairs, scores)``."""
    config = resolve(settings, environment={})
    folder = home / f"{root.name}-{settings['stain']}-{config.seed}"
    dataset = open_dataset(root)
    began = time.perf_counter()
    if not (folder / LAST).exists():
        shutil.rmtree(folder, ignore_errors=True)
        train(config, dataset, folder, cache_parent=home / "cache")
    made = STAINS if settings["stain"] == ALL else (settings["stain"],)
    scores = {}
    for stain in made:
        generator = load_generator(folder / LAST, stain=stain)
        pairs = [pair for pair in dataset.select("test") if pair.stain == stain]
        images = [[to_batch(image) for image in pair.read()] for pair in pairs]
        scores[stain] = np.array([scores_of(ihc, generator(he)) for he, ihc in images])
    took = time.perf_counter() - began
    means = {stain: np.round(values.mean(axis=0), 4) for stain, values in scores.items()}
    print(settings["stain"], config.seed, means, f"{took:.0f} s", flush=True)
    return scores


def report(
    scored: Mapping[tuple[str, int], Mapping[str, NDArray[np.float64]]],
    root: Path,
    seeds: int,
    about: Mapping[str, Any],
    path: Path | None,
) -> None:
    """Print the table and write it as JSON."""
    pairs = open_dataset(root).select("test")
    rows = []
    print("stain   " + "".join(f"{name:>40}" for name in SCORES))
    for stain in STAINS:
        patients = [str(pair.patient) for pair in pairs if pair.stain == stain]
        alone = np.stack([scored[stain, seed][stain] for seed in range(seeds)])
        told = np.stack([scored[ALL, seed][stain] for seed in range(seeds)])
        rows.append({"stain": stain, "pairs": len(patients)} | compared(alone, told, patients))
        cells = [
            f"{row['alone']:.3f} -> {row['told']:.3f} ({row['low']:+.3f}, {row['high']:+.3f})"
            for row in (rows[-1][name] for name in SCORES)
        ]
        print(f"{stain:<8}" + "".join(f"{cell:>40}" for cell in cells))
    print("alone -> told which; a higher PSNR and SSIM, a lower DAB error is better")
    if path:
        path.write_text(json.dumps({**about, "seeds": seeds, "rows": rows}, indent=2))


def compared(
    alone: NDArray[np.float64], told: NDArray[np.float64], patients: Sequence[str]
) -> dict[str, Any]:
    """Return means and the interval of the difference of every score of ``(seeds, pairs, scores)``."""
    found = {}
    for k, name in enumerate(SCORES):
        low, high = interval(told[..., k] - alone[..., k], patients)
        means = {"alone": float(alone[..., k].mean()), "told": float(told[..., k].mean())}
        found[name] = {**means, "low": low, "high": high, "better": BETTER[name]}
    return found


if __name__ == "__main__":
    main()
