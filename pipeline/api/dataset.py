"""Cutting patches from Python, and the dataset they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyarrow import parquet

from pipeline.api.arguments import Count, checked
from pipeline.api.reporting import ShowProgress, reporting
from pipeline.api.runs import Run
from pipeline.dataset.plan import REPORT_NAME
from pipeline.dataset.table import PARQUET_NAME
from pipeline.errors import UsageError
from pipeline.patches.settings import PatchSettings
from pipeline.split import SplitSettings
from pipeline.stages.patch import PatchRequest, read_dataset, run_patch
from registration.files.words import counted

RunLike = Run | str | Path


@dataclass(frozen=True, repr=False)
class PatchDataset:
    """A finished dataset of paired patches."""

    folder: Path
    record: dict[str, Any]
    """What ``dataset.json`` holds."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why cases had to be left out, by their names."""

    def __repr__(self) -> str:
        return f"<PatchDataset {self.folder}: {counted(self.record['kept'], 'pair')}>"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.folder / REPORT_NAME

    def table(self) -> Any:
        """Return one row per candidate pair: a pandas frame where pandas is installed.

        Else a :class:`pyarrow.Table`. The columns are those of ``docs/dataset.md``.
        """
        found = parquet.read_table(self.folder / PARQUET_NAME)
        try:
            import pandas  # noqa: F401  # pyarrow needs it for a frame
        except ImportError:
            return found
        return found.to_pandas()


@checked
def patch(
    runs: RunLike | Sequence[RunLike],
    out: str | Path,
    *,
    labels: str | Path | None = None,
    name: str | None = None,
    workers: Count | None = None,
    scheduler: str | None = None,
    progress: ShowProgress = True,
    **settings: Any,
) -> PatchDataset:
    """Cut paired patches from one or more finished registrations into the dataset folder ``out``.

    ``settings`` are those of ``patch`` and ``split`` in ``docs/settings.md``: ``size``, ``stride``,
    ``mpp``, ``max_shift_um``, ``test``, ``val``, ... Raises
    :class:`registration.errors.BciError` with the words of the command line.
    """
    several = [runs] if isinstance(runs, Run | str | Path) else runs
    if not several:
        raise UsageError("no run was given: patch needs at least one finished registration")
    of_split = {key: settings.pop(key) for key in SplitSettings.model_fields if key in settings}
    request = PatchRequest(
        runs=tuple(run.folder if isinstance(run, Run) else Path(run) for run in several),
        out=Path(out),
        settings=PatchSettings.of(settings),
        split=SplitSettings.of(of_split),
        labels=None if labels is None else Path(labels),
        name=name,
    )
    with reporting(progress) as report:
        outcome = run_patch(request, workers, scheduler, report)
    return PatchDataset(request.out, outcome.record, outcome.failed)


@checked
def open_dataset(folder: str | Path) -> PatchDataset:
    """Return a finished dataset; raises :class:`pipeline.errors.DatasetError`."""
    return PatchDataset(Path(folder), read_dataset(Path(folder)))
