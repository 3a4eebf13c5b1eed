"""``bci-pipeline register``: what it refuses, what it never loses, and what it writes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app, main
from pipeline.cli.register import _summary
from pipeline.errors import UsageError
from pipeline.stages.register import RegisterRequest, _clear, expected_key, plan, run_request
from pipeline.stages.settings import RegisterSettings
from registration.errors import StartError
from registration.execution import no_progress
from registration.figures import Verdict
from registration.pair import SlidePair
from registration.register import _doubted
from registration.result import Registration, write_review
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings, write_case

ONE_BLOCK = RegisterSettings(blocks="1x1", image="none")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    settings = SynthSettings(size=1024, seed=31, warp_px=8.0, rotation_deg=12.0)
    return write_case(tmp_path_factory.mktemp("case"), settings)


@pytest.fixture(scope="module")
def done(case: SynthCase, tmp_path_factory: pytest.TempPathFactory) -> RegisterRequest:
    """A finished run with picked landmarks."""
    out = tmp_path_factory.mktemp("runs") / "case"
    request = RegisterRequest(
        case.he,
        case.ihc,
        out,
        RegisterSettings(blocks="1x2"),
        landmarks=str(case.landmarks),
        truth=str(case.truth),
    )
    run_request(request, 1, None, no_progress)
    return request


def register(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["register", *map(str, arguments)])


def changed(request: RegisterRequest, blocks: str, **values: object) -> RegisterRequest:
    settings = request.settings.model_copy(update={"blocks": blocks})
    return replace(request, settings=settings, **values)  # type: ignore[arg-type]


def glass(path: Path) -> Path:
    noise = np.random.default_rng(3).normal(243, 1.5, (700, 900, 3))
    cv2.imwrite(str(path), noise.clip(0, 255).astype(np.uint8))
    return path


def test_a_finished_run_says_how_good_it_is(done: RegisterRequest, case: SynthCase) -> None:
    found = Registration.load(done.out)

    assert found.quality.tre["after_all"].median_px < 1.0
    assert found.quality.tre["after_all"].median_px < found.quality.tre["before"].median_px / 20
    for name in ("registered.tif", "report.html", "registration.json", "landmarks.csv"):
        assert (done.out / name).is_file(), name
    assert not list(done.out.glob(".work-*"))


def test_the_key_is_known_before_the_work(done: RegisterRequest) -> None:
    assert expected_key(done) == Registration.load(done.out).key
    assert plan(done)["done already"] is True
    assert plan(changed(done, "2x2", overwrite=True))["done already"] is False


def test_a_lost_report_is_written_again_without_registering(done: RegisterRequest) -> None:
    stamp = (done.out / "registered.tif").stat().st_mtime_ns
    (done.out / "report.html").unlink()

    run_request(done, 1, None, no_progress)

    assert (done.out / "report.html").stat().st_size > 10_000
    assert (done.out / "registered.tif").stat().st_mtime_ns == stamp


def test_other_settings_do_not_replace_a_finished_run_unasked(done: RegisterRequest) -> None:
    before = (done.out / "registration.json").read_bytes()

    for call in (lambda request: run_request(request, 1, None, no_progress), plan):
        with pytest.raises(UsageError, match=r"blocks: 1x2 there, 2x1 here.*--overwrite"):
            call(changed(done, "2x1"))

    assert (done.out / "registration.json").read_bytes() == before


@pytest.mark.slow
def test_overwriting_keeps_the_landmarks_that_a_person_edited_in_the_folder(
    case: SynthCase, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = RegisterRequest(case.he, case.ihc, out, ONE_BLOCK, str(case.landmarks))
    run_request(first, 1, None, no_progress)
    edited = (out / "landmarks.csv").rename(out / "edited.csv")
    text = edited.read_text()

    run_request(changed(first, "1x2", landmarks=str(edited), overwrite=True), 1, None, no_progress)

    assert edited.read_text() == text
    assert Registration.load(out).settings.columns == 2


@pytest.mark.slow
def test_a_finished_run_stays_until_the_one_that_replaces_it_is_finished(
    case: SynthCase, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = RegisterRequest(case.he, case.ihc, out, ONE_BLOCK, str(case.landmarks))
    run_request(first, 1, None, no_progress)
    write_review(out, "accepted")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = changed(first, "1x2", overwrite=True)

    def stopped(stage: str, done: int, total: int) -> None:
        if stage == "blocks":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_request(other, 1, None, stopped)
    assert {name: (out / name).read_bytes() for name in before} == before

    run_request(other, 1, None, no_progress)

    assert Registration.load(out).settings.columns == 2
    assert Registration.load(out).review is None
    assert not list(out.glob(".*"))


def test_overwriting_keeps_what_a_person_put_into_the_folder(
    done: RegisterRequest, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(done.out, tmp_path / "run"))
    (run / "my notes.txt").write_text("seen by two")
    (run / "figures").mkdir()

    _clear(run, set())

    assert sorted(path.name for path in run.iterdir()) == ["figures", "my notes.txt"]


def test_truth_within_the_run_folder_is_not_written_over(
    done: RegisterRequest, case: SynthCase
) -> None:
    truth = str(done.out / "landmarks.csv")

    for request in (replace(done, truth=truth, overwrite=True), replace(done, pieces=truth)):
        with pytest.raises(UsageError, match="is read by this command"):
            plan(request)


def test_a_start_that_cannot_be_confirmed_ends_with_1_and_the_next_command(
    case: SynthCase,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blank = glass(tmp_path / "glass.png")
    words = ["register", case.he, blank, "--mpp-ihc", 0.46, "--out", tmp_path / "a run"]
    monkeypatch.setattr("sys.argv", ["bci-pipeline", *map(str, words), "--workers", "1"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "at 0.46 and 0.46 µm/px: is that right?" in told
    landmarks = str(tmp_path / "a run" / "landmarks.csv")
    shared = [str(case.he), str(blank), "--mpp-ihc", "0.46", "--landmarks", landmarks]
    pick, again = (shlex.split(line) for line in told.splitlines() if line.startswith("  "))
    assert pick[1:] == ["pick", *shared]
    assert again[1:] == ["register", *shared, "--out", str(tmp_path / "a run")]
    assert "Traceback" not in told
    page = (tmp_path / "a run" / "report.html").read_text("utf-8")
    assert str(tmp_path / "a run" / "report.html") in told
    assert page.count("data:image/jpeg") == 2
    assert "looks like H&amp;E" in page
    assert "looks like neither" in page
    assert "places compared" in page
    assert "bci-pipeline register HE IHC --mpp-ihc 0.46 --landmarks" in page
    assert str(tmp_path) not in page


def test_a_refusal_says_that_both_slides_look_like_one_stain(
    case: SynthCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise StartError("no initial alignment could be confirmed")

    other = shutil.copyfile(case.ihc, tmp_path / "other.ndpi")
    monkeypatch.setattr("pipeline.stages.register.register_pair", refuses)
    request = RegisterRequest(he=other, ihc=case.ihc, out=tmp_path / "run")

    with pytest.raises(StartError, match=r"Both slides look like IHC: two slides of one stain"):
        run_request(request, 1, None, no_progress)


@pytest.mark.parametrize("helps", [True, False])
def test_a_refusal_says_at_which_scale_the_sections_match(
    case: SynthCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    def refuses(*_: object) -> None:
        raise StartError("no initial alignment could be confirmed", picking_helps=helps)

    monkeypatch.setattr("registration.register.choose_starts", refuses)
    monkeypatch.setattr("registration.register.scale_doubt", lambda pair: "they match at 0.23")
    request = RegisterRequest(he=case.he, ihc=case.ihc, out=tmp_path / "run")

    with pytest.raises(StartError) as refused:
        run_request(request, 1, None, no_progress)

    assert ("confirmed. They match at 0.23" in str(refused.value)) == helps
    assert ("They match at 0.23" in (tmp_path / "run" / "report.html").read_text()) == helps


def test_a_verdict_of_fail_says_at_which_scale_the_sections_match(
    case: SynthCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registration.register.scale_doubt", lambda pair: "they match at 0.23")
    with open_slide(case.he) as he, open_slide(case.ihc) as ihc:
        pair = SlidePair(he, ihc)
        assert _doubted(("fail", ["51 %"]), pair) == ("fail", ["51 %", "they match at 0.23"])
        for verdict in ("pass", "review"):
            assert _doubted((verdict, ["why"]), pair) == (verdict, ["why"])


@pytest.mark.slow
def test_what_a_person_edited_after_a_failed_start_is_used_and_not_lost(
    case: SynthCase, tmp_path: Path
) -> None:
    out, other = tmp_path / "run", glass(tmp_path / "glass.png")
    request = RegisterRequest(case.he, other, out, ONE_BLOCK, mpp_ihc=0.46)
    with pytest.raises(StartError, match="bci-pipeline pick"):
        run_request(request, 1, None, no_progress)
    edited = "id,he_x,he_y,ihc_x,ihc_y,enabled\n1,1,2,3,4,true\n"
    (out / "landmarks.csv").write_text(edited)

    with pytest.raises(StartError):
        run_request(request, 1, None, no_progress)

    assert (out / "landmarks.csv").read_text() == edited


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--blocks", "4by4"), "--blocks: expected rows x columns up to 32, such as 4x4"),
        (("--blocks", "0x4"), "--blocks: expected rows x columns"),
        (("--blocks", "33x4"), "--blocks: expected rows x columns"),
        (("--channel", "violet"), "'violet' is not one of 'hematoxylin'"),
    ],
)
def test_options_that_make_no_sense(
    case: SynthCase, tmp_path: Path, words: tuple[str, str], message: str
) -> None:
    result = register(case.he, case.ihc, "--out", tmp_path / "new", *words)

    assert message in f"{result.output} {result.exception}"
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_touched(done: RegisterRequest, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(UsageError, match="something else"):
        run_request(replace(done, out=tmp_path, overwrite=True), 1, None, no_progress)

    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_a_folder_with_the_picked_landmarks_alone_is_ours(case: SynthCase, tmp_path: Path) -> None:
    picked = tmp_path / "picked.csv"
    picked.write_bytes(case.landmarks.read_bytes())
    request = RegisterRequest(case.he, case.ihc, tmp_path, ONE_BLOCK, str(picked))

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
    assert re.search(r"1024 x 1024 px, 0\.\d+ µm/px: 0\.\d x 0\.\d mm", planned["H&E"])
    assert not (tmp_path / "run").exists()


def test_exchanged_slides_are_told_before_the_work(case: SynthCase, tmp_path: Path) -> None:
    words = ("--out", tmp_path / "run", "--dry-run", "--json")

    assert "warnings" not in json.loads(register(case.he, case.ihc, *words).stdout)
    planned = json.loads(register(case.ihc, case.he, *words).stdout)

    assert planned["warnings"].startswith("the slides look exchanged")


def test_a_folder_in_the_place_of_a_slide_is_told(
    case: SynthCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    for words in ((".", case.ihc), (case.he, "."), ("", case.ihc)):
        assert ". is a folder, not a slide; give a file in it" in str(register(*words).exception)


@pytest.mark.parametrize(("verdict", "asked"), [("pass", False), ("review", True), ("fail", True)])
def test_a_doubtful_verdict_asks_for_scales_that_were_typed(
    done: RegisterRequest, verdict: Verdict, asked: bool
) -> None:
    found = replace(Registration.load(done.out), verdict=verdict)

    assert ("0.46 and 0.46 µm/px, given by hand: is that right?" in _summary(found, True)) == asked
    assert "given by hand" not in _summary(found, False)


def test_what_is_wrong_with_both_slides_is_said_at_once(tmp_path: Path) -> None:
    result = register(glass(tmp_path / "a.png"), glass(tmp_path / "b.png"), "--out", tmp_path / "o")

    assert "--mpp-he" in str(result.exception)
    assert "--mpp-ihc" in str(result.exception)


def test_a_finished_run_is_told_apart_from_one_just_made(
    done: RegisterRequest, case: SynthCase
) -> None:
    given = ("--landmarks", case.landmarks, "--truth", case.truth, "--blocks", "1x2")

    result = register(case.he, case.ihc, "--out", done.out, *given)

    assert result.exit_code == 0, result.output
    assert "done already, nothing to do" in result.stderr
    assert result.stdout.startswith("verdict   ")
    assert re.search(r"\nblocks    \d registered, \d without tissue, \d fell back\n", result.stdout)
    assert re.search(r"\nshift     .* µm is left \(median\), 90 % within ", result.stdout)
    assert "\nerror     after all steps: " in result.stdout


def test_a_refused_pair_answers_in_json_too(case: SynthCase, tmp_path: Path) -> None:
    blank = glass(tmp_path / "glass.png")
    words = ("--mpp-ihc", 0.46, "--out", tmp_path / "run", "--workers", 1, "--json")

    result = register(case.he, blank, *words)

    answer = json.loads(result.stdout)
    assert answer["verdict"] == "not registered"
    assert "no initial alignment" in answer["reasons"][0]
    assert answer["evidence"]["points"] >= 0
