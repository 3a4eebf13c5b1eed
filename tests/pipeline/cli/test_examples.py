"""Every example of every ``--help`` runs as it is printed, in one folder, on drawn slides."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from pipeline.cli.app import Commands
from registration.slides.slide import open_slide
from registration.synth import CohortPlan, SynthSettings, write_cohort

SIDE = 2560
STORY = (
    *("doctor", "demo", "synth", "register", "pick", "review", "warp-points", "patch", "dataset"),
    *("manifest", "run", "status", "train", "export", "translate", "evaluate", "study", "ablate"),
)
"""Commands in an order in which each finds what it needs."""

QUICK = {
    "BCI_TRAIN_NGF": "2",
    "BCI_TRAIN_NDF": "2",
    "BCI_TRAIN_EPOCHS": "1+0",
    "BCI_TRAIN_CROP": "64",
    "BCI_TRAIN_DEVICE": "cpu",
    "BCI_TRAIN_RECALIBRATE": "1",
    "BCI_TRAIN_TENSORBOARD": "no",
}
"""What the command line does not say is taken from the environment."""

MANIFEST = """\
out: cohort
cases:
  - {id: p012, patient: p012, he: p012_he.ndpi, ihc: p012_ihc.ndpi, her2: 1+}
  - {id: p013, patient: p013, he: he.ndpi, ihc: ihc.ndpi, her2: 3+}
register: {image: none, blocks: 2x2}
patch: {size: 256}
"""
SETTINGS = "register: {image: none, blocks: 2x2}\npatch: {size: 256}\n"


def examples(command: str) -> list[str]:
    """Return the examples of a command, in the order of its help."""
    module = import_module(Commands.entries[command].module)
    names = [name for name in vars(module) if name.endswith("EXAMPLES")]
    own = f"{command.upper()}_EXAMPLES"
    if command in ("train", "pick") or own in names:
        names = [own if own in names else "EXAMPLES"]
    return [example for name in names for example in getattr(module, name)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what a user has: slides, landmarks, annotations, labels, other datasets."""
    plan = CohortPlan(SynthSettings(size=SIDE, seed=90, picks=6), cases=3, her2=("1+", "3+", "0"))
    cases = write_cohort(tmp_path / "drawn", plan, workers=2)
    for case, name in zip(cases, ("p012_", "", "png_"), strict=True):
        shutil.copyfile(case.he, tmp_path / f"{name}he.ndpi")
        shutil.copyfile(case.ihc, tmp_path / f"{name}ihc.ndpi")
    shutil.copyfile(cases[0].landmarks, tmp_path / "picked.csv")
    for stain in ("he", "ihc"):
        with open_slide(tmp_path / f"png_{stain}.ndpi") as slide:
            image, _ = slide.thumbnail(SIDE)
            Image.fromarray(image).save(tmp_path / f"{stain}.png")
    write_annotations(tmp_path)
    rows = [
        ["case", "patient", "her2"],
        ["he", "p1", "3+"],
        ["p012", "p2", "1+"],
        ["p014", "p3", "0"],
    ]
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "cohort.yaml").write_text(MANIFEST)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    (tmp_path / "slides.csv").write_text("case,patient,he,ihc\np012,7,p012_he.ndpi,p012_ihc.ndpi\n")
    return tmp_path


def write_slides(folder: Path) -> None:
    """Put a pair into ``slides``, in the place of what `synth` drew there."""
    shutil.rmtree(folder / "slides")
    (folder / "slides").mkdir()
    for name in ("p012_he.ndpi", "p012_ihc.ndpi"):
        shutil.copyfile(folder / name, folder / "slides" / name)


def write_annotations(folder: Path) -> None:
    (folder / "he_cells.csv").write_text("x,y,kind\n900,1000,tumour\n1400.5,1200,stroma\n")
    (folder / "ihc_tumour.geojson").write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry":'
        ' {"type": "Polygon", "coordinates": [[[900,900],[1200,900],[1200,1300],[900,900]]]}}]}'
    )


def write_other_datasets(folder: Path) -> None:
    """Make a download in BCI's layout, and two plain folders, of the dataset that `patch` wrote."""
    for domain in ("HE", "IHC"):
        for split in ("train", "test"):
            shutil.copytree(folder / "dataset" / domain / split, folder / "BCI" / domain / split)
    for domain, name in (("HE", "visible"), ("IHC", "infrared")):
        shutil.copytree(folder / "dataset" / domain, folder / "LLVIP" / name)


def write_score_sheets(folder: Path) -> None:
    """Fill in the sheet of the study, as two readers."""
    with (folder / "study" / "readers" / "sheet.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    for reader in ("ada", "grace"):
        blank = {"reader": reader}
        filled = [
            [cell or blank.get(name, "1+") for name, cell in zip(header, row, strict=True)]
            for row in rows
        ]
        with (folder / f"{reader}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *filled])


def called(example: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example in a shell, as somebody who pastes it."""
    program = folder / "bin" / "bci-pipeline"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m pipeline.cli "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, **QUICK, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        environment.pop(name, None)
    return subprocess.run(
        ["bash", "-c", example],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_story_has_all_commands() -> None:
    assert sorted(STORY) == sorted(Commands.entries)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(10800)
def test_every_example_runs(folder: Path) -> None:
    failed = []
    for command in STORY:
        for example in examples(command):
            done = called(example, folder)

            if command in ("pick", "review") and f" {command} " in example:
                right = "there is no display to open a window on" in done.stderr
            else:
                right = done.returncode == 0
            if not right:
                failed.append(f"{example}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
            if command == "study" and "runs/robust" in example:
                write_score_sheets(folder)
        if command == "patch":
            write_other_datasets(folder)
        if command == "dataset":
            write_slides(folder)
    assert failed == [], "\n\n".join(failed)
