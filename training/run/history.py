"""What a run writes down as it goes: ``history.csv``, ``validation.csv``, TensorBoard; its progress."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from registration.files.storage import naming, write_text

HISTORY, VALIDATION = "history.csv", "validation.csv"


@dataclass(frozen=True)
class StepRecord:
    """Means over the steps since the last record."""

    epoch: int
    step: int
    """Steps done since the start of training."""
    total_steps: int
    lr: float
    losses: Mapping[str, float]
    images_per_s: float
    waiting: float
    """Share of the time spent waiting for images."""
    remaining_s: float


@dataclass(frozen=True)
class ValidationRecord:
    """Mean scores over the held-out pairs after ``epoch`` whole epochs."""

    epoch: int
    step: int
    scores: Mapping[str, float]
    best: bool


class Listener:
    """Someone who wants to know how training goes; this one does not listen."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def preparing(self, stage: str, done: int, total: int) -> None:
        """Pairs that are ready so far, of what comes before training: measured, decoded."""

    def advanced(self, step: int, total: int) -> None:
        """One more step is done; the device may still be at it."""

    def stepped(self, record: StepRecord) -> None:
        """Some more steps are done, with these losses."""

    def validated(self, record: ValidationRecord) -> None:
        """The generator was scored."""


class Forwarder(Listener):
    """A listener that passes on how far a run is."""

    def __init__(self, report: Callable[[str, int, int], object]) -> None:
        self._report = report

    def preparing(self, stage: str, done: int, total: int) -> None:
        """Pass it on."""
        self._report(stage, done, total)

    def advanced(self, step: int, total: int) -> None:
        """Pass it on."""
        self._report("training", step, total)


@dataclass
class Meter:
    """Adds up losses on their device, so that a GPU is not interrupted at every step."""

    _sums: dict[str, Tensor] = field(default_factory=dict)
    _steps: int = 0
    _images: int = 0
    _began: float = field(default_factory=time.perf_counter)
    _waited_s: float = 0.0

    def add(self, losses: Mapping[str, Tensor], images: int) -> None:
        """Add one step."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._steps += 1
        self._images += images

    @property
    def steps(self) -> int:
        """Steps added since the last reading."""
        return self._steps

    def means(self) -> dict[str, float]:
        """Return the mean of each loss; waits for the device."""
        if not self._sums:
            return {}
        values = torch.stack([value.float() for value in self._sums.values()]).tolist()
        return {k: v / self._steps for k, v in zip(self._sums, values, strict=True)}

    def read(self, waited_s: float) -> tuple[dict[str, float], float, float, float]:
        """Return mean losses, images/s, waiting share and seconds per step, and start anew.

        ``waited_s`` is the time spent waiting since the start of the run.
        """
        means = self.means()
        passed = max(time.perf_counter() - self._began, 1e-9)
        waiting = (waited_s - self._waited_s) / passed
        images, steps = self._images, self._steps
        self.restart(waited_s)
        return means, images / passed, waiting, passed / max(steps, 1)

    def restart(self, waited_s: float) -> None:
        """Forget everything; time starts again."""
        self._sums, self._steps, self._images = {}, 0, 0
        self._began, self._waited_s = time.perf_counter(), waited_s


def broken_losses(losses: Mapping[str, float]) -> str:
    """Return, in words, which losses are NaN or infinite; empty when none is."""
    return ", ".join(f"{k} is {v}" for k, v in losses.items() if not math.isfinite(v))


class CsvLog:
    """A CSV file that grows by a row at a time and can be cut back to an earlier step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; the first one names the columns. A file of others is damaged and begun anew."""
        fresh = self._columns() != list(row)
        mode = "w" if fresh else "a"
        with naming(self._path), self._path.open(mode, encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def _columns(self) -> list[str]:
        """Return the names in the first line; none where there is no such line."""
        try:
            with self._path.open(encoding="utf-8", errors="replace", newline="") as file:
                return next(csv.reader(file), [])
        except (FileNotFoundError, csv.Error):
            return []

    def rows(self) -> list[dict[str, str]]:
        """Return all whole rows; a last line cut off by a kill does not count."""
        if not self._path.exists():
            return []
        text = self._path.read_text("utf-8", "replace").replace("\0", "")
        whole = text[: text.rfind("\n") + 1]
        try:
            return list(csv.DictReader(io.StringIO(whole)))
        except csv.Error:
            return []

    def cut(self, step: int) -> None:
        """Drop rows after ``step``, which a resumed run writes again, and damaged ones."""
        rows = [
            row for row in self.rows() if (row.get("step") or "").isdecimal() and None not in row
        ]
        kept = [row for row in rows if int(row["step"]) <= step]
        if not kept:
            self._path.unlink(missing_ok=True)
            return
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(kept[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(kept)
        write_text(self._path, out.getvalue())


class RunLog:
    """Writes every record to CSV, and to TensorBoard where it is wanted and installed.

    What an earlier, killed run wrote down after ``step`` is dropped. Only the first of several
    processes writes (``writing``).
    """

    def __init__(self, folder: Path, tensorboard: bool, step: int, writing: bool) -> None:
        self._history, self._validation = CsvLog(folder / HISTORY), CsvLog(folder / VALIDATION)
        self._writing = writing
        self._board: Any = None
        if writing:
            self._history.cut(step)
            self._validation.cut(step)
            self._events = folder / "tensorboard"
            with naming(self._events):
                self._board = _board(self._events, step) if tensorboard else None

    def stepped(self, record: StepRecord) -> None:
        """Write down some more steps."""
        if not self._writing:
            return
        row = {"epoch": record.epoch, "step": record.step, "lr": f"{record.lr:.6g}"}
        row |= {name: f"{value:.6g}" for name, value in record.losses.items()}
        speed = {"images_per_s": record.images_per_s, "waiting": record.waiting}
        self._history.append(row | {name: f"{value:.4g}" for name, value in speed.items()})
        self._plot("loss", record.losses, record.step)
        self._plot("speed", speed | {"lr": record.lr}, record.step)

    def validated(self, record: ValidationRecord) -> None:
        """Write down scores."""
        row = {"epoch": record.epoch, "step": record.step}
        self._validation.append(row | {k: f"{v:.6g}" for k, v in record.scores.items()})
        self._plot("validation", record.scores, record.step)

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self._board is not None:
            with naming(self._events):
                self._board.close()

    def _plot(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            with naming(self._events):
                for name, value in values.items():
                    self._board.add_scalar(f"{group}/{name}", value, step)


def _board(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer that overwrites what came after ``step``; ``None`` without it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def read_numbers(rows: Sequence[Mapping[str, str]]) -> dict[str, list[float]]:
    """Return a table's columns as numbers; what is no number becomes NaN."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, text in row.items():
            try:
                value = float(text)
            except (TypeError, ValueError):
                value = math.nan
            columns.setdefault(name, []).append(value)
    return columns
