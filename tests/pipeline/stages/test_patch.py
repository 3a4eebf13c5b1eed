"""The patch command as a whole: what it refuses before any work, and a run that cannot be used."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.dataset.table import read_table
from pipeline.errors import DatasetError, UsageError
from pipeline.patches.settings import PatchSettings
from pipeline.stages.patch import PatchRequest, plan_patches, run_patch
from registration.execution import no_progress

SETTINGS = PatchSettings(size=256, stride=256, min_tissue=0.3)


@pytest.fixture
def runs(hand_made, tmp_path: Path) -> tuple[Path, Path]:
    """The same registration under two names."""
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        shutil.copytree(hand_made.registration.folder, folder)
    return folders


def labels(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(("case,patient,her2,split", *lines)))
    return path


def test_a_patient_in_two_splits_is_refused_before_any_work(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    given = labels(tmp_path, "one,p1,0,train", "two,p1,1+,test")
    request = PatchRequest(runs, tmp_path / "dataset", SETTINGS, labels=given)
    with pytest.raises(
        UsageError, match="line 3: patient 'p1' is given the split test, and train in"
    ):
        run_patch(request, 1, None, no_progress)
    assert not (tmp_path / "dataset").exists()


def test_a_slide_in_two_splits_is_refused_before_any_work(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    given = labels(tmp_path, "one,p1,0,train", "two,p2,1+,test")
    request = PatchRequest(runs, tmp_path / "dataset", SETTINGS, labels=given)
    with pytest.raises(
        DatasetError, match=r"slide \w+\.\w+ is in test and train \(cases one, two\)"
    ):
        run_patch(request, 1, None, no_progress)
    assert not (tmp_path / "dataset").exists()


def test_a_run_that_cannot_be_used_is_left_out_and_named(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    record = json.loads((runs[1] / "registration.json").read_text())
    record["inputs"]["he"]["hash"] = "another"
    (runs[1] / "registration.json").write_text(json.dumps(record))
    given = labels(tmp_path, "one,p1,0,train", "two,p1,0,train")
    outcome = run_patch(
        PatchRequest(runs, tmp_path / "dataset", SETTINGS, labels=given), 1, None, no_progress
    )
    assert list(outcome.failed) == ["two"]
    assert "has changed since it was registered" in outcome.failed["two"]
    assert {row.case for row in read_table(tmp_path / "dataset")} == {"one"}
    assert {row.her2 for row in read_table(tmp_path / "dataset")} == {"0"}
    left = (tmp_path / "dataset" / ".work").rglob("*")
    assert {path.name for path in left if path.is_file()} == {"measured.json"}


def test_a_patch_too_large_for_every_slide_is_no_matter_of_limits(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    request = PatchRequest(runs[:1], tmp_path / "dataset", PatchSettings(size=2048))
    with pytest.raises(DatasetError, match=r"every case is excluded: one .* smaller --size") as no:
        run_patch(request, 1, None, no_progress)
    assert "limits" not in str(no.value)


def test_a_plan_counts_the_workers_that_are_asked_for(runs: tuple[Path, Path]) -> None:
    words = ["patch", str(runs[0]), "--out", "none", "--size", "256", "--dry-run", "--json"]
    plans = [
        json.loads(CliRunner().invoke(app, [*words, "--workers", count]).stdout)[0]
        for count in ("1", "4")
    ]
    assert plans[0]["positions"] == plans[1]["positions"] > 10
    assert [plan["memory"] for plan in plans] == ["about 0.8 GiB", "about 1.8 GiB"]


def patch(*words: object) -> Result:
    return CliRunner().invoke(app, ["patch", *map(str, words), "--size", "256", "--workers", "1"])


def test_a_pair_that_was_refused_or_failed_is_left_out_named_and_ends_with_1(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    refused = tmp_path / "refused"
    refused.mkdir()
    (refused / "landmarks.csv").write_text("id,he_x,he_y,ihc_x,ihc_y,enabled\n")
    (refused / "report.html").write_text("not registered")
    record = json.loads((runs[1] / "registration.json").read_text())
    (runs[1] / "registration.json").write_text(json.dumps({**record, "verdict": "fail"}))

    for _ in ("made", "found finished"):
        result = patch(runs[0], runs[1], refused, "--out", tmp_path / "d", "--min-tissue", 0.3)

        assert result.exit_code == 1, result.output
        assert "failed: two: registration failed" in result.stdout
        assert f"failed: refused: the pair in {refused} could not be registered" in result.stdout
        assert {row.case for row in read_table(tmp_path / "d")} == {"one"}


@pytest.mark.slow
def test_a_run_that_a_person_left_out_is_no_failure(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    record = json.loads((runs[1] / "registration.json").read_text())
    (runs[1] / "registration.json").write_text(json.dumps({**record, "review": "rejected"}))

    result = patch(*runs, "--out", tmp_path / "d", "--min-tissue", 0.3)

    assert result.exit_code == 0, result.output
    assert "note: no patient is left for test" in result.stderr


@pytest.mark.slow
def test_without_a_pair_the_scores_are_kept_and_the_end_is_1(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    result = patch(runs[0], "--out", tmp_path / "d", "--max-shift", 0)

    assert result.exit_code == 1, result.output
    scores = tmp_path / "d" / ".work" / "patches.csv"
    assert f"The scores are in {scores}." in result.stderr
    assert len(scores.read_text().splitlines()) > 10
    assert patch(runs[0], "--out", tmp_path / "d", "--min-tissue", 0.3).exit_code == 0
    assert not scores.exists()


def test_a_dry_run_refuses_what_the_run_refuses(runs: tuple[Path, Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("years of work")

    for words in ((), ("--dry-run",)):
        assert "something else" in str(patch(runs[0], "--out", taken, *words).exception)
        missing = patch(tmp_path / "none", "--out", tmp_path / "d", *words).exception
        assert "there is no folder" in str(missing)
        slide = patch(taken / "thesis.txt", "--out", tmp_path / "d", *words).exception
        assert "thesis.txt is a file; name the folder that `register` wrote" in str(slide)


@pytest.mark.slow
def test_other_thresholds_need_a_word_and_measure_nothing_again(
    hand_made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "one"
    shutil.copytree(hand_made.registration.folder, run)
    first = PatchRequest((run,), tmp_path / "d", PatchSettings(size=256, min_tissue=0.3))
    run_patch(first, 1, None, no_progress)
    stricter = replace(first, settings=PatchSettings(size=256, min_tissue=0.6))

    with pytest.raises(UsageError, match=r"min_tissue 0\.3 instead of 0\.6"):
        run_patch(stricter, 1, None, no_progress)
    with pytest.raises(UsageError, match="--overwrite"):
        plan_patches(stricter, 1)

    def measured_again(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("pipeline.patches.measurement.measure_all", measured_again)
    outcome = run_patch(replace(stricter, overwrite=True), 1, None, no_progress)

    assert outcome.record["settings"]["min_tissue"] == 0.6
