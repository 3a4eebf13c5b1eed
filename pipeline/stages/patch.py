"""The ``patch`` command: from run folders to a finished dataset."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.dataset.assemble import assemble, table_of
from pipeline.dataset.folder import check_replaceable, finished_dataset_key, tidy
from pipeline.dataset.plan import RECORD_NAME, DatasetPlan
from pipeline.dataset.summary import DatasetCase
from pipeline.dataset.table import CSV_NAME, write_tables
from pipeline.errors import DatasetError, NoPairsError, PipelineError, UsageError
from pipeline.labels import read_labels
from pipeline.patches.case import FAILED, case_key, cut_case, exclusion, grid_of, is_failure
from pipeline.patches.measurement import MEASURED_NAME, candidate_boxes
from pipeline.patches.settings import PatchSettings
from pipeline.split import Label, SplitSettings, assign_splits, check_leakage, oddities
from registration.errors import RegistrationError, RunError
from registration.execution import Progress, prefixed, usable_cores, workers
from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder, resolved
from registration.files.text import read_json
from registration.result import Registration
from registration.tissue import TissueMap

WORK = ".work"
BYTES_PER_PIXEL = {"png": 1.3, "webp": 0.8, "jpeg": 0.5}
"""Of one image, measured on BCI and synthetic patches."""

MAIN_GIB, WORKER_GIB = 0.4, 0.35


@dataclass(frozen=True)
class PatchRequest:
    """What a user asks ``patch`` for."""

    runs: tuple[Path, ...]
    out: Path
    settings: PatchSettings = PatchSettings()
    split: SplitSettings = SplitSettings()
    labels: Path | None = None
    name: str | None = None
    overwrite: bool = False
    """Whether a dataset made otherwise may be replaced."""

    @property
    def cases(self) -> dict[str, Path]:
        """Run folders by case name.

        Raises :class:`UsageError` for a folder that is not there, and for names that occur twice.
        """
        files = [str(run) for run in self.runs if run.is_file()]
        if files:
            raise UsageError(
                f"{', '.join(files)} is a file; name the folder that `register` wrote, of slides that "
                "are registered"
            )
        missing = [str(run) for run in self.runs if not run.is_dir()]
        if missing:
            raise UsageError(f"there is no folder {', '.join(missing)}; name what `register` wrote")
        names = Counter(resolved(run).name for run in self.runs)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise UsageError(
                f"more than one run folder is called {', '.join(twice)}; cases need names of their own"
            )
        return {resolved(run).name: run for run in self.runs}


@dataclass(frozen=True)
class PatchOutcome:
    """A finished dataset, what had to be left out of it, and what to know about it."""

    record: dict[str, Any]
    """What ``dataset.json`` holds."""
    failed: dict[str, str]
    """Reasons by case; cases that a person left out are not among them."""
    notes: tuple[str, ...] = ()


@one_at_a_time(lambda request, *_: request.out)
def run_patch(
    request: PatchRequest, count: int | None, scheduler: str | None, progress: Progress
) -> PatchOutcome:
    """Cut all runs and assemble the dataset.

    A run that cannot be used is left out and named. Raises :class:`UsageError` for contradictory
    options and a folder of something else; :class:`DatasetError` before any work where a patient or
    a slide would be in two splits; :class:`NoPairsError` after it where no pair is left.
    """
    planned = _planned(request)
    plan = _plan(request, planned)
    failed = {
        case.name: case.excluded
        for case in planned
        if case.excluded is not None and is_failure(case.excluded)
    }
    notes = _check_splits(request, planned)
    if finished_dataset_key(request.out) == plan.key:
        tidy(request.out)
        _keep_measurements(request.out / WORK)
        return PatchOutcome(read_dataset(request.out), failed, notes)
    check_replaceable(plan, request.out, request.overwrite)
    work = request.out / WORK
    cut: list[DatasetCase] = []
    with workers(count, scheduler) as pool:
        for case in planned:
            if case.excluded:
                cut.append(case)
                continue
            try:
                run = request.cases[case.name]
                named = prefixed(case.name, progress)
                patches = cut_case(run, work / case.name, request.settings, pool, named)
                cut.append(replace(case, patches=patches))
            except (RegistrationError, PipelineError) as error:
                failed[case.name] = str(error)
                cut.append(replace(case, key=None, excluded=f"{FAILED}{error}"))
    done = _plan(request, cut)
    try:
        assemble(done, request.out)
    except NoPairsError as error:
        write_tables(work, table_of(done)[0])
        raise NoPairsError(f"{error} The scores are in {work / CSV_NAME}.") from error
    _keep_measurements(work)
    return PatchOutcome(read_dataset(request.out), failed, notes)


def _keep_measurements(work: Path) -> None:
    """Remove what was cut, and keep what was measured: other thresholds measure nothing again."""
    for path in [*work.glob("*"), *work.glob("*/*")]:
        if path.is_dir() and path.parent != work:
            shutil.rmtree(path)
        elif path.is_file() and path.name != MEASURED_NAME:
            path.unlink()


def plan_patches(request: PatchRequest, count: int | None) -> list[dict[str, object]]:
    """Return, per case, what ``count`` workers would cut, with disk and memory, without cutting.

    Raises what :func:`run_patch` would refuse.
    """
    settings = request.settings
    gib = MAIN_GIB + (count or usable_cores()) * WORKER_GIB
    planned = _planned(request)
    check_replaceable(_plan(request, planned), request.out, request.overwrite)
    _check_splits(request, planned)
    plans: list[dict[str, object]] = []
    for case in planned:
        plan: dict[str, object] = {"case": case.name}
        if case.excluded:
            plans.append(plan | {"excluded": case.excluded})
            continue
        pair = Registration.load(request.cases[case.name]).open_pair()
        grid = grid_of(pair, settings)
        boxes = candidate_boxes(grid, TissueMap.of(pair.fixed_slide))
        pair_bytes = 2 * settings.size**2 * BYTES_PER_PIXEL[settings.format]
        plans.append(
            plan
            | {
                "positions": grid.rows * grid.columns,
                "candidates": len(boxes),
                "disk": f"at most {len(boxes) * pair_bytes / 2**20:.0f} MiB",
                "memory": f"about {gib:.1f} GiB",
            }
        )
    return plans


def read_dataset(folder: Path) -> dict[str, Any]:
    """Return ``dataset.json``. Raises :class:`DatasetError` where it is missing or damaged."""
    if not (folder / RECORD_NAME).exists():
        raise DatasetError(f"{folder} holds no finished dataset: {RECORD_NAME} is missing")
    record = read_json(folder / RECORD_NAME, DatasetError)
    if not isinstance(record, dict):
        raise DatasetError(f"{folder / RECORD_NAME} is damaged: {folder} is no finished dataset")
    return record


def _planned(request: PatchRequest) -> list[DatasetCase]:
    """Return the cases with all that is known before anything is cut."""
    check_folder(request.out, [*request.runs, *([request.labels] if request.labels else [])])
    cases = request.cases
    if request.labels is None:
        labels = {name: Label(patient=name) for name in cases}
    else:
        labels = read_labels(request.labels, cases)
    return [_planned_case(name, run, labels[name], request) for name, run in cases.items()]


def _check_splits(request: PatchRequest, cases: Sequence[DatasetCase]) -> tuple[str, ...]:
    """Refuse a dataset whose splits would share a patient or a slide, as `assemble` would later.

    Returns what is odd about the splits.
    """
    ready = [case for case in cases if not case.excluded]
    labelled = [Label(case.patient, case.her2, case.split) for case in ready]
    splits = assign_splits(labelled, request.split)
    rows: list[dict[str, object]] = []
    for case in ready:
        run = Registration.load(request.cases[case.name])
        whose = {"case": case.name, "patient": case.patient, "split": splits[case.patient]}
        hashes = {"he_hash": run.he.hash, "ihc_hash": run.ihc.hash}
        rows.append({**whose, **hashes, "he_path": run.he.path, "ihc_path": run.ihc.path})
    check_leakage(rows)
    return oddities(labelled, splits, request.split)


def _planned_case(name: str, run: Path, label: Label, request: PatchRequest) -> DatasetCase:
    case = DatasetCase(name, label.patient, label.her2, label.split)
    try:
        registration = Registration.load(run)
    except RunError as error:
        return replace(case, excluded=f"{FAILED}{error}")
    excluded = exclusion(registration)
    if excluded:
        return replace(case, excluded=excluded)
    return replace(case, key=case_key(registration, request.settings))


def _plan(request: PatchRequest, cases: Sequence[DatasetCase]) -> DatasetPlan:
    return DatasetPlan(
        request.name or request.out.resolve().name,
        tuple(cases),
        request.settings,
        request.split,
    )
