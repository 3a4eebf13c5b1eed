"""Processes of their own: listened to without waiting, cancelled, and never left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from napari_plugin.jobs import (
    STAGES,
    Job,
    JobProgress,
    RunRequest,
    read_progress,
    time_left,
    way_gone,
)
from pipeline.cli.progress import dated
from tests.patience import PATIENCE_S, lives, wait_for

TALKS = """
import sys
print("pass 1: 3/16", file=sys.stderr)
print("something else: here", file=sys.stderr)
print("pass 1: 16/16", file=sys.stderr)
print("the result")
"""
NEVER_ENDS_WITH_WORKERS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(f"worker: {worker.pid}/1", file=sys.stderr)
time.sleep(600)
"""
STOPS_WHEN_ASKED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests
try:
    print("work: 0/2", file=sys.stderr)
    time.sleep(600)
except KeyboardInterrupt:
    print("put away: 1/2", file=sys.stderr)
    time.sleep(0.5)
    print("put away", file=sys.stderr)
    sys.exit(130)
"""


def first_news(job: Job) -> JobProgress:
    news: list[JobProgress] = []
    wait_for(lambda: news.extend(job.news()) or news, "the process says something")
    return news[0]


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("coarse pass: 3/16\n", JobProgress("coarse pass", 3, 16)),
        ("error: slide not found: a/b.ndpi", None),
        ("it took 3/4 of an hour", None),
    ],
)
def test_progress_lines(line: str, progress: JobProgress | None) -> None:
    assert read_progress(line) == progress


def test_progress_lines_are_read_as_the_program_dates_them() -> None:
    line = dated("blocks: 3/16, 2 min 10 s left\n")

    assert read_progress(line) == JobProgress("blocks", 3, 16)


def test_progress_messages_and_output_are_told_apart() -> None:
    job = Job([sys.executable, "-c", TALKS])
    wait_for(lambda: not job.is_running, "its end")

    assert job.news() == [JobProgress("pass 1", 3, 16), JobProgress("pass 1", 16, 16)]
    assert job.said == ["something else: here"]
    assert job.output == "the result\n"
    assert (job.exit_code, job.was_cancelled) == (0, False)


def test_cancel_is_what_ctrl_c_does() -> None:
    job = Job([sys.executable, "-c", STOPS_WHEN_ASKED])
    first_news(job)

    job.cancel()
    first_news(job)  # it is putting its things away now ...
    job.cancel()  # ... which a second Ctrl+C would interrupt
    job.close(grace_s=PATIENCE_S)
    job.news()

    assert (job.exit_code, job.was_cancelled) == (130, True)
    assert job.said == ["put away"]


def test_a_process_that_does_not_listen_is_ended_with_its_workers() -> None:
    job = Job([sys.executable, "-c", NEVER_ENDS_WITH_WORKERS])
    worker = psutil.Process(first_news(job).done)

    job.close(grace_s=0.2)

    assert not job.is_running
    wait_for(lambda: not lives(worker), "the end of its worker")


def test_a_worker_that_ends_just_before_it_is_ended_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job([sys.executable, "-c", STOPS_WHEN_ASKED])
    first_news(job)
    monkeypatch.setattr(psutil.Process, "is_running", lambda process: True)  # a moment ago

    job.close(grace_s=PATIENCE_S)

    assert job.exit_code == 130


def test_the_way_is_one_over_all_stages() -> None:
    seen = [
        way_gone(JobProgress(stage, done, 4), with_image=image)
        for image in (False, True)
        for stage in STAGES
        for done in (0, 4)
        if image or stage != "registered slide"
    ]

    assert seen[:8] == sorted(seen[:8])
    assert seen[8:] == sorted(seen[8:])
    assert (seen[7], seen[-1]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert time_left(0.5, 30.0) == "about 30 s left"
    assert time_left(0.25, 100.0) == "about 5 min left"
    assert time_left(0.01, 1.0) == ""


def test_the_stages_are_those_that_register_names() -> None:
    from pipeline.cli.progress import STAGE_WORDS

    reported = ("start", "coarse", "blocks", "quality", "image")
    assert list(STAGES) == [STAGE_WORDS.get(stage, stage) for stage in reported]


def test_the_command_shown_is_the_command_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = RunRequest(
        Path("my slides/he.ndpi"),
        Path("ihc.ndpi"),
        Path("pairs.csv"),
        Path("runs/one"),
        recipe="paper",
        blocks="2x2",
        image=False,
        mpp_he=0.25,
        overwrite=True,
    )

    assert request.shown == (
        f"bci-pipeline register '{tmp_path}/my slides/he.ndpi' {tmp_path}/ihc.ndpi "
        f"--out {tmp_path}/runs/one --landmarks {tmp_path}/pairs.csv "
        "--recipe paper --blocks 2x2 --mpp-he 0.25 --no-image --overwrite"
    )
    assert request.command[4:] == request.arguments
