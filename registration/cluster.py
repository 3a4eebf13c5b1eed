"""Workers as processes: those of a dask cluster that exists, or some started on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import dask
from distributed import Client, LocalCluster, wait
from distributed.comm import CommClosedError, connect
from distributed.scheduler import KilledWorker

from registration.children import files_may_be_open, python
from registration.children import start as start_child
from registration.errors import RegistrationError

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_WAITING_PER_WORKER = 3
"""Units handed out ahead of the one whose result is wanted next; bounds memory."""

ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Of a worker: one thread each, memory given back; what the user's environment says goes first."""

FILES_PER_WORKER = 6
"""Pipes and connections that this process holds for each worker, and for a unit's files."""
POLL_S = 0.05
PATIENCE_S = 2.0
"""How often somebody who waits for a unit looks whether there still are workers."""
GRACE_S = 2.0
CONNECT_S = 10.0
EARLY_S = 10.0
MOST_FAILURES = 6
"""So many workers in a row that die within EARLY_S seconds are enough."""

SETTINGS = {
    # A worker that dies of one unit is not retried for ever; large results are ours to bound.
    "distributed.scheduler.allowed-failures": 2,
    "distributed.admin.large-graph-warning-threshold": "1GB",
}


class Cluster:
    """The workers of a dask cluster."""

    def __init__(self, client: Any, check: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._check = check
        self._warm: list[Any] = []

    @property
    def address(self) -> str:
        """Where the scheduler answers."""
        return str(self._client.scheduler.address)

    @property
    def count(self) -> int:
        """Number of workers the scheduler knows now."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def start(self, function: Callable[[], Any]) -> None:
        """Run ``function`` once on every worker, without waiting for it."""
        workers = list(self._client.scheduler_info(n_workers=-1)["workers"])
        self._warm = [
            self._client.submit(function, workers=[worker], pure=False) for worker in workers
        ]

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results in order; a worker's death moves its unit to another worker.

        Raises :class:`RegistrationError` where a unit kills one worker after another.
        """
        ahead = MAX_WAITING_PER_WORKER * self.count
        waiting: list[Any] = []
        try:
            for task in tasks:
                waiting.append(self._client.submit(function, task, pure=False))
                if len(waiting) > ahead:
                    yield _result(waiting.pop(0), self._check)
            while waiting:
                yield _result(waiting.pop(0), self._check)
        finally:
            if waiting:
                self._client.cancel(waiting)


def _result(future: Any, check: Callable[[], None]) -> Any:
    """Wait for a unit's result; say in words what became of its workers or of their scheduler."""
    try:
        while not future.done():
            with suppress(TimeoutError):
                wait(future, timeout=PATIENCE_S)
            check()
        return future.result()
    except KilledWorker as error:
        raise RegistrationError(
            "worker processes died again and again at the same piece of work: most likely there is "
            "too little memory for so many workers. Use fewer (--workers)."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise RegistrationError(
            "the scheduler of the workers is gone, and the unfinished work with it. Start it again, "
            "then the same command, which goes on where it stopped."
        ) from error


class LocalWorkers:
    """Worker processes of this machine, each replaced when it dies.

    A worker that cannot even begin, time after time, is given up: :meth:`check` then says why.
    """

    def __init__(self, address: str, count: int, stderr: IO[bytes]) -> None:
        self._address = address
        self._stderr = stderr
        self._failures = 0
        self._closing = threading.Event()
        self._started = [self._start() for _ in range(count)]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._watcher.join()
        processes = [process for process, _ in self._started]
        for process in processes:
            process.terminate()
        end = time.monotonic() + GRACE_S
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            process.kill()
            process.communicate()

    def check(self) -> None:
        """Raise :class:`RegistrationError` where workers do not start."""
        if self._failures < MOST_FAILURES:
            return
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        reasons = [line.strip() for line in lines if "rror" in line]
        raise RegistrationError(
            f"worker processes do not start: {(reasons or ['they end without a word'])[-1]}. "
            "Try --workers 1, which needs none."
        )

    def _start(self) -> tuple[subprocess.Popen[bytes], float]:
        process = start_child(
            python("-m", "registration.worker", self._address),
            env={name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()},
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            start_new_session=True,
        )
        return process, time.monotonic()

    def _watch(self) -> None:
        while not self._closing.wait(POLL_S):
            for number, (process, begun) in enumerate(self._started):
                if process.poll() is None:
                    continue
                early = time.monotonic() - begun < EARLY_S
                self._failures = self._failures + 1 if early else 0
                if self._failures < MOST_FAILURES:
                    process.communicate()
                    self._started[number] = self._start()


@contextmanager
def local_cluster(count: int) -> Iterator[Cluster]:
    """Give ``count`` workers on this machine. Raises :class:`RegistrationError` if they do not start."""
    if not files_may_be_open(FILES_PER_WORKER * count):
        raise RegistrationError(
            f"{count} workers need more open files than this machine allows: raise the limit "
            "(ulimit -n 1024), or use fewer (--workers 1)"
        )
    with (
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=0,
            protocol="tcp://",
            dashboard_address=None,
            # Without a dashboard too the scheduler opens a port, and warns when another run has
            # the usual one.
            scheduler_kwargs={"dashboard_address": ":0"},
            silence_logs=50,
        ) as scheduler,
        Client(scheduler) as client,
        tempfile.TemporaryFile() as stderr,
        LocalWorkers(scheduler.scheduler_address, count, stderr) as pool,
    ):
        while len(client.scheduler_info(n_workers=-1)["workers"]) < count:
            pool.check()
            time.sleep(POLL_S)
        yield Cluster(client, pool.check)


@contextmanager
def connected(scheduler: str) -> Iterator[Cluster]:
    """Give the workers behind a scheduler's address or scheduler file.

    Raises :class:`RegistrationError` where none answers.
    """
    with dask.config.set(SETTINGS), _client(scheduler) as client:
        yield Cluster(client)


def _client(scheduler: str) -> Any:
    """Connect to an existing scheduler."""
    try:
        address = scheduler if "://" in scheduler else _address_in(Path(scheduler))
        with ThreadPoolExecutor(1) as pool:  # in a notebook's own thread a loop runs already
            pool.submit(asyncio.run, _greet(address)).result()
        return Client(address, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise RegistrationError(
            f"no dask scheduler answers at {scheduler}: {str(error) or 'whatever is there says nothing'}. "
            "Start one with `dask scheduler` and workers with `dask worker ADDRESS --nthreads 1`."
        ) from error


async def _greet(address: str) -> None:
    """Raise :class:`TimeoutError` where nothing answers: dask would wait for a greeting for ever."""
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_S), 2 * CONNECT_S)
    comm.abort()


def _address_in(file: Path) -> str:
    """Return the address in a scheduler file."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("this is no scheduler file, which is JSON with an address") from error
