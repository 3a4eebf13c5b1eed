"""Progress as plain lines: every tenth and every minute, with the time left."""

from __future__ import annotations

import io
import re

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import progress, train_progress
from pipeline.cli.app import app
from pipeline.cli.progress import plain_lines, progress_on_stderr
from pipeline.cli.train_progress import PlainProgress, training_progress

DATED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


def test_plain_lines_say_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    written = io.StringIO()
    report = plain_lines(Console(file=written, width=200), {"images": "scoring images"})

    for done in range(1, 41):
        now[0] += 30.0
        report("images", done, 1000)
    now[0] += 1.0
    report("images", 1000, 1000)

    dated = written.getvalue().splitlines()
    assert all(DATED.match(line) for line in dated)
    lines = [DATED.sub("", line) for line in dated]
    assert lines[:2] == ["scoring images: 1/1000", "scoring images: 3/1000, 8 h 18 min left"]
    assert len(lines) == 21, "every other image, a minute apart, and the last"
    assert lines[-1] == "scoring images: 1000/1000"


def test_a_stage_that_is_over_in_a_second_is_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    written = io.StringIO()
    report = plain_lines(Console(file=written, width=200), {})

    for done in range(1, 17):
        now[0] += 0.05
        report("quality", done, 16)

    lines = [DATED.sub("", line) for line in written.getvalue().splitlines()]
    assert lines == ["quality: 1/16", "quality: 16/16"]


def test_each_run_of_several_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(train_progress.time, "monotonic", lambda: now[0])
    written = io.StringIO()
    listener = PlainProgress(Console(file=written, width=200))

    for steps in (range(1, 4), range(1, 4), range(7, 10)):
        for step in steps:
            now[0] += 10.0
            listener.advanced(step, 11)
        now[0] += 600.0  # scoring

    lines = [DATED.sub("", line) for line in written.getvalue().splitlines()]
    of_a_whole_run = ["step 1/11", "step 2/11: 1 min 30 s left"]
    assert lines == [*of_a_whole_run, *of_a_whole_run, "step 7/11", "step 8/11: 30 s left"]


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_shows_no_progress_but_warnings(quiet: bool) -> None:
    shell = typer.Typer(callback=app.registered_callback.callback)  # type: ignore[union-attr]

    @shell.command()
    def work() -> None:
        with progress_on_stderr() as report:
            report("blocks", 1, 2)
        with training_progress() as listener:
            listener.advanced(1, 9)
            listener.note("caches are warm")
            listener.note("warning: no GPU")

    ended = CliRunner().invoke(shell, ["--quiet", "work"] if quiet else ["work"])

    assert ended.exit_code == 0
    for line in ("blocks: 1/2", "step 1/9", "caches are warm"):
        assert (line in ended.stderr) is not quiet
    assert "warning: no GPU" in ended.stderr


def test_stages_have_the_same_names_whichever_command_runs_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_on_stderr({"images": "scoring images"}) as report:
        report("start", 1, 1)
        report("coarse", 1, 1)

    said = capsys.readouterr().err
    assert [DATED.sub("", line) for line in said.splitlines()] == [
        "initial alignment: 1/1",
        "coarse non-rigid pass: 1/1",
    ]
