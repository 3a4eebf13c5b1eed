"""Every command that writes, in a small case: what is killed, or finds no room, in tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.bad_inputs.good import POINTS, Bench

Words = Callable[[Bench, Path], tuple[object, ...]]
"""Returns a command line that writes into a folder."""


@dataclass(frozen=True)
class Command:
    """A command that writes into a folder that it is given."""

    words: Words
    kills: int = 5
    """How often it is killed in a test."""


def _registering(*more: str) -> Words:
    def words(bench: Bench, out: Path) -> tuple[object, ...]:
        folder = bench.run.parent
        given = ("--mpp-he", "0.4", "--mpp-ihc", "0.5", "--workers", "1", "--blocks", "1x2")
        return (
            *("register", folder / "he.png", folder / "ihc.png", *given, *more),
            *("--landmarks", bench.run / "landmarks.csv", "--out", out / "run"),
        )

    return words


def _manifest(bench: Bench, out: Path) -> tuple[object, ...]:
    slides = bench.folder / "cohort_of_slides"
    slides.mkdir(exist_ok=True)
    for number, name in enumerate(("p1_he", "p1_ihc", "p2_he", "p2_ihc")):
        image = np.full((60, 80 + number, 3), 200, np.uint8)
        tifffile.imwrite(
            slides / f"{name}.tif", image, resolution=(2e4, 2e4), resolutionunit="CENTIMETER"
        )
    return "manifest", slides, "--out", out / "cohort.yaml"


def _study(bench: Bench, out: Path) -> tuple[object, ...]:
    generated = ("--generated", bench.data / "IHC" / "train", "--split", "train", "--n", "2")
    return "study", "create", bench.data, *generated, "--seed", "3", "--out", out / "study"


def _ablation(bench: Bench, out: Path) -> tuple[object, ...]:
    data = bench.folder / "with_test"
    if not data.exists():
        shutil.copytree(bench.data, data)
        rows = (data / "patches.csv").read_text()
        (data / "patches.csv").write_text(rows.replace("b,true,train", "b,true,test"))
    tiny = ("--crop", "32", "--batch", "1", "--epochs", "1+0", "--set", "ngf=4", "--set", "ndf=4")
    device = ("--set", "device=cpu", "--set", "tensorboard=false")
    return "ablate", data, *tiny, *device, "--cache", out / "cache", "--out", out / "ablation"


def _warping(bench: Bench, out: Path) -> tuple[object, ...]:
    points = bench.folder / "p.csv"
    points.write_text(POINTS)
    return "warp-points", bench.run, points, "--out", out / "w.csv"


TRANSLATE = ("--mpp", "0.5", "--everywhere", "--device", "cpu", "--out")
COMMANDS = {
    "register": Command(_registering(), 2),
    "register to Zarr": Command(_registering("--format", "ome-zarr"), 1),
    "patch": Command(
        lambda bench, out: (
            *("patch", bench.run, "--size", "256", "--max-shift", "100", "--max-filled", "1"),
            *("--min-percentile", "0", "--workers", "1", "--test", "0", "--out", out / "data"),
        )
    ),
    "train": Command(
        lambda bench, out: (
            *("train", bench.data, "--out", out / "trained", "--cache", out / "cache", "--batch"),
            *("1", "--crop", "32", "--ngf", "4", "--epochs", "2+0", "--device", "cpu"),
            *(["--resume"] if (out / "trained").exists() else []),
        ),
    ),
    "translate": Command(
        lambda bench, out: ("translate", bench.model, bench.slide, *TRANSLATE, out / "v.tif"), 8
    ),
    "translate a folder": Command(
        lambda bench, out: ("translate", bench.model, bench.data / "HE", "--out", out / "v"), 8
    ),
    "synth": Command(
        lambda bench, out: (
            *("synth", out / "drawn", "--size", "512", "--cases", "1", "--workers", "1"),
        ),
        3,
    ),
    "manifest": Command(_manifest),
    "export": Command(
        lambda bench, out: ("export", bench.run, out / "e", "--transform", "ome-zarr")
    ),
    "export a generator": Command(lambda bench, out: ("export", bench.model, out / "e.pth")),
    "evaluate": Command(
        lambda bench, out: (
            *("evaluate", bench.model, bench.data, "--split", "train", "--save-images"),
            *("--device", "cpu", "--out", out / "e"),
        ),
        8,
    ),
    "ablate": Command(_ablation, 3),
    "audit": Command(
        lambda bench, out: ("dataset", bench.data, "--audit", "--workers", "1", "--out", out / "a")
    ),
    "study": Command(_study, 8),
    "warp-points": Command(_warping),
}
