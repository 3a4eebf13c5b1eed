"""How training goes, on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cli.progress import SAY_EVERY_S, dated, plain_lines, stderr_console
from registration.files.words import duration
from training.run.history import Listener, StepRecord, ValidationRecord


@contextmanager
def training_progress() -> Iterator[Listener]:
    """Give a listener for :func:`training.run.loop.train`."""
    console = stderr_console()
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield LiveProgress(console, bars)


class PlainProgress(Listener):
    """One line per record."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = plain_lines(console, {})
        self._first, self._last = (0, 0.0), -1
        """Of the run at hand the first step and when it was done, and the last step."""
        self._said_at = 0.0

    def note(self, text: str) -> None:
        """Print it; warnings in yellow, and even where no progress is wanted."""
        if not text.startswith("warning"):
            self._console.print(f"[dim]{escape(text)}[/]", soft_wrap=True)
        else:
            console = Console(stderr=True) if self._console.quiet else self._console
            console.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)

    def preparing(self, stage: str, done: int, total: int) -> None:
        """Print about every tenth of the way, with the time left."""
        self._lines(stage, done, total)

    def advanced(self, step: int, total: int) -> None:
        """Print the time left soon after the start, and then about every minute."""
        now = time.monotonic()
        begins, self._last = step != self._last + 1, step
        if begins:  # also another run, such as the next row of a table
            self._first = step, now
            self._said_at = now
            self._line(f"step {step}/{total}")
            return
        first, begun = self._first
        if step == first + 1 or now - self._said_at > SAY_EVERY_S:
            left = duration((now - begun) / (step - first) * (total - step))
            self._line(f"step {step}/{total}: {left} left")
            self._said_at = now

    def stepped(self, record: StepRecord) -> None:
        """Print losses, speed and the time left."""
        self._said_at = time.monotonic()
        self._line(f"step {record.step}/{record.total_steps}: {state_of(record)}")

    def validated(self, record: ValidationRecord) -> None:
        """Print the scores."""
        self._line(scores_of(record))

    def _line(self, text: str) -> None:
        self._console.print(dated(text), soft_wrap=True)


class LiveProgress(PlainProgress):
    """Bars; notes and scores scroll above them."""

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def preparing(self, stage: str, done: int, total: int) -> None:
        """Move the bar of the stage."""
        self._bars.update(self._task(stage), completed=done, total=total)

    def advanced(self, step: int, total: int) -> None:
        """Move the bar of training."""
        self._bars.update(self._task("training"), completed=step, total=total)

    def stepped(self, record: StepRecord) -> None:
        """Say beside the bar of training how it goes."""
        self._bars.update(self._task("training"), state=state_of(record))

    def _task(self, stage: str) -> TaskID:
        """Return the bar of a stage, which appears when it is first used."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, state="")
        return self._tasks[stage]


def state_of(record: StepRecord) -> str:
    """Return losses, speed, waiting and time left in a few words."""
    losses = " ".join(f"{name} {value:.3g}" for name, value in record.losses.items())
    return (
        f"{losses} · {record.images_per_s:.3g} images/s, waiting {100 * record.waiting:.0f} % · "
        f"{duration(record.remaining_s)} left"
    )


def scores_of(record: ValidationRecord) -> str:
    """Return the scores of a validation in words."""
    scores = ", ".join(f"{name.upper()} {value:.4g}" for name, value in record.scores.items())
    return f"after epoch {record.epoch}: {scores}{' (best so far)' if record.best else ''}"
