"""Every example of every ``--help`` and every command of the docs runs as printed, on drawn slides."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from pipeline.cli.app import Commands
from registration.slides.slide import open_slide
from registration.synth import CohortPlan, SynthSettings, write_cohort

ROOT = Path(__file__).parents[2]
SIDE = 2048
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


EXAMPLES = [(command, example) for command in STORY for example in examples(command)]


def commands(page: Path) -> list[str]:
    """What a page says to type, but for what needs a cluster and what the examples have tried."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text("utf-8"), re.M | re.S)
    lines = [line.strip() for kind, block in fenced if not kind for line in block.splitlines()]
    return [line for line in lines if re.match(r"bci-pipeline (?!doctor)", line)]


def program(page: Path) -> str:
    """The Python of a page, from one import on."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    return "\n".join(["import bci_pipeline as bci", *blocks]) if blocks else ""


PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if (commands(page) or program(page)) and page.stem not in ("start", "api")
]
"""``test_site`` follows the ten-minute start, ``test_api`` the page on Python."""

RUNS = {"registered/p012": "registered/p012", "registered/p013": "registered/he"}
NEEDS: dict[str, dict[str, str]] = {
    "dataset": {**RUNS, "BCI_dataset": "BCI", "LLVIP": "LLVIP"},
    "evaluation": {"runs/robust": "runs/robust", "dataset": "dataset", **RUNS},
    "formats": {"dataset": "dataset"},
    "own-slides": RUNS,
    "qupath": RUNS,
    "training": {"dataset": "dataset"},
    "transforms": RUNS,
    "translation": {"runs/robust": "runs/robust"},
}
"""What somebody who reads a page has already, and where the examples made it."""

LARGE = ("README", "cohorts", "dataset", "own-slides")
"""Pages that cut patches of the usual 1,024 px, of which smaller slides have none."""

FEWER = {"--n 40": "--n 4"}
"""What asks for more pairs than the drawn slides have."""

COPIES = {
    "he.ndpi": ("slide_he.ndpi", "slide_he.svs"),
    "ihc.ndpi": ("slide_ihc.ndpi", "slide_ihc.svs"),
    "p012_he.ndpi": ("p012_HE.svs", "slides/p012_HE.ndpi"),
    "p012_ihc.ndpi": ("p012_Ki67.svs", "p012_AEC.svs", "p012_ihc.ndpi", "slides/p012_HER2.ndpi"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a user has: slides, landmarks, annotations, labels, other datasets."""
    folder = tmp_path_factory.mktemp("user")
    plan = CohortPlan(SynthSettings(size=SIDE, seed=90, picks=6), cases=3, her2=("1+", "3+", "0"))
    cases = write_cohort(folder / "drawn", plan, workers=2)
    for case, name in zip(cases, ("p012_", "", "png_"), strict=True):
        shutil.copyfile(case.he, folder / f"{name}he.ndpi")
        shutil.copyfile(case.ihc, folder / f"{name}ihc.ndpi")
    shutil.copyfile(cases[0].landmarks, folder / "picked.csv")
    for stain in ("he", "ihc"):
        with open_slide(folder / f"png_{stain}.ndpi") as slide:
            image, _ = slide.thumbnail(SIDE)
            Image.fromarray(image).save(folder / f"{stain}.png")
    write_annotations(folder)
    write_cases(folder / "cases.csv", ("he", "p012", "p013", "p014"))
    (folder / "cohort.yaml").write_text(MANIFEST)
    (folder / "settings.yaml").write_text(SETTINGS)
    (folder / "slides.csv").write_text("case,patient,he,ihc\np012,7,p012_he.ndpi,p012_ihc.ndpi\n")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of slides of 4,096 px, registered."""
    folder = tmp_path_factory.mktemp("large")
    plan = CohortPlan(SynthSettings(size=2 * SIDE, seed=91), cases=2, her2=("1+", "3+"))
    for case, prefix in zip(
        write_cohort(folder / "drawn", plan, workers=2), ("p012_", ""), strict=True
    ):
        he, ihc = f"{prefix}he.ndpi", f"{prefix}ihc.ndpi"
        shutil.copyfile(case.he, folder / he)
        shutil.copyfile(case.ihc, folder / ihc)
        out = f"registered/{prefix.rstrip('_') or 'he'}"
        check(f"bci-pipeline register {he} {ihc} --out {out} --no-image", folder)
    return folder


def write_cases(path: Path, cases: tuple[str, ...]) -> None:
    """Write a table of patients and levels, another one for each case."""
    levels = ("3+", "1+", "2+", "0")
    rows = [(case, f"patient-{case}", levels[number]) for number, case in enumerate(cases)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("case", "patient", "her2"), *rows])


def write_slides(folder: Path) -> None:
    """Put a pair into ``slides``, in the place of what `synth` drew there."""
    shutil.rmtree(folder / "slides", ignore_errors=True)
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
    if not (folder / "study").is_dir():
        return
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


BEFORE: dict[str, Callable[[Path], None]] = {
    "dataset": write_other_datasets,
    "manifest": write_slides,
    "study score": write_score_sheets,
}
"""What comes into the folder before the first example of a command."""


def check(example: str, folder: Path) -> None:
    """Run an example; where there is no display, a window says so."""
    done = called(example, folder)
    if re.search(r"bci-pipeline (pick|review) ", example):
        assert "there is no display to open a window on" in done.stderr, done.stderr
    else:
        assert done.returncode == 0, f"{example}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_every_example_runs(command: str, example: str, folder: Path, prepared: set[str]) -> None:
    part = "study score" if " score " in example else command
    if part in BEFORE and part not in prepared:
        BEFORE[part](folder)
        prepared.add(part)

    check(example, folder)


@pytest.fixture(scope="module")
def prepared() -> set[str]:
    """For which commands the folder was prepared."""
    return set()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(
    page: Path, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    slides: Path = request.getfixturevalue("large") if page.stem in LARGE else folder
    for name in ("he.ndpi", "ihc.ndpi"):
        shutil.copyfile(slides / name, tmp_path / name)
    for name in ("he.png", "ihc.png", "settings.yaml", "he_cells.csv"):
        shutil.copyfile(folder / name, tmp_path / name)
    (tmp_path / "slides").mkdir()
    for name, copies in COPIES.items():
        for copy in copies:
            shutil.copyfile(slides / name, tmp_path / copy)
    write_annotations(tmp_path)
    write_cases(tmp_path / "cases.csv", ("p012", "p013", "p014"))
    for name, source in NEEDS.get(page.stem, {}).items():
        own = slides if source.startswith("registered/") else folder
        shutil.copytree(own / source, tmp_path / name)

    for line in commands(page):
        if "run cases.csv" in line:
            (tmp_path / "cases.csv").write_text("case,patient,he,ihc\np7,7,he.ndpi,ihc.ndpi\n")
        if "study score" in line:
            write_score_sheets(tmp_path)
        for many, few in FEWER.items():
            line = line.replace(many, few)
        check(line, tmp_path)
    if code := program(page):
        (tmp_path / "page.py").write_text(code)
        check(shlex.join([sys.executable, "page.py"]), tmp_path)
