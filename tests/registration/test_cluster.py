"""Workers in processes of their own: replaced when they die, and clear words where there are none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registration import cluster
from registration.children import environment, python
from registration.errors import RegistrationError
from registration.execution import workers
from tests.patience import wait_for


def die_once(path: Path) -> int:
    """Kill this worker at the first call."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def slow(number: int) -> int:
    time.sleep(0.2)
    return number


def timeout(_: int) -> None:
    raise TimeoutError("of the unit itself")


def test_a_worker_that_dies_is_replaced_and_its_unit_done(tmp_path: Path) -> None:
    with workers(2) as pool:
        assert pool.count == 2
        found = list(pool.map(die_once, [tmp_path / "mark"] * 3))
        wait_for(lambda: pool.count == 2, "there are two workers again")

    assert len(found) == 3


@pytest.mark.slow
def test_a_unit_that_kills_every_worker_is_given_up() -> None:
    with workers(2) as pool, pytest.raises(RegistrationError, match="too little memory"):
        list(pool.map(die, [1]))


def test_a_units_own_timeout_is_its_own() -> None:
    with workers(2) as pool, pytest.raises(TimeoutError, match="of the unit itself"):
        list(pool.map(timeout, [1]))


def test_workers_that_cannot_start_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ENVIRONMENT", {"PYTHONHASHSEED": "no number"})

    with pytest.raises(RegistrationError, match=r"do not start: .*PYTHONHASHSEED"), workers(2):
        pass


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a program that takes calls and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_an_address_that_says_nothing_ends_within_half_a_minute(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * cluster.CONNECT_S < 30
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    begun = time.monotonic()

    with (
        pytest.raises(RegistrationError, match=f"no dask scheduler answers at {silent}"),
        workers(None, silent),
    ):
        pass

    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), ("", "no scheduler file"), ("[1]", "no scheduler file")],
)
def test_a_scheduler_file_that_is_none(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "scheduler.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(RegistrationError, match=words), workers(None, str(file)):
        pass


def test_a_scheduler_that_is_killed_ends_the_work_clearly(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    words = ("-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    scheduler = subprocess.Popen(
        python(*words, "--scheduler-file", str(file)),
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: file.exists() and file.stat().st_size, "the scheduler")

    with workers(None, str(file)) as pool:
        units = pool.map(slow, range(50))  # nobody works there: all of them wait
        threading.Timer(1.0, scheduler.kill).start()
        with pytest.raises(RegistrationError, match="scheduler of the workers is gone"):
            next(units)
    scheduler.wait()


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["scheduler", "worker"])
def test_a_minute_without_the_scheduler_or_a_worker_costs_a_minute(
    tmp_path: Path, stopped: str
) -> None:
    file = tmp_path / "scheduler.json"
    ours = {"env": environment(), "stderr": subprocess.DEVNULL}
    named = ("--scheduler-file", str(file))
    local = ("--host", "127.0.0.1", "--no-dashboard")
    words = python("-m", "dask", "scheduler", *local, "--port", "0", *named)
    processes = {"scheduler": subprocess.Popen(words, **ours)}  # type: ignore[call-overload]
    words = python("-m", "dask", "worker", *named, "--nthreads", "1", *local, "--no-nanny")
    processes["worker"] = subprocess.Popen(words, **ours)  # type: ignore[call-overload]
    try:
        wait_for(lambda: file.exists() and file.stat().st_size, "the scheduler")
        with workers(None, str(file)) as pool:
            units = pool.map(slow, range(5))
            assert next(units) == 0
            processes[stopped].send_signal(signal.SIGSTOP)
            threading.Timer(60.0, lambda: processes[stopped].send_signal(signal.SIGCONT)).start()
            assert list(units) == [1, 2, 3, 4]
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
