"""Bad arguments: odd values of options, and paths that are no plain files."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from pathlib import Path

from benchmarks.bad_inputs.families import FAMILIES as OF_FILES
from benchmarks.bad_inputs.families import SLIDE_MPP, Attack, Family
from benchmarks.bad_inputs.good import GEOJSON, MANIFEST, PAIRS, POINTS, SHEET, Bench

ODD_TEXTS = (
    *("nan", "inf", "-inf", "-1", "0", "1e-9", "1e9", "1e308", "1e400", "9" * 30, "9" * 5000),
    *("abc", "1,5", "0x10", "½", "١", " 3 ", "", "a" * 300, "\x1b[2J", "4x0", "1+-1", "NaN"),
)
OPTIONS = {
    "register": ("--mpp-he", "--mpp-ihc", "--blocks", "--channel", "--recipe", "--workers"),
    "translate": ("--mpp", "--model-mpp", "--device", "--precision", "--format"),
    "patch": (
        *("--size", "--stride", "--mpp", "--min-tissue", "--max-filled", "--max-shift", "--seed"),
        *("--min-percentile", "--format", "--layout", "--test", "--val", "--name"),
    ),
    "train": (
        *("--crop", "--batch", "--ngf", "--scales", "--epochs", "--lr", "--accumulate", "--seed"),
        *("lr", "epochs", "patience", "lambda_l1", "nonsense"),
    ),
    "evaluate": ("--images", "--shift-px", "--split", "--device"),
    "dataset": ("--mpp",),
    "synth": (
        *("--size", "--warp-px", "--changed", "--damage", "--mpp-he", "--her2", "--picks"),
        *("--pieces", "--pick-noise-px", "--shape"),
    ),
    "study": ("--n", "--split", "--device"),
}


def options(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Odd values of options; those of `train` without dashes go through ``--set``."""
    command = dice.choice(list(OPTIONS))
    option, value = dice.choice(OPTIONS[command]), dice.choice(ODD_TEXTS)
    out = ("--out", here / "out")
    base: dict[str, tuple[object, ...]] = {
        "register": ("register", bench.slide, bench.slide, *SLIDE_MPP, *out, "--dry-run"),
        "translate": (
            *("translate", bench.model, bench.slide, "--mpp", "0.5", "--everywhere"),
            *(*out, "--dry-run"),
        ),
        "patch": ("patch", bench.run, *out, "--dry-run"),
        "train": ("train", bench.data, *out, "--dry-run"),
        "evaluate": ("evaluate", bench.model, bench.data, "--split", "train", *out),
        "dataset": ("dataset", bench.data, "--scores", here / "out.csv", "--mpp", "0.5"),
        "synth": ("synth", here / "out", "--size", "512", "--cases", "1", "--workers", "1"),
        "study": (
            *("study", "create", bench.data, "--generated", bench.data / "IHC" / "train"),
            *("--split", "train", "--n", "1", "--out", here / "study"),
        ),
    }
    given = (option, value) if option.startswith("--") else ("--set", f"{option}={value}")
    return Attack((*base[command], *given), Path(option))


PATH = object()
"""Stands for the odd path in a command line."""


def _commands(bench: Bench, here: Path) -> tuple[tuple[object, ...], ...]:
    """Return a command line for every argument that is a path."""
    he, ihc = bench.run.parent / "he.png", bench.run.parent / "ihc.png"
    out, points = ("--out", here / "out"), here / "points.csv"
    points.write_text(POINTS)
    for name, text in (("marks.csv", PAIRS), ("Ada.csv", SHEET), ("p.geojson", GEOJSON)):
        (here / name).write_text(text)
    (here / "m.yaml").write_text(MANIFEST)
    register = ("register", he, ihc, *SLIDE_MPP, "--dry-run")
    translate = ("--mpp", "0.5", "--everywhere", "--dry-run")
    create = ("study", "create", bench.data, "--split", "train", "--n", "1")
    ihc_images = bench.data / "IHC" / "train"
    return (
        ("register", PATH, ihc, *SLIDE_MPP, *out, "--dry-run"),
        ("register", he, PATH, *SLIDE_MPP, *out, "--dry-run"),
        *((*register, option, PATH, *out) for option in ("--landmarks", "--truth", "--pieces")),
        (*register[:-1], "--scheduler", PATH, *out),
        (*register, "--out", PATH),
        ("warp-points", bench.run, PATH, "--out", here / "out.csv"),
        ("warp-points", PATH, points, "--out", here / "out.csv"),
        ("warp-points", bench.run, points, "--out", PATH),
        ("patch", PATH, *out, "--dry-run"),
        ("patch", bench.run, "--labels", PATH, *out, "--dry-run"),
        ("patch", bench.run, "--out", PATH, "--dry-run"),
        ("dataset", PATH),
        ("dataset", "--he", PATH, "--ihc", bench.data / "IHC"),
        ("run", PATH, "--dry-run"),
        ("status", PATH),
        ("train", PATH, *out, "--dry-run"),
        ("train", bench.data, "--config", PATH, *out, "--dry-run"),
        ("train", bench.data, "--cache", PATH, *out, "--dry-run"),
        ("train", bench.data, "--out", PATH, "--dry-run"),
        ("evaluate", PATH, bench.data, "--split", "train", *out),
        ("evaluate", bench.model, PATH, "--split", "train", *out),
        ("evaluate", bench.data, "--generated", PATH, "--split", "train", *out),
        ("evaluate", bench.model, bench.data, "--split", "train", "--lpips", PATH, *out),
        ("evaluate", bench.model, bench.data, "--split", "train", "--features", PATH, *out),
        ("evaluate", bench.model, bench.data, "--split", "train", "--out", PATH),
        ("translate", PATH, bench.slide, *translate, *out),
        ("translate", bench.model, PATH, *translate, *out),
        ("translate", bench.model, bench.slide, *translate, "--out", PATH),
        ("export", PATH, here / "out.pth"),
        ("export", bench.model, PATH),
        ("study", "create", PATH, "--generated", ihc_images, "--out", here / "study"),
        (*create, "--generated", PATH, "--out", here / "study"),
        (*create, "--generated", ihc_images, "--out", PATH),
        ("study", "score", PATH, here / "Ada.csv"),
        ("study", "score", here, PATH),
        ("ablate", PATH, "--table", "1", *out, "--dry-run"),
        ("synth", PATH, "--size", "512", "--cases", "1", "--workers", "1"),
    )


ODD_PATHS = (
    *("loop", "dangling", "fifo", "socket", "zero", "null", "folder", "itself", "long", "deep"),
    *("nul", "newline", "latin", "through", "empty", "missing", "spaces", "dash"),
)


def odd_path(kind: str, here: Path) -> Path | str:
    """Make something that is no plain file, and return its name."""
    path = here / f"odd_{kind}"
    simple = {
        "zero": "/dev/zero",
        "null": "/dev/null",
        "long": here / ("odd_" + "n" * 300),
        "deep": here / "odd_deep" / "/".join(["d" * 100] * 50),
        "nul": f"{here}/odd_\0nul",
        "through": here / "points.csv" / "odd_through",
        "empty": "",
        "missing": path,
        "dash": "-",
    }
    if kind in simple:
        return simple[kind]
    if kind == "loop":
        path.symlink_to(here / "odd_back")
        (here / "odd_back").symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(here / "nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with contextlib.chdir(here):  # the whole path of a socket has at most 108 bytes
            socket.socket(socket.AF_UNIX).bind(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "itself":
        path.mkdir()
        (path / "again").symlink_to(path)
    else:
        names = {"newline": b"odd_new\nline", "latin": b"odd_\xe9t\xe9", "spaces": b"odd_ a , b "}
        path = here / os.fsdecode(names[kind])
        path.write_text(POINTS)
    return path


def odd_paths(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Paths that are no plain files, in the place of every argument."""
    command = dice.choice(_commands(bench, here))
    kind = dice.choice(ODD_PATHS)
    path = odd_path(kind, here)
    words = tuple(path if word is PATH else word for word in command)
    shown = {"nul": "odd_", "deep": "odd_deep", "newline": "odd_new", "latin": "odd_", "empty": ""}
    name = shown.get(kind, str(path).rsplit("/", 1)[-1] or "")
    may_change = (Path(str(path)).name, "odd_spaces") if "\0" not in str(path) else ()
    return Attack(words, Path(f"/{name}"), may_change)


FAMILIES: tuple[Family, ...] = (*OF_FILES, options, odd_paths, odd_paths)
