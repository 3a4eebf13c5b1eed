"""Seeded bad inputs to every command: each ends in words that name the file, or is simply read.

A seed gives the same input for ever. ``BCI_HOSTILE=2000`` tries that many; by default a sample.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.app import app
from pipeline.cli.ending import ended

SEEDS = int(os.environ.get("BCI_HOSTILE", "330"))
AT_ONCE = 30
SLIDE_MPP = ("--mpp-he", "0.5", "--mpp-ihc", "0.5")
WORDS = (
    *("", "nan", "inf", "-1", "1e400", "1e9", "99999999999999999999", "null", "true", "[]", "{}"),
    *('"', "'", "\0", "\ufeff", "=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "../../x"),
    *("NaN", "Ünïcode", "a" * 300, "x" * 140_000, "[" * 500, "9" * 5000, "\x1b[2J", ";", ",", "\n"),
)


@dataclass(frozen=True)
class Bench:
    """Good inputs, made once, of which bad ones are made."""

    folder: Path
    run: Path
    slide: Path


@dataclass(frozen=True)
class Attack:
    """A command line, and the file that is bad in it."""

    arguments: tuple[object, ...]
    bad: Path


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Return content that is cut, overwritten, doubled, in another encoding, or has odd words in it."""
    kind = dice.choice(("cut", "bytes", "words", "words", "words", "encoding", "doubled", "zeros"))
    if kind == "cut":
        return content[: dice.randrange(len(content) + 1)]
    if kind == "zeros":
        return bytes(dice.randrange(200))
    if kind == "encoding":
        text = content.decode("latin-1")
        return text.encode(dice.choice(("utf-16", "utf-16-le", "utf-8")), errors="replace")
    if kind == "doubled":
        return content + content[dice.randrange(len(content)) :]
    changed = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(changed) or 1)
        size = dice.choice((0, 1, 3, 10))
        new = dice.randbytes(size + 1) if kind == "bytes" else dice.choice(WORDS).encode()
        changed[at : at + size] = new
    return bytes(changed)


def odd_value(dice: random.Random) -> Any:
    """Return a JSON value that nobody expects."""
    return dice.choice(
        (
            None,
            True,
            -1,
            0,
            1e300,
            float("nan"),
            "",
            "x",
            "../../x",
            "y" * 5000,
            [],
            [[]],
            {},
            [1, 2],
        )
    )


def with_odd_value(value: Any, dice: random.Random) -> Any:
    """Return a document in which one value is another, or is missing."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value))
        if dice.random() < 0.15:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: with_odd_value(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        index = dice.randrange(len(value))
        return [*value[:index], with_odd_value(value[index], dice), *value[index + 1 :]]
    return odd_value(dice)


def bad_text(path: Path, good: str, dice: random.Random) -> Path:
    """Write a text file that is mutated; JSON half of the time by value."""
    if path.suffix in (".json", ".geojson") and dice.random() < 0.5:
        path.write_text(json.dumps(with_odd_value(json.loads(good), dice)))
    else:
        path.write_bytes(mutated(good.encode(), dice))
    return path


POINTS = "id,x,y\n" + "".join(f"{k},{100 + 7 * k},{90 + 5 * k}\n" for k in range(6))
PAIRS = "id,he_x,he_y,ihc_x,ihc_y,enabled\n" + "".join(
    f"{k},{100 + 300 * (k % 2)},{100 + 90 * k},{90 + 310 * (k % 2)},{80 + 95 * k},true\n"
    for k in range(6)
)
LABELS = "case,patient,her2,split\nrun,p1,2+,train\n"
GEOJSON = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [5, 1], [1, 2]]]},
                "properties": {"name": "a", "classification": {"name": "tumour"}},
            },
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [10, 20]},
                "properties": {"name": "b"},
            },
        ],
    }
)
MANIFEST = """name: cohort
out: out
register: {blocks: 2x2}
patch: {size: 256, layout: bci}
cases:
  - {id: p1, patient: p1, her2: 2+, he: he.png, ihc: ihc.png, mpp: 0.5}
"""
SHEET = "study,reader,image,her2\n1234abcd,Ada,001,0\n1234abcd,Ada,002,3+\n"
KEY = "image,kind,pair,her2,patient\n001,real,a,0,p\n002,generated,a,0,p\n"
TABLE = "he_file,kept,split,patient,mpp,shift_um\nHE/train/a_train_0.png,true,train,p,0.5,1.5\n"
CONFIG = '{"model": "pyramid-pix2pix", "batch": 1, "epochs": "1+1", "lr": 0.0002, "crop": 32}'


def points(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = bad_text(here / "points.csv", POINTS, dice)
    return Attack(("warp-points", bench.run, bad, "--out", here / "out.csv"), bad)


def annotations(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = bad_text(here / "cells.geojson", GEOJSON, dice)
    return Attack(("warp-points", bench.run, bad, "--out", here / "out.geojson"), bad)


def landmarks(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = bad_text(here / "marks.csv", PAIRS, dice)
    slides = bench.run.parent / "he.png", bench.run.parent / "ihc.png"
    words = ("--landmarks", bad, "--out", here / "out", "--dry-run")
    return Attack(("register", *slides, *SLIDE_MPP, *words), bad)


def labels(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = bad_text(here / "labels.csv", LABELS, dice)
    return Attack(("patch", bench.run, "--labels", bad, "--out", here / "out", "--dry-run"), bad)


def manifests(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = bad_text(here / "manifest.yaml", MANIFEST, dice)
    return Attack(("run", bad, "--dry-run"), bad)


def slides(bench: Bench, here: Path, dice: random.Random) -> Attack:
    good = dice.choice(sorted(bench.folder.glob("slide.*")))
    bad = here / good.name
    bad.write_bytes(mutated(good.read_bytes(), dice))
    words = ("--out", here / "out", "--dry-run")
    return Attack(("register", bad, bench.slide, *SLIDE_MPP, *words), bad)


def run_folders(bench: Bench, here: Path, dice: random.Random) -> Attack:
    run = here / "run"
    shutil.copytree(bench.run, run)
    bad = dice.choice(sorted(path for path in run.iterdir() if path.suffix in (".json", ".npz")))
    content = bad.read_bytes()
    if bad.suffix == ".json":
        bad_text(bad, content.decode(), dice)
    else:
        bad.write_bytes(mutated(content, dice))
    good = here / "good.csv"
    good.write_text(POINTS)
    return Attack(("warp-points", run, good, "--out", here / "out.csv"), run)


def sheets(bench: Bench, here: Path, dice: random.Random) -> Attack:
    study = here / "study"
    study.mkdir()
    record = json.dumps({"format": "bci-pipeline reader study", "version": 1, "study": "1234abcd"})
    files = {study / "study.json": record, study / "key.csv": KEY, here / "Ada.csv": SHEET}
    for path, text in files.items():
        path.write_text(text)
    bad = bad_text(*dice.choice(list(files.items())), dice)
    return Attack(("study", "score", study, here / "Ada.csv"), bad)


def patch_folders(bench: Bench, here: Path, dice: random.Random) -> Attack:
    data = here / "data"
    shutil.copytree(bench.folder / "data", data)
    bad = dice.choice(sorted(path for path in data.rglob("*") if path.is_file()))
    bad.write_bytes(mutated(bad.read_bytes(), dice))
    return Attack(("dataset", data), data)


def configurations(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = bad_text(here / "config.json", CONFIG, dice)
    words = ("--out", here / "out", "--config", bad, "--dry-run")
    return Attack(("train", bench.folder / "data", *words), bad)


def checkpoints(bench: Bench, here: Path, dice: random.Random) -> Attack:
    bad = here / "model.pt"
    bad.write_bytes(mutated((bench.folder / "model.pt").read_bytes(), dice))
    return Attack(("export", bad, here / "out.pth"), bad)


FAMILIES: tuple[Callable[[Bench, Path, random.Random], Attack], ...] = (
    *(points, annotations, landmarks, labels, manifests, slides),
    *(run_folders, sheets, patch_folders, configurations, checkpoints),
)


@pytest.fixture(scope="module")
def bench(hand_made: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    import tifffile
    import torch

    folder = tmp_path_factory.mktemp("bench")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "slide.png")
    Image.fromarray(pixels).save(folder / "slide.jpg")
    tifffile.imwrite(folder / "slide.tif", pixels, tile=(32, 32), compression="jpeg")
    tifffile.imwrite(folder / "slide.ome.tif", pixels, photometric="rgb", metadata={"axes": "YXS"})
    for stain in ("HE", "IHC"):
        path = folder / "data" / stain / "train" / "a_train_0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels[:64, :64]).save(path)
        shutil.copy(path, path.with_name("b_train_0.png"))
    (folder / "data" / "patches.csv").write_text(TABLE)
    torch.save({"format": "x", "weights": {"a": torch.zeros(3)}}, folder / "model.pt")
    return Bench(folder, hand_made.registration.folder, folder / "slide.png")


def tried(attack: Attack) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it says on stderr."""
    words = [str(word) for word in attack.arguments]
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        code = ended(lambda: app(words), words)
    return code, said.getvalue()


def faults(bench: Bench, here: Path, seed: int) -> Iterator[str]:
    """Yield what is wrong with how one command ended."""
    family = FAMILIES[seed % len(FAMILIES)]
    here.mkdir()
    attack = family(bench, here, random.Random(seed))
    before = set(here.rglob("*"))
    code, said = tried(attack)
    new = set(here.rglob("*")) - before
    about = f"seed {seed} ({family.__name__}): "
    if code not in (0, 1, 2):
        yield f"{about}exit code {code}: {said[:600]}"
    if "Traceback" in said or len(said.splitlines()) > 10 or len(said) > 12_000:
        yield f"{about}says too much: {said[:600]}"
    if code and attack.bad.name not in said and attack.bad.parent.name not in said:
        yield f"{about}does not name {attack.bad.name}: {said[:600]}"
    strange = [
        p for p in new if not p.relative_to(here).parts[0].startswith(("out", "study", "data"))
    ]
    if strange:
        yield f"{about}wrote {strange}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_bad_inputs_end_in_words(bench: Bench, tmp_path: Path, first: int) -> None:
    found = [
        fault
        for seed in range(first, min(first + AT_ONCE, SEEDS))
        for fault in faults(bench, tmp_path / str(seed), seed)
    ]
    assert not found, "\n".join(found)
