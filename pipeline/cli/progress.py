"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from registration.files.words import duration

SAY_EVERY_S = 60.0
SAY_NOT_BEFORE_S = 1.0
WORTH_SAYING_S = 10.0

STAGE_WORDS = {
    "start": "initial alignment",
    "coarse": "coarse non-rigid pass",
    "image": "registered slide",
    "alignment": "alignment of patches",
}
"""How stages are called that their code calls shorter."""

QUIET = ContextVar("QUIET", default=False)
"""Whether the command that runs was asked to show no progress."""

Report = Callable[[str, int, int], None]


def stderr_console() -> Console:
    """Return where progress is shown; ``bci-pipeline --quiet`` shows none."""
    return Console(stderr=True, highlight=False, quiet=QUIET.get())


def dated(line: str) -> str:
    """Put the local time before a line: the log of a batch job is read hours later."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"


@contextmanager
def progress_on_stderr(names: dict[str, str] | None = None) -> Iterator[Report]:
    """Give a function ``report(stage, done, total)``; ``names`` says how to call more stages."""
    names = STAGE_WORDS | (names or {})
    console = stderr_console()
    if not console.is_terminal:
        yield plain_lines(console, names)
        return
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(names.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def plain_lines(console: Console, names: dict[str, str]) -> Report:
    """Report each stage at about every tenth of the way and every minute, not twice in a second."""
    said: dict[str, tuple[int, float]] = {}
    begun: dict[str, tuple[int, float]] = {}

    def report(stage: str, done: int, total: int) -> None:
        tenth, now = 10 * done // max(total, 1), time.monotonic()
        first, since = begun.setdefault(stage, (done, now))
        if stage in said:
            last, ago = said[stage][0], now - said[stage][1]
            if ago < SAY_EVERY_S and (last == tenth or (ago < SAY_NOT_BEFORE_S and done < total)):
                return
        said[stage] = tenth, now
        left = ""
        if first < done < total and now - since > WORTH_SAYING_S:
            left = f", {duration((now - since) / (done - first) * (total - done))} left"
        name = names.get(stage, stage)
        console.print(dated(f"{name}: {done}/{total}{left}"), soft_wrap=True)

    return report
