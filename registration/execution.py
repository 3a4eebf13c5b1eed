"""Worker processes: the same plain functions on this machine or on a cluster.

elastix holds Python's lock for its whole call, so workers are single-threaded *processes*, run by
``dask.distributed``: a local cluster by default, or an existing one given by its scheduler's
address or scheduler file. With one worker and no scheduler the work runs in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from registration.errors import RegistrationError

Task = TypeVar("Task")
Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, units done and units in all."""

MAX_WAITING_PER_WORKER = 3
"""Units handed out ahead of the one whose result is wanted next; bounds memory."""


def usable_cores() -> int:
    """Return how many cores this process may run on: affinity and a container's share count."""
    from dask.system import cpu_count

    return int(cpu_count())


def no_progress(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def prefixed(name: str, progress: Progress) -> Progress:
    """Return ``progress`` with the name of a case before each stage's."""

    def report(stage: str, done: int, total: int) -> None:
        progress(f"{name}: {stage}", done, total)

    return report


class Workers(Protocol):
    """Something that runs a function on many tasks."""

    @property
    def count(self) -> int:
        """Number of workers."""
        ...

    def start(self, function: Callable[[], Any]) -> None:
        """Run ``function`` once on every worker, without waiting for it."""
        ...

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results in the order of ``tasks``, working ahead by a bounded number."""
        ...


class InProcess:
    """One worker: this process."""

    count = 1

    def start(self, function: Callable[[], Any]) -> None:
        """Do nothing: the first task warms up by itself."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results one by one."""
        for task in tasks:
            yield function(task)


class Cluster:
    """The workers of a dask cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._warm: list[Any] = []

    @property
    def address(self) -> str:
        """Where the scheduler answers, for other processes to use the same workers."""
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
                    yield _result(waiting.pop(0))
            while waiting:
                yield _result(waiting.pop(0))
        finally:
            if waiting:
                self._client.cancel(waiting)


def _result(future: Any) -> Any:
    """Return a unit's result; say in words that its workers died."""
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise RegistrationError(
            "worker processes died again and again at the same piece of work: most likely there is "
            "too little memory for so many workers. Use fewer (--workers)."
        ) from error


@contextmanager
def workers(count: int | None = None, scheduler: str | None = None) -> Iterator[Workers]:
    """Give ``count`` workers (default: one per core), or those behind ``scheduler``.

    ``scheduler`` is an address (``tcp://host:8786``) or the path of a scheduler file. Raises
    :class:`RegistrationError` when no scheduler answers there.
    """
    wanted = count or usable_cores()
    if scheduler is None and wanted == 1:
        yield InProcess()
        return
    import dask
    from distributed import Client, LocalCluster

    # A worker that dies of one unit is not retried for ever; large results are ours to bound.
    settings = {
        "distributed.scheduler.allowed-failures": 2,
        "distributed.admin.large-graph-warning-threshold": "1GB",
    }
    with dask.config.set(settings):
        if scheduler is not None:
            with _connected(Client, scheduler) as client:
                yield Cluster(client)
            return
        with (
            LocalCluster(
                n_workers=wanted,
                threads_per_worker=1,
                processes=True,
                memory_limit=None,
                dashboard_address=None,
                # Without a dashboard too the scheduler opens a port, and warns when another run
                # has the usual one.
                scheduler_kwargs={"dashboard_address": ":0"},
                silence_logs=50,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield Cluster(client)


def _connected(client_type: Any, scheduler: str) -> Any:
    """Connect to an existing scheduler."""
    try:
        if "://" in scheduler:
            return client_type(scheduler, timeout="10s")
        return client_type(scheduler_file=scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise RegistrationError(
            f"no dask scheduler answers at {scheduler}: {error}. "
            "Start one with `dask scheduler` and workers with `dask worker ADDRESS --nthreads 1`."
        ) from error
