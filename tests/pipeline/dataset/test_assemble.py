"""From cut cases to a finished dataset: names, table, layouts, checksums, refusals, report."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from benchmarks.browser import Browser, check_page
from pipeline.cli.app import app
from pipeline.cli.patch import _summary
from pipeline.dataset.assemble import assemble
from pipeline.dataset.checksums import verify
from pipeline.dataset.folder import check_replaceable, finished_dataset_key
from pipeline.dataset.inspection import inspect_dataset
from pipeline.dataset.plan import DatasetPlan
from pipeline.dataset.summary import DatasetCase, odd_ones
from pipeline.dataset.table import read_table
from pipeline.errors import DatasetError, UsageError
from pipeline.patches.case import cut_case
from pipeline.patches.record import CasePatches
from pipeline.patches.settings import Layout, PatchSettings
from pipeline.split import SplitSettings
from pipeline.stages.patch import PatchRequest
from registration.execution import InProcess, no_progress
from registration.patch_reasons import REASON_WORDS, REASONS
from training.data.pairs import open_dataset

SETTINGS = PatchSettings(size=256, min_tissue=0.3)


def laid_out(layout: str) -> PatchSettings:
    return SETTINGS.model_copy(update={"layout": layout})


@pytest.fixture(scope="module")
def patches(hand_made, tmp_path_factory: pytest.TempPathFactory) -> CasePatches:
    run = tmp_path_factory.mktemp("runs") / "case"
    shutil.copytree(hand_made.registration.folder, run)
    return cut_case(run, tmp_path_factory.mktemp("cut"), SETTINGS, InProcess(), no_progress)


def case(name: str, patches: CasePatches, **known: str) -> DatasetCase:
    """A case of a patient of its own, with slides of its own."""
    slides = replace(patches.slides, he_hash=f"{name}-he", ihc_hash=f"{name}-ihc")
    own = replace(patches, slides=slides)
    labels = {"patient": name, "her2": "1+", **known}
    return DatasetCase(name, key=name, patches=own, **labels)  # type: ignore[arg-type]


def plan(patches: CasePatches, **changes: object) -> DatasetPlan:
    cases = (case("b", patches, her2="3+"), case("a", patches), case("c", patches))
    whole = DatasetPlan("three", cases, SETTINGS, split=SplitSettings(test=0.3))
    return replace(whole, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dataset(patches: CasePatches, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "three"
    assemble(plan(patches), folder)
    return folder


def assert_intact(folder: Path) -> None:
    found = verify(folder)
    assert (found.missing, found.changed) == ((), ())


def test_names_are_those_of_bci_and_numbers_run_within_each_split(dataset: Path) -> None:
    kept = [row for row in read_table(dataset) if row.kept]

    for split in ("train", "test"):
        names = sorted(path.name for path in (dataset / "HE" / split).iterdir())
        assert names == sorted(path.name for path in (dataset / "IHC" / split).iterdir())
        assert [int(name[:5]) for name in names] == list(range(len(names)))
        assert {name[6:].rsplit("_", 1)[0] for name in names} == {split}
        assert {name.rsplit("_", 1)[1] for name in names} <= {"1+.png", "3+.png"}
    assert len(kept) == len(list(dataset.glob("HE/*/*.png")))


def test_every_candidate_is_a_row_and_every_kept_row_leads_to_its_place_on_the_slide(
    dataset: Path, patches: CasePatches, hand_made
) -> None:
    rows = read_table(dataset)

    assert len(rows) == 3 * len(patches.candidates)
    assert len({row.pair_id for row in rows}) == len(rows)
    assert all(row.reason for row in rows if not row.kept)
    assert all(row.he_file is None for row in rows if not row.kept)
    row = next(row for row in rows if row.kept)
    pixels = cv2.imread(str(dataset / str(row.ihc_file)))[..., ::-1]
    x, y = int(row.x or 0), int(row.y or 0)
    slide = cv2.imread(str(hand_made.pair.ihc.path))[..., ::-1]
    assert np.array_equal(pixels, slide[y : y + row.size, x : x + row.size])


def test_the_csv_says_the_same_as_the_parquet(dataset: Path) -> None:
    with (dataset / "patches.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))

    rows = read_table(dataset)

    assert [line["pair_id"] for line in cells] == [row.pair_id for row in rows]
    assert [line["kept"] == "true" for line in cells] == [row.kept for row in rows]
    for line, row in zip(cells, rows, strict=True):
        assert (float(line["shift_um"]) if line["shift_um"] else None) == row.shift_um


@pytest.mark.slow
def test_our_own_trainer_reads_every_layout(patches: CasePatches, tmp_path: Path) -> None:
    for layout in ("bci", "hf"):
        folder = tmp_path / layout
        assemble(plan(patches, settings=laid_out(layout)), folder)
        kept = sum(row.kept for row in read_table(folder))
        assert len(open_dataset(folder).pairs) == kept


def of_stains(patches: CasePatches, layout: str) -> DatasetPlan:
    """Three patients' H&E slides with two stains each; HER2 lacks the first kept patch of each."""
    cases = []
    for name in ("a", "b", "c"):
        for stain, level in (("HER2", "2+"), ("KI67", None)):
            own = case(f"{name}_{stain}", patches, patient=name, her2=level, stain=stain)  # type: ignore[arg-type]
            slides = replace(patches.slides, he_hash=f"{name}-he", moving="ihc")
            slides = replace(slides, ihc_hash=f"{name}-{stain}")
            candidates = list(patches.candidates)
            if stain == "HER2":
                first = next(k for k, item in enumerate(candidates) if item.kept)
                candidates[first] = replace(candidates[first], reason="shifted")
            changed = replace(patches, slides=slides, candidates=tuple(candidates))
            cases.append(replace(own, patches=changed))
    return DatasetPlan("stains", tuple(cases), laid_out(layout), split=SplitSettings(test=0.3))


@pytest.mark.parametrize(
    "layout", ["multi", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bci", "hf"))]
)
def test_several_stains_in_every_layout(patches: CasePatches, layout: str, tmp_path: Path) -> None:
    assemble(of_stains(patches, layout), tmp_path / "out")

    kept = [row for row in read_table(tmp_path / "out") if row.kept]
    dataset = open_dataset(tmp_path / "out")
    assert dataset.stains == ("HER2", "KI67")
    assert len(dataset.pairs) == len(kept)
    assert {row.stain for row in kept} == {"HER2", "KI67"}
    patients = {
        split: {pair.patient for pair in dataset.select(split)} for split in ("train", "test")
    }
    assert patients["train"]
    assert patients["test"]
    assert not patients["train"] & patients["test"]
    if layout == "hf":
        return
    place = {(row.stain, Path(str(row.ihc_file)).name): (row.case[0], row.x, row.y) for row in kept}
    both = [name for stain, name in place if stain == "HER2"]
    assert len(both) == len(kept) // 2 - 1
    assert all(place["HER2", name] == place["KI67", name] for name in both)
    assert all(name.endswith("_2+.png") for _, name in place)
    if layout == "multi":
        folders = {
            stain: {p.name for p in (tmp_path / "out" / stain).rglob("*.png")}
            for stain in ("HE", "HER2", "KI67")
        }
        assert folders["HER2"] < folders["KI67"] == folders["HE"]


@pytest.mark.slow
def test_multi_of_one_stain_without_a_name_is_bci(patches: CasePatches, tmp_path: Path) -> None:
    for layout in ("multi", "bci"):
        assemble(plan(patches, settings=laid_out(layout)), tmp_path / layout)

    names = [
        sorted(p.relative_to(tmp_path / f).as_posix() for p in (tmp_path / f).rglob("*.png"))
        for f in ("multi", "bci")
    ]
    assert names[0] == names[1]


def test_hf_metadata_names_both_files_of_each_pair(patches: CasePatches, tmp_path: Path) -> None:
    assemble(plan(patches, settings=laid_out("hf")), tmp_path / "hf")

    table = parquet.read_table(tmp_path / "hf" / "train" / "metadata.parquet").to_pylist()

    assert table
    for row in table:
        assert (tmp_path / "hf" / "train" / row["he_file_name"]).is_file()
        assert (tmp_path / "hf" / "train" / row["ihc_file_name"]).is_file()
        assert row["split"] == "train"


def test_checksums_are_those_of_sha256sum_and_damage_is_named(
    dataset: Path, tmp_path: Path
) -> None:
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=dataset, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    assert_intact(dataset)
    spoilt = tmp_path / "spoilt"
    shutil.copytree(dataset, spoilt)
    changed, gone = sorted(spoilt.glob("HE/train/*.png"))[:2]
    changed.write_bytes(changed.read_bytes()[:-1])
    gone.unlink()

    problems = inspect_dataset(spoilt)["problems"]

    assert any("missing" in line and gone.name in line for line in problems)
    assert any("changed" in line and changed.name in line for line in problems)


def test_a_dataset_depends_on_nothing_but_its_plan(
    dataset: Path, patches: CasePatches, tmp_path: Path
) -> None:
    assemble(plan(patches), tmp_path / "elsewhere")

    assert (tmp_path / "elsewhere" / "SHA256SUMS").read_text() == (
        dataset / "SHA256SUMS"
    ).read_text()
    assert finished_dataset_key(dataset) == plan(patches).key
    assert plan(patches, split=SplitSettings(test=0.3, seed=1)).key != plan(patches).key


def test_the_same_slide_in_two_splits_is_refused(patches: CasePatches, tmp_path: Path) -> None:
    twice = (
        replace(case("a", patches, split="train"), patches=patches),
        replace(case("b", patches, split="test"), patches=patches),
    )

    with pytest.raises(DatasetError, match=r"slide .* is in test and train \(cases a, b\)"):
        assemble(plan(patches, cases=twice), tmp_path / "leak")
    assert not (tmp_path / "leak").exists()


def test_a_patient_in_two_splits_is_refused(patches: CasePatches, tmp_path: Path) -> None:
    torn = (
        case("a", patches, patient="p", split="train"),
        case("b", patches, patient="p", split="test"),
    )

    with pytest.raises(DatasetError, match="patient p is given both split train and split test"):
        assemble(plan(patches, cases=torn), tmp_path / "torn")


def test_an_empty_dataset_says_why(patches: CasePatches, tmp_path: Path) -> None:
    nothing = replace(
        patches,
        candidates=tuple(replace(item, reason="blank HE") for item in patches.candidates),
    )
    cases = (
        case("a", nothing),
        DatasetCase("b", "b", excluded="registration failed: no tissue"),
    )

    with pytest.raises(
        DatasetError,
        match=r"too little tissue on the H&E slide \(\d+; min_tissue 0\.\d+\).*b \(registration failed",
    ):
        assemble(plan(patches, cases=cases), tmp_path / "empty")


def test_a_folder_of_something_else_is_never_emptied(patches: CasePatches, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(UsageError, match="holds files of something else"):
        assemble(plan(patches), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_an_older_dataset_is_replaced_whole(patches: CasePatches, tmp_path: Path) -> None:
    assemble(plan(patches), tmp_path / "d")
    layout: Layout = "hf"

    assemble(plan(patches, settings=laid_out(layout)), tmp_path / "d")

    assert not (tmp_path / "d" / "HE").exists()
    assert verify(tmp_path / "d").unlisted == ()


@pytest.mark.parametrize(
    "name", ["mymodel/last.pt", "my_split.csv", "HE/train/extra.png", "a b.txt"]
)
def test_files_of_a_person_are_named_and_never_removed(
    patches: CasePatches, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "d"
    assemble(plan(patches), folder)
    sums = (folder / "SHA256SUMS").read_text()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    other = plan(patches, settings=PatchSettings(size=256, min_tissue=0.3, layout="hf"))

    with pytest.raises(UsageError, match=re.escape(name)):
        assemble(other, folder)

    assert (folder / name).read_text() == "mine"
    assert (folder / "SHA256SUMS").read_text() == sums
    assert_intact(folder)


@pytest.mark.slow
def test_notes_are_kept_and_break_no_check(patches: CasePatches, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    assemble(plan(patches), folder)
    card = folder / "README.md"
    card.write_text(card.read_text() + "Slides of our archive, CC BY.\n")
    (folder / "NOTES.txt").write_text("ask the ethics board")
    assert inspect_dataset(folder)["problems"] == []
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=False)
    assert checked.returncode == 0

    for seed in (1, 2):
        assemble(plan(patches, split=SplitSettings(test=0.3, seed=seed)), folder)

    assert card.read_text().count("Slides of our archive, CC BY.") == 1
    assert (folder / "NOTES.txt").read_text() == "ask the ethics board"
    assert inspect_dataset(folder)["problems"] == []


@pytest.mark.slow
def test_a_card_that_was_changed_above_the_notes_is_kept_too(
    patches: CasePatches, tmp_path: Path
) -> None:
    folder = tmp_path / "d"
    assemble(plan(patches), folder)
    card = folder / "README.md"
    card.write_text("Ours, do not share.\n" + card.read_text())

    assemble(plan(patches, split=SplitSettings(test=0.3, seed=1)), folder)

    assert "Ours, do not share." in card.read_text()


def test_a_dataset_made_otherwise_is_replaced_only_when_asked(
    patches: CasePatches, tmp_path: Path
) -> None:
    folder = tmp_path / "d"
    assemble(plan(patches), folder)
    stricter = plan(patches, settings=PatchSettings(size=256, min_tissue=0.3, max_shift_um=7))

    check_replaceable(stricter, tmp_path / "new", overwrite=False)
    with pytest.raises(UsageError, match=r"max_shift_um 10\.0 instead of 7\.0.*--overwrite"):
        check_replaceable(stricter, folder, overwrite=False)
    check_replaceable(stricter, folder, overwrite=True)


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_replaced_a_dataset_goes_on(
    patches: CasePatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "d"
    assemble(plan(patches), folder)
    other = plan(patches, split=SplitSettings(test=0.3, seed=1))
    moves = 0

    def killed(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += "HE" in self.parts
        if moves == 3:
            raise KeyboardInterrupt
        return rename(self, target)

    rename = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            assemble(other, folder)
    assert finished_dataset_key(folder) is None

    check_replaceable(other, folder, overwrite=False)
    assemble(other, folder)

    assert_intact(folder)
    assert verify(folder).unlisted == ()
    assert finished_dataset_key(folder) == other.key


def test_checksums_that_lead_out_of_the_folder_remove_nothing(
    patches: CasePatches, tmp_path: Path
) -> None:
    folder = tmp_path / "d"
    assemble(plan(patches), folder)
    outside = tmp_path / "precious.txt"
    outside.write_text("years of work")
    sums = folder / "SHA256SUMS"
    for name in ("../precious.txt", str(outside)):
        sums.write_text(sums.read_text() + f"{'0' * 64}  {name}\n")
        with pytest.raises(DatasetError, match="SHA256SUMS is damaged"):
            assemble(plan(patches, split=SplitSettings(test=0.3, seed=1)), folder)
    assert outside.read_text() == "years of work"


def test_the_page_is_one_file_and_tells_the_funnel(dataset: Path) -> None:
    page = (dataset / "dataset.html").read_text(encoding="utf-8")
    card = (dataset / "README.md").read_text(encoding="utf-8")
    rows = read_table(dataset)
    kept = sum(row.kept for row in rows)

    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert f"{kept} of {len(rows)} candidates" in page
    for title in ("Best aligned", "Rejected", "Slide pairs per HER2 level", "Patients and pairs"):
        assert title in page
    assert f"{kept} pairs of H&E and IHC patches of 3 patients" in card


def test_no_page_or_console_says_the_short_names_of_the_reasons(
    dataset: Path, patches: CasePatches
) -> None:
    page = (dataset / "dataset.html").read_text(encoding="utf-8")
    record = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    said = _summary(PatchRequest((), dataset), record, {})
    checked = CliRunner().invoke(app, ["dataset", str(dataset)]).stdout
    stable = CliRunner().invoke(app, ["dataset", str(dataset), "--json"]).stdout

    lost = {step["reason"] for step in record["funnel"] if step["lost"]} & set(REASONS)
    assert lost
    for reason in lost:
        words = html.escape(REASON_WORDS[reason])
        assert words in page
        assert f">{reason}<" not in page
        assert f" {reason}" not in said + checked
        assert REASON_WORDS[reason] in said
        assert REASON_WORDS[reason] in checked
        assert reason in json.loads(stable)["rejected"]


def test_the_page_fits_a_phone_and_a_desk(dataset: Path, browser: Browser) -> None:
    check_page(browser, dataset / "dataset.html")


def test_the_heat_map_and_the_sheets_are_drawn(dataset: Path) -> None:
    names = {path.name for path in (dataset / "figures").iterdir()}

    assert {"best.jpg", "rejected.jpg", "alignment_a.jpg", "alignment_c.jpg"} <= names
    heat = cv2.imread(str(dataset / "figures" / "alignment_a.jpg"))
    assert heat.shape[1] / heat.shape[0] == pytest.approx(1500 / 1100, rel=0.02)


def test_a_case_of_another_colour_stands_out_and_small_differences_do_not() -> None:
    alike = {f"case{k}": (0.4 + 0.002 * k, 0.6, 0.3) for k in range(6)}

    assert odd_ones(alike, 0.08) == {}
    assert list(odd_ones({**alike, "pale": (0.2, 0.6, 0.3)}, 0.08)) == ["pale"]
