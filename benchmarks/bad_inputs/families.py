"""Families of bad inputs: each makes one, and the command that meets it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bad_inputs import good
from benchmarks.bad_inputs.good import Bench
from benchmarks.bad_inputs.mutation import bad_text, mutated, with_odd_value

SLIDE_MPP = ("--mpp-he", "0.5", "--mpp-ihc", "0.5")


@dataclass(frozen=True)
class Attack:
    """A command line, and the file or option that is bad in it."""

    arguments: tuple[object, ...]
    bad: Path
    may_change: tuple[str, ...] = ()
    """Files that the command may write besides its outputs."""


Family = Callable[[Bench, Path, random.Random], Attack]


def points(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Points to warp."""
    bad = bad_text(here / "points.csv", good.POINTS, dice)
    return Attack(("warp-points", bench.run, bad, "--out", here / "out.csv"), bad)


def annotations(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Annotations to warp."""
    bad = bad_text(here / "cells.geojson", good.GEOJSON, dice)
    return Attack(("warp-points", bench.run, bad, "--out", here / "out.geojson"), bad)


def _register(bench: Bench, here: Path, *words: object) -> tuple[object, ...]:
    slides = bench.run.parent / "he.png", bench.run.parent / "ihc.png"
    return ("register", *slides, *SLIDE_MPP, *words, "--out", here / "out", "--dry-run")


def landmarks(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Landmarks of every format, as picks or as truth."""
    option = dice.choice(("--landmarks", "--landmarks", "--truth"))
    kind = dice.choice(("csv", "bigwarp", "two", "geojson"))
    if kind in ("csv", "bigwarp"):
        text = good.PAIRS if kind == "csv" else good.BIGWARP
        bad = bad_text(here / "marks.csv", text, dice)
        return Attack(_register(bench, here, option, bad), bad)
    suffix, text = (".geojson", good.GEOJSON) if kind == "geojson" else (".csv", good.POINTS)
    bad, partner = bad_text(here / f"marks{suffix}", text, dice), here / f"other{suffix}"
    partner.write_text(text)
    return Attack(_register(bench, here, option, f"{bad},{partner}"), bad)


def outlines(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Outlines of pieces."""
    bad = bad_text(here / "pieces.geojson", good.GEOJSON, dice)
    return Attack(_register(bench, here, "--pieces", bad), bad)


def labels(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Labels of cases."""
    bad = bad_text(here / "labels.csv", good.LABELS, dice)
    return Attack(("patch", bench.run, "--labels", bad, "--out", here / "out", "--dry-run"), bad)


TRICKS = (
    "cases: &a [*a]\n",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ncases: [*d, *d]\n",
    "a: &a [1]\n" + "".join(f"k{n}: &b{n} [*a, *a, *a]\n" for n in range(20)),
    "<<: &x {<<: *x}\n",
    "cases: !!python/object/apply:os.system ['touch {canary}']\n",
    "cases: !!python/name:os.system\n",
    "? [a, b]\n: c\n",
    "? {a: b}\n: c\n",
    "--- a\n--- b\n",
    "%YAML 9.9\n---\nname: x\n",
    "name: !!binary x\n",
    "name: !!timestamp 99999-99-99\n",
    "out: 2026-01-01\ncases: 1:2:3\n",
    "out: .inf\ncases: ~\n",
)


def manifests(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Manifests: mutated, of odd values, and with YAML's own tricks."""
    bad = here / "manifest.yaml"
    if dice.random() < 0.2:
        bad.write_text(dice.choice(TRICKS).replace("{canary}", str(bench.canary)))
    else:
        bad_text(bad, good.MANIFEST, dice)
    words = dice.choice((("run", bad, "--dry-run"), ("status", bad)))
    return Attack(words, bad)


def slides(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Slides of every format, for every command that reads one."""
    source = dice.choice(bench.slides)
    bad = here / source.name
    bad.write_bytes(_mutated_head(source.read_bytes(), dice))
    out = ("--out", here / "out", "--dry-run")
    if dice.random() < 0.3:
        words = ("translate", bench.model, bad, "--mpp", "0.5", "--everywhere", *out)
        return Attack(words, bad)
    return Attack(("register", bad, bench.slide, *SLIDE_MPP, *out), bad)


def _mutated_head(content: bytes, dice: random.Random) -> bytes:
    """Mutate a file; half of the time where its headers or, in a TIFF, its directories are."""
    if dice.random() < 0.4:
        return mutated(content, dice)
    changed = bytearray(content)
    start = dice.choice((0, 0, max(0, len(content) - 400)))
    for _ in range(dice.randint(1, 6)):
        at = start + dice.randrange(min(400, len(changed)))
        changed[min(at, len(changed) - 1)] = dice.choice((0, 1, 255, dice.randrange(256)))
    return bytes(changed)


def run_folders(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Run folders, for every command that reads one."""
    run = here / "run"
    shutil.copytree(bench.run, run)
    bad = dice.choice(sorted(path for path in run.iterdir() if path.suffix in (".json", ".npz")))
    if bad.suffix == ".json":
        bad_text(bad, bad.read_text(), dice)
    else:
        bad.write_bytes(mutated(bad.read_bytes(), dice))
    points_file = here / "good.csv"
    points_file.write_text(good.POINTS)
    if dice.random() < 0.3:
        return Attack(("patch", run, "--size", "256", "--out", here / "out", "--dry-run"), run)
    return Attack(("warp-points", run, points_file, "--out", here / "out.csv"), run)


def cohorts(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """What `run` keeps of a cohort."""
    manifest, case = here / "manifest.yaml", here / "out" / "cases" / "run"
    slides = bench.run.parent
    manifest.write_text(
        f"out: out\ncases: [{{id: run, patient: p, her2: 0, he: {slides / 'he.png'}, "
        f"ihc: {slides / 'ihc.png'}, mpp_he: 0.4, mpp_ihc: 0.5}}]\ntrain: {{epochs: 1+1}}\n"
    )
    shutil.copytree(bench.run, case / "registration")
    shutil.copytree(bench.made / ".work", case / "patches", dirs_exist_ok=True)
    shutil.copytree(bench.made, here / "out" / "dataset")
    (case / "failed.json").write_text(json.dumps({"stage": "register", "message": "no"}))
    (here / "out" / "train.json").write_text(json.dumps({"key": "0123", "done": True}))
    bad = dice.choice(sorted(p for p in (here / "out").rglob("*.json")))
    bad_text(bad, bad.read_text(), dice)
    return Attack(dice.choice((("status", manifest), ("run", manifest, "--dry-run"))), bad)


def sheets(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Score sheets and what belongs to them."""
    study = here / "study"
    study.mkdir()
    files = {
        study / "study.json": good.STUDY,
        study / "key.csv": good.KEY,
        here / "Ada.csv": good.SHEET,
    }
    for path, text in files.items():
        path.write_text(text)
    bad = bad_text(*dice.choice(list(files.items())), dice)
    return Attack(("study", "score", study, here / "Ada.csv"), bad)


def _reading(bench: Bench, here: Path, data: Path, dice: random.Random) -> tuple[object, ...]:
    """Return a command that reads a dataset."""
    return dice.choice(
        (
            ("dataset", data),
            ("dataset", data, "--scores", here / "out.csv", "--mpp", "0.5"),
            ("train", data, "--out", here / "out", "--crop", "64", "--dry-run"),
            ("evaluate", bench.model, data, "--split", "train", "--out", here / "out"),
            ("evaluate", data, "--generated", data / "IHC/train", "--out", here / "out"),
            (
                *("study", "create", data, "--generated", data / "IHC/train", "--split", "train"),
                *("--n", "1", "--out", here / "study"),
            ),
        )
    )


def patch_folders(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Datasets: their images, and our own's records."""
    data = here / "data"
    shutil.copytree(bench.data if dice.random() < 0.7 else bench.made, data)
    files = [path for path in data.rglob("*") if path.is_file()]
    bad = dice.choice(sorted(path for path in files if path.suffix in (".png", ".json", ".csv")))
    bad.write_bytes(mutated(bad.read_bytes(), dice))
    return Attack(_reading(bench, here, data, dice), data, ("data/.bci-pipeline-cache",))


def patch_tables(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Tables of patches."""
    data = here / "data"
    shutil.copytree(bench.data, data)
    bad = data / "patches.csv"
    if dice.random() < 0.2:
        bad.unlink()
        bad = data / "patches.parquet"
        bad.write_bytes(mutated(good.TABLE.encode(), dice))
    elif dice.random() < 0.3:
        words = ("../../../x.png", "/etc/passwd", "a\0b.png", "HE", ".", "a" * 300, "~/x.png")
        bad.write_text(good.TABLE.replace("HE/train/a_train_0.png", dice.choice(words)))
    else:
        bad_text(bad, good.TABLE, dice)
    return Attack(_reading(bench, here, data, dice), data)


def configurations(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Settings of a training in a file."""
    bad = bad_text(here / dice.choice(("c.json", "c.yaml")), json.dumps(good.CONFIG), dice)
    words = ("--out", here / "out", "--config", bad, "--dry-run")
    return Attack(("train", bench.data, *words), bad)


def schedulers(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Scheduler files."""
    bad = bad_text(here / "scheduler.json", good.SCHEDULER, dice)
    words = _register(bench, here, "--scheduler", bad)[:-1]
    return Attack(words, bad)


def _using(bench: Bench, here: Path, model: Path, dice: random.Random) -> tuple[object, ...]:
    """Return a command that reads a generator."""
    translate = ("translate", model, bench.slide, "--mpp", "0.5", "--everywhere", "--out")
    return dice.choice(
        (
            ("export", model, here / "out.pth"),
            (*translate, here / "out.tif", "--dry-run"),
            (*translate, here / "out.tif"),
            ("evaluate", model, bench.data, "--split", "train", "--out", here / "out"),
        )
    )


def checkpoint_bytes(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Checkpoints that are damaged, or hold code."""
    source = dice.choice((bench.model, bench.model.with_suffix(".pth")))
    bad = here / source.name
    if dice.random() < 0.2:
        import pickle

        payload = _Runs(str(bench.canary))
        bad.write_bytes(pickle.dumps(payload, protocol=dice.choice((0, 2, 4))))
    else:
        bad.write_bytes(mutated(source.read_bytes(), dice))
    return Attack(_using(bench, here, bad, dice), bad)


class _Runs:
    """An object whose unpickling leaves a file."""

    def __init__(self, canary: str) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._canary, "w")


ABSURD = (None, True, -1, 0, 1e-9, 1e9, 2**40, 10**30, float("nan"), float("inf"), "x", [], {})
FIELDS = (
    *("kind", "width", "downs", "blocks", "norm", "dropout", "conv_bias", "in_channels"),
    "out_channels",
)


def checkpoint_values(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Checkpoints whole in form, of absurd content."""
    import torch

    bad = here / "model.pt"
    stored = torch.load(bench.model, weights_only=True)
    field = dice.choice(("spec", "spec", "mpp", "mpp", "config", "epoch", "scores", "weights", "*"))
    if field == "*":
        stored = dice.choice(([stored], {"format": stored["format"]}, stored["weights"], {}, 3))
    elif field == "spec":
        names = dice.sample(FIELDS, dice.choice((1, 1, 2)))
        stored["spec"] = stored["spec"] | {name: dice.choice(ABSURD) for name in names}
    elif field == "weights" and dice.random() < 0.8:
        name = dice.choice(list(stored["weights"]))
        odd = (torch.zeros(2), torch.tensor(0.0), "x", None, torch.zeros(1, dtype=torch.int8))
        broken = torch.full(stored["weights"][name].shape, float("nan"))
        stored["weights"][name] = dice.choice((*odd, broken))
    else:
        stored[field] = dice.choice(ABSURD)
    torch.save(stored, bad)
    return Attack(_using(bench, here, bad, dice), bad)


def training_states(bench: Bench, here: Path, dice: random.Random) -> Attack:
    """Run folders of a training that is to go on."""
    import torch

    run = here / "runs"
    shutil.copytree(bench.trained, run)
    files = sorted(path for path in run.rglob("*") if path.suffix in (".pt", ".json", ".csv"))
    bad = dice.choice(files)
    if bad.suffix == ".pt" and dice.random() < 0.7:
        torch.save(with_odd_value(torch.load(bad, weights_only=True), dice), bad)
    elif bad.suffix == ".json":
        bad_text(bad, bad.read_text(), dice)
    else:
        bad.write_bytes(mutated(bad.read_bytes(), dice))
    words = ("--out", run, "--config", run / "config.json", "--set", "epochs=2+0", "--resume")
    return Attack(("train", bench.data, *words), bad)


FAMILIES: tuple[Family, ...] = (
    *(points, annotations, landmarks, outlines, labels, manifests, slides, slides, run_folders),
    *(cohorts, sheets, patch_folders, patch_tables, configurations, schedulers, checkpoint_bytes),
    *(checkpoint_values, training_states),
)
