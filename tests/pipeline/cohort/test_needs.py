"""What a cohort needs of the machine: cases beside each other, disk before and while it runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cohort.needs import cases_at_once, check_disk, disk_mib, memory_gib
from pipeline.cohort.run import RunRequest, run_cohort
from pipeline.cohort.state import Cohort
from pipeline.errors import UsageError
from registration.execution import no_progress


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    pixels = np.full((512, 768, 3), 240, np.uint8)
    for name in ("he", "ihc"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    path = tmp_path / "cohort.yaml"
    path.write_text(
        "out: out\npatch: {size: 128}\ncases:\n"
        "  - {id: one, patient: a, he: he.png, ihc: ihc.png, mpp_he: 0.5, mpp_ihc: 0.5}\n"
        "  - {id: gone, patient: a, he: he.png, ihc: ihc.png, mpp_he: 0.5, mpp_ihc: 0.5}\n"
    )
    return Cohort.load(path)


@pytest.mark.parametrize(
    ("count", "gib", "cases"), [(1, 64, 1), (2, 64, 2), (8, 64, 5), (8, 6.6, 2)]
)
def test_cases_run_beside_each_other_as_memory_allows(count: int, gib: float, cases: int) -> None:
    assert cases_at_once(count, gib) == cases
    assert memory_gib(count, cases) <= gib


def test_too_little_memory_for_one_case_is_refused() -> None:
    with pytest.raises(UsageError, match=r"with 8 workers needs about 5.8 GiB .* fewer --workers"):
        cases_at_once(8, 4.0)
    assert cases_at_once(10**6) == 1


def test_disk_is_estimated_from_what_is_still_to_be_done(cohort: Cohort) -> None:
    case = cohort.manifest.cases[0]

    both = disk_mib(cohort, case, ("register", "patch"))

    assert both > disk_mib(cohort, case, ("register",)) > 0
    image = cohort.manifest.register_.model_copy(update={"image": "tiff"})
    with_image = cohort.manifest.model_copy(update={"register_": image})
    assert disk_mib(Cohort(cohort.path, with_image), case, ("register",)) > 5
    broken = case.model_copy(update={"ihc": cohort.path})
    assert disk_mib(cohort, broken, ("register",)) == 0


def test_registered_slides_are_written_only_where_they_are_asked_for(cohort: Cohort) -> None:
    assert cohort.request(cohort.manifest.cases[0]).image is None


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_the_processes_of_cases_are_as_quiet_as_the_whole(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch, quiet: tuple[str, ...]
) -> None:
    called: list[list[str]] = []

    def call(words: list[str], *_: object) -> int:
        called.append(words)
        return 2

    monkeypatch.setattr("pipeline.cohort.run.call", call)
    monkeypatch.setattr("pipeline.cohort.run.describe", lambda code, log: "ended")
    CliRunner().invoke(app, [*quiet, "run", str(cohort.path), "--stage", "register"])

    assert len(called) == 2
    assert all(words[: len(quiet) + 1] == [*quiet, "run"] for words in called)


def test_a_full_disk_is_said_before_the_first_case(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cohort.path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**20))

    with pytest.raises(
        UsageError, match=r"a run of 2 cases needs about .* has 0.0 GiB free: make room"
    ):
        run_cohort(RunRequest(cohort, count=1), lambda text: None, no_progress)


def test_a_disk_that_fills_up_stops_what_has_not_begun(tmp_path: Path) -> None:
    check_disk(tmp_path / "not" / "there", 1.0, "case one")
    with pytest.raises(UsageError, match=r"case one needs about 97656250\.0 GiB"):
        check_disk(tmp_path, 1e11, "case one")
