"""``bci-pipeline register``: what it refuses, what it never loses, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app, main
from pipeline.errors import UsageError
from pipeline.stages.register import Request, expected_key, plan, run_request
from registration.errors import StartError
from registration.execution import no_progress
from registration.result import Registration
from registration.synth import SynthCase, SynthSettings, write_case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    settings = SynthSettings(size=1024, seed=31, warp_px=8.0, rotation_deg=12.0)
    return write_case(tmp_path_factory.mktemp("case"), settings)


@pytest.fixture(scope="module")
def done(case: SynthCase, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """A finished run with picked landmarks."""
    out = tmp_path_factory.mktemp("runs") / "case"
    request = Request(
        case.he, case.ihc, out, landmarks=str(case.landmarks), truth=str(case.truth), blocks="1x2"
    )
    run_request(request, 1, None, no_progress)
    return request


def register(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["register", *map(str, arguments)])


def changed(request: Request, **values: object) -> Request:
    return Request(**{**{f: getattr(request, f) for f in request.__dataclass_fields__}, **values})


def glass(path: Path) -> Path:
    noise = np.random.default_rng(3).normal(243, 1.5, (700, 900, 3))
    cv2.imwrite(str(path), noise.clip(0, 255).astype(np.uint8))
    return path


def test_a_finished_run_says_how_good_it_is(done: Request, case: SynthCase) -> None:
    found = Registration.load(done.out)

    assert found.quality.tre["after_all"].median_px < 1.0
    assert found.quality.tre["after_all"].median_px < found.quality.tre["before"].median_px / 20
    for name in ("registered.tif", "report.html", "registration.json", "landmarks.csv"):
        assert (done.out / name).is_file(), name
    assert not list(done.out.glob(".work-*"))


def test_the_key_is_known_before_the_work(done: Request) -> None:
    assert expected_key(done) == Registration.load(done.out).key
    assert plan(done)["done already"] is True
    assert plan(changed(done, blocks="2x2"))["done already"] is False


def test_a_lost_report_is_written_again_without_registering(done: Request) -> None:
    stamp = (done.out / "registered.tif").stat().st_mtime_ns
    (done.out / "report.html").unlink()

    run_request(done, 1, None, no_progress)

    assert (done.out / "report.html").stat().st_size > 10_000
    assert (done.out / "registered.tif").stat().st_mtime_ns == stamp


def test_other_settings_do_not_replace_a_finished_run_unasked(done: Request) -> None:
    before = (done.out / "registration.json").read_bytes()

    with pytest.raises(UsageError, match="--overwrite"):
        run_request(changed(done, blocks="2x1"), 1, None, no_progress)

    assert (done.out / "registration.json").read_bytes() == before


def test_overwriting_keeps_the_landmarks_that_a_person_edited_in_the_folder(
    case: SynthCase, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = Request(case.he, case.ihc, out, str(case.landmarks), blocks="1x1", image=None)
    run_request(first, 1, None, no_progress)
    edited = (out / "landmarks.csv").rename(out / "edited.csv")
    text = edited.read_text()

    run_request(
        changed(first, landmarks=str(edited), overwrite=True, blocks="1x2"), 1, None, no_progress
    )

    assert edited.read_text() == text
    assert Registration.load(out).settings.columns == 2


def test_a_start_that_cannot_be_confirmed_ends_with_1_and_the_next_command(
    case: SynthCase,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blank = glass(tmp_path / "glass.png")
    words = ["register", case.he, blank, "--mpp-ihc", 0.46, "--out", tmp_path / "run"]
    monkeypatch.setattr("sys.argv", ["bci-pipeline", *map(str, words), "--workers", "1"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert f"bci-pipeline pick {case.he} {blank}" in told
    assert "Traceback" not in told


def test_what_a_person_edited_after_a_failed_start_is_used_and_not_lost(
    case: SynthCase, tmp_path: Path
) -> None:
    out, other = tmp_path / "run", glass(tmp_path / "glass.png")
    request = Request(case.he, other, out, mpp_ihc=0.46, image=None)
    with pytest.raises(StartError, match="bci-pipeline pick"):
        run_request(request, 1, None, no_progress)
    edited = "id,he_x,he_y,ihc_x,ihc_y,enabled\n1,1,2,3,4,true\n"
    (out / "landmarks.csv").write_text(edited)

    with pytest.raises(StartError):
        run_request(request, 1, None, no_progress)

    assert (out / "landmarks.csv").read_text() == edited


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks": "4by4"}, "rows x columns"),
        ({"blocks": "0x4"}, "rows x columns"),
        ({"channel": "violet"}, "hematoxylin"),
    ],
)
def test_options_that_make_no_sense(
    done: Request, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run_request(changed(done, out=tmp_path / "new", **change), 1, None, no_progress)

    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_touched(done: Request, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(UsageError, match="something else"):
        run_request(changed(done, out=tmp_path, overwrite=True), 1, None, no_progress)

    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_folder_with_the_picked_landmarks_alone_is_ours(case: SynthCase, tmp_path: Path) -> None:
    picked = tmp_path / "picked.csv"
    picked.write_bytes(case.landmarks.read_bytes())
    request = Request(case.he, case.ihc, tmp_path, str(picked), blocks="1x1", image=None)

    run_request(request, 1, None, no_progress)

    assert Registration.load(tmp_path).start.source == "landmarks"
    assert picked.read_bytes() == case.landmarks.read_bytes()


def test_messages_name_the_file(case: SynthCase, tmp_path: Path) -> None:
    missing = register(tmp_path / "none.ndpi", case.ihc, "--out", tmp_path / "a")
    same = register(case.he, case.he, "--out", tmp_path / "b")

    assert missing.exit_code != 0
    assert "none.ndpi" in str(missing.exception)
    assert "the same file" in str(same.exception)
    assert not (tmp_path / "a").exists()


def test_dry_run_writes_nothing(case: SynthCase, tmp_path: Path) -> None:
    result = register(case.he, case.ihc, "--out", tmp_path / "run", "--dry-run", "--json")

    planned = json.loads(result.stdout)
    assert planned["done already"] is False
    assert "1024 x 1024 px" in planned["H&E"]
    assert not (tmp_path / "run").exists()
