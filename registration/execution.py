"""Worker processes: the same plain functions on this machine or on a cluster.

elastix holds Python's lock for its whole call, so workers are single-threaded *processes*, run by
``dask.distributed``: a local cluster by default, or an existing one given by its scheduler's
address or scheduler file. With one worker and no scheduler the work runs in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, units done and units in all."""


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

    @property
    def address(self) -> str | None:
        """Where other processes reach the same workers; ``None`` where they cannot."""
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
    address = None

    def start(self, function: Callable[[], Any]) -> None:
        """Do nothing: the first task warms up by itself."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results one by one."""
        for task in tasks:
            yield function(task)


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
    from registration.cluster import connected, local_cluster  # dask takes 0.8 s to load

    with local_cluster(wanted) if scheduler is None else connected(scheduler) as pool:
        yield pool
