"""Patches of a registered synthetic pair against the truth, and against the whole slide warped.

    python -m benchmarks.patch_truth --work FOLDER [--size 4096] [--json FILE]

A pair is drawn, registered and cut once into FOLDER, as a user would. The error of a patch is the
median distance, in HE pixels, of the truth points on it from where the registration puts them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from benchmarks.process_memory import watched
from benchmarks.slides import drawn_case
from pipeline.dataset.table import read_table
from registration.geometry import Box
from registration.landmarks.landmarks import read_landmarks
from registration.quality.quality import target_errors
from registration.result import RECORD_NAME, Registration
from registration.synth import SynthCase, SynthSettings
from registration.warp import warp_box


def prepared(work: Path, size: int) -> tuple[SynthCase, Registration, Path]:
    """Return the case, its registration and its dataset, made where they are missing."""
    case = drawn_case(work / f"case_{size}", SynthSettings(size=size, seed=21, picks=6))
    run, dataset = work / f"run_{size}", work / f"dataset_{size}"
    if not (run / RECORD_NAME).is_file():
        words = ["register", str(case.he), str(case.ihc), "--landmarks", str(case.landmarks)]
        watched([*words, "--out", str(run), "--no-image"], work / "register.log")
    watched(["patch", str(run), "--out", str(dataset), "--stride", "512"], work / "patch.log")
    return case, Registration.load(run), dataset


def compared(case: SynthCase, registration: Registration, dataset: Path) -> dict[str, float]:
    """Return the errors of the truth points on the kept pairs, and the differences of the pixels."""
    truth = read_landmarks(case.truth, minimum=1)
    fixed, moving = truth.oriented("he")
    errors = target_errors(registration.chain, fixed, moving)
    pair = registration.open_pair()
    whole = warp_box(pair.he, registration.chain, Box.of(pair.ihc.size)).image
    medians, he_most, he_differ, ihc_most = [], 0, 0, 0
    kept = [row for row in read_table(dataset) if row.kept]
    for row in kept:
        box = Box(int(row.x or 0), int(row.y or 0), row.size, row.size)
        he, ihc = (_image(dataset / str(file)) for file in (row.he_file, row.ihc_file))
        difference = np.abs(he - whole[box.slices()])
        he_most, he_differ = (
            max(he_most, int(difference.max())),
            he_differ + int((difference > 0).sum()),
        )
        ihc_most = max(ihc_most, int(np.abs(ihc - pair.ihc.read(box)).max()))
        on = box.contains(fixed)
        if on.any():
            medians.append(float(np.median(errors[on])))
    return {
        "pairs": len(kept),
        "median error of all truth points px": float(np.median(errors)),
        "median of the pairs' errors px": float(np.median(medians)),
        "largest of the pairs' errors px": float(np.max(medians)),
        "HE: largest difference from the whole slide warped": he_most,
        "HE: share of values that differ at all": he_differ / (len(kept) * 3 * kept[0].size ** 2),
        "IHC: largest difference from the slide": ihc_most,
    }


def _image(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path))[..., ::-1], int)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found = compared(*prepared(given.work.resolve(), given.size))
    for name, value in found.items():
        print(f"{name:<52}{value:>12.6g}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
