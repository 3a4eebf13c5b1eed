"""Synthetic training data of known misalignment, for ``benchmarks/training_quality.py``.

Each patient is one rendered pair of consecutive sections; H&E is brought into the frame of the IHC
section through the known transform. A third of the training patches have their IHC image shifted by
up to 30 px; the table says by how much, as registration would: with an error. Test patches are
aligned.

By default every patient is 3+. With ``levels`` training patients have levels as uneven as a hospital's
(mostly 2+, hardly a 0), test patients as many of each; H&E is the darker the higher the level, with as
much chance per patient as half a level makes: rendered sections alone do not show it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.patches.grades import GOLD_SHIFT_UM, Grade, grade_of
from registration.files.her2 import HER2_LEVELS, Her2
from registration.geometry import axis_positions
from registration.synth import SynthSettings, render_pair

Pixels = NDArray[np.uint8]
MPP = 0.92
SLIDE_PX = 1536
TISSUE_SHARE = 0.4
GLASS_CHROMA = 12
REDUCED_BY = 2
SHIFTED_SHARE = 1 / 3
LARGEST_SHIFT_PX = 30
SHIFT_ERROR_UM = 1.5
"""Spread of the shift that the table reports around the true one."""
TRAIN_SHARES = (1, 5, 9, 5)
"""Of the levels 0, 1+, 2+, 3+ among the patients to train on."""
DARKER_PER_LEVEL = 0.25
"""Optical density of H&E, relative."""


@dataclass(frozen=True)
class Plan:
    """How much data to make."""

    patients: int = 30
    test_patients: int = 12
    side: int = 128
    seed: int = 0
    levels: bool = False
    """Whether patients have all HER2 levels, not 3+ alone."""
    shift_um: float | None = None
    """How far a shifted pair is shifted; anything up to ``LARGEST_SHIFT_PX`` where not given."""


def write_dataset(root: Path, plan: Plan) -> Path:
    """Write a dataset in BCI's layout with its table; nothing when it is there already."""
    if (root / "patches.csv").exists():
        return root
    random = np.random.default_rng(plan.seed)
    rows: list[dict[str, object]] = []
    levels = patients_levels(plan)
    for patient, level in enumerate(levels):
        split = "train" if patient < plan.patients else "test"
        he, ihc = aligned_sections(1000 * plan.seed + patient, level)
        if plan.levels:
            he = darkened(he, level, np.random.default_rng([plan.seed, patient]))
        for y, x in corners(ihc.shape[0], plan.side):
            if tissue_share(he[y : y + plan.side, x : x + plan.side]) < TISSUE_SHARE:
                continue
            dy, dx = drawn_shift(random, plan.shift_um) if split == "train" else (0, 0)
            name = f"{len(rows):05d}_{split}_{level}.png"
            save(root / "HE" / split / name, he[y : y + plan.side, x : x + plan.side])
            moved = ihc[y + dy : y + dy + plan.side, x + dx : x + dx + plan.side]
            save(root / "IHC" / split / name, moved)
            measured = abs(float(np.hypot(dy, dx)) * MPP + random.normal(0, SHIFT_ERROR_UM))
            rows.append(
                {
                    "he_file": f"HE/{split}/{name}",
                    "patient": f"p{patient:02d}",
                    "split": split,
                    "mpp": MPP,
                    "kept": True,
                    "shift_um": round(measured, 2),
                    "null_percentile": 100,
                    "grade": grade(measured),
                }
            )
    with (root / "patches.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def patients_levels(plan: Plan) -> list[Her2]:
    """Return the HER2 level of each patient, those to train on first."""
    if not plan.levels:
        return ["3+"] * (plan.patients + plan.test_patients)
    ends = np.cumsum(TRAIN_SHARES) / sum(TRAIN_SHARES)
    places = np.searchsorted(ends, (np.arange(plan.patients) + 0.5) / plan.patients)
    tests = np.arange(plan.test_patients) % len(HER2_LEVELS)
    return [HER2_LEVELS[k] for k in (*places, *tests)]


def darkened(he: Pixels, level: Her2, random: np.random.Generator) -> Pixels:
    """Return H&E as dense as goes with a level."""
    steps = HER2_LEVELS.index(level) - (len(HER2_LEVELS) - 1) / 2 + random.normal(0, 0.5)
    light = (he / 255) ** (1 + DARKER_PER_LEVEL * steps)
    return np.rint(255 * light).astype(np.uint8)


def aligned_sections(seed: int, her2: str = "3+") -> tuple[Pixels, Pixels]:
    """Return H&E and IHC in the frame of the IHC section, reduced to ``MPP``."""
    settings = SynthSettings(size=SLIDE_PX, seed=seed, her2=her2, warp_px=0.0, rotation_deg=0.0)
    he, ihc, ihc_to_he = render_pair(settings)
    height, width = ihc.shape[:2]
    source = ihc_to_he.on_grid(axis_positions(0, width), axis_positions(0, height))
    maps = source.astype(np.float32)
    warped = cv2.remap(
        he, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    size = (width // REDUCED_BY, height // REDUCED_BY)
    reduced = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (warped, ihc)]
    return np.asarray(reduced[0], np.uint8), np.asarray(reduced[1], np.uint8)


def corners(extent: int, side: int) -> list[tuple[int, int]]:
    """Return the corners of patches that may be shifted without leaving the image."""
    starts = range(LARGEST_SHIFT_PX, extent - LARGEST_SHIFT_PX - side + 1, side)
    return [(y, x) for y in starts for x in starts]


def tissue_share(he: Pixels) -> float:
    """Return the share of coloured pixels."""
    return float((np.ptp(he.astype(int), axis=-1) > GLASS_CHROMA).mean())


def drawn_shift(random: np.random.Generator, shift_um: float | None) -> tuple[int, int]:
    """Return a shift in any direction, zero for two thirds of the patches."""
    if random.random() >= SHIFTED_SHARE:
        return 0, 0
    length, angle = random.uniform(0, LARGEST_SHIFT_PX), random.uniform(0, 2 * np.pi)
    length = length if shift_um is None else min(shift_um / MPP, LARGEST_SHIFT_PX)
    return round(float(length * np.sin(angle))), round(float(length * np.cos(angle)))


def grade(shift_um: float) -> Grade:
    """Return the grade of a pair whose nuclei are found to share a shift."""
    if shift_um <= GOLD_SHIFT_UM:
        return "gold"
    return grade_of(shift_um, 100, None)


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
