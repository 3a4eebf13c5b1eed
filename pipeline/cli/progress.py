"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

Report = Callable[[str, int, int], None]


@contextmanager
def progress_on_stderr(names: dict[str, str] | None = None) -> Iterator[Report]:
    """Give a function ``report(stage, done, total)``; ``names`` says how to call the stages."""
    names = names or {}
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console, names)
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


def _plain_lines(console: Console, names: dict[str, str]) -> Report:
    """Report each stage at about every tenth of the way, one line each."""
    said: dict[str, int] = {}

    def report(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if said.get(stage) == tenth:
            return
        said[stage] = tenth
        console.print(f"{names.get(stage, stage)}: {done}/{total}", highlight=False, soft_wrap=True)

    return report
