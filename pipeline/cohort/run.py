"""Running a cohort: case by case, each in a process of its own, then what needs all of them.

A slide can be bad in ways that no exception tells of: a native library crashes, the memory runs
out. A case therefore runs as ``bci-pipeline run MANIFEST --only CASE``, the same command that an
array job uses, and whatever happens to it the others go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pipeline.cohort.child import Running, call, describe
from pipeline.cohort.looks import record_looks
from pipeline.cohort.needs import cases_at_once, check_disk, disk_mib
from pipeline.cohort.page import CohortPage
from pipeline.cohort.state import (
    CASE_STAGES,
    STAGES,
    Cohort,
    Stage,
    State,
    clear_failure,
    read_training,
    write_failure,
    write_training,
)
from pipeline.dataset.assemble import assemble
from pipeline.dataset.folder import check_ours, finished_dataset_key, tidy
from pipeline.dataset.plan import REPORT_NAME
from pipeline.errors import PipelineError, UsageError
from pipeline.manifest.manifest import Case
from pipeline.patches.case import cut_case, is_failure
from pipeline.stages.register import run_request
from registration.errors import RegistrationError
from registration.execution import Progress, usable_cores, workers
from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.words import counted

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunRequest:
    """What of a cohort to run, and on which workers."""

    cohort: Cohort
    only: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    """Empty: all, or with ``only`` those of single cases."""
    count: int | None = None
    scheduler: str | None = None
    memory_gib: float | None = None
    """What all processes together may take; ``None``: most of what is free."""
    quiet: bool = False
    """Whether the processes of cases show no progress."""

    def words(self, *command: str) -> list[str]:
        """Return a command of a process that does a part of the work."""
        return [*(("--quiet",) if self.quiet else ()), *command]

    @property
    def wanted(self) -> tuple[Stage, ...]:
        """Stages to run, in their order."""
        chosen = self.stages or (CASE_STAGES if self.only else STAGES)
        return tuple(stage for stage in STAGES if stage in chosen)

    @property
    def is_single(self) -> bool:
        """Whether the work is that of one case, which runs in this process."""
        return len(set(self.only)) == 1 and set(self.wanted) <= set(CASE_STAGES)


@dataclass
class CohortOutcome:
    """How a run ended."""

    failed: dict[str, str] = field(default_factory=dict)
    """Reasons by case or stage."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Cases that a person left out."""
    done: dict[str, str] = field(default_factory=dict)
    """What was made, by case or stage."""


@one_at_a_time(lambda request, *_: request.cohort.manifest.out)
def run_cohort(request: RunRequest, say: Say, progress: Progress) -> CohortOutcome:
    """Run what is asked for and not done yet. Failures of cases are collected, never raised."""
    cohort = request.cohort
    cases = cohort.select(request.only)
    outcome = CohortOutcome()
    _check_outputs(cohort)
    draw_slides(cohort, progress)
    page = CohortPage(cohort)
    page.update()
    case_stages = [stage for stage in request.wanted if stage in CASE_STAGES]
    if case_stages:
        _run_cases(request, cases, case_stages, outcome, page, say)
    if "dataset" in request.wanted:
        _run_dataset(cohort, outcome, say)
    if "train" in request.wanted and cohort.manifest.train is not None:
        _run_training(request, outcome, say)
    page.update()
    outcome.done["page"] = str(page.path)
    return outcome


@one_at_a_time(lambda request, *_: request.cohort.folder(request.cohort.select(request.only)[0]))
def run_single(request: RunRequest, progress: Progress) -> None:
    """Run the stages of one case in this process; its failure is noted on disk and raised."""
    cohort = request.cohort
    (case,) = cohort.select(request.only)
    _check_outputs(cohort)
    draw_slides(cohort, progress)
    clear_failure(cohort.folder(case))
    for stage in request.wanted:
        try:
            _run_stage(request, case, stage, progress)
        except (RegistrationError, PipelineError) as error:
            write_failure(cohort.folder(case), stage, str(error))
            raise


def _check_outputs(cohort: Cohort) -> None:
    """Refuse an output folder that cannot be written, and a dataset in, over or around slides."""
    check_folder(cohort.manifest.out, option="out:")
    slides = [path for case in cohort.manifest.cases for path in (case.he, case.ihc)]
    check_folder(cohort.dataset, slides, option="dataset folder")


def draw_slides(cohort: Cohort, progress: Progress) -> None:
    """Draw the synthetic slides that the manifest asks for and that are missing."""
    wanted = cohort.manifest.synthetic
    if wanted is None or all(
        path.exists() for case in cohort.manifest.cases for path in (case.he, case.ihc)
    ):
        return
    from registration.synth import CohortPlan, SynthSettings, write_cohort

    plan = CohortPlan(
        SynthSettings(size=wanted.size, seed=wanted.seed, picks=wanted.picks),
        cases=wanted.cases,
        her2=tuple(wanted.her2),
    )

    def report(done: int, total: int) -> None:
        progress("drawing synthetic slides", 100 * done // total, 100)

    write_cohort(wanted.folder, plan, workers=usable_cores(), progress=report)
    missing = [str(case.he) for case in cohort.manifest.cases if not case.he.exists()]
    if missing:
        raise UsageError(
            f"the synthetic cohort has no {', '.join(missing)}: its cases are called case01, case02, ..."
        )


def _run_stage(request: RunRequest, case: Case, stage: Stage, progress: Progress) -> None:
    cohort = request.cohort
    if stage == "register":
        registration = run_request(cohort.request(case), request.count, request.scheduler, progress)
        if case.flip is not None and case.flip != registration.start.mirrored:
            found = "face down" if registration.start.mirrored else "not turned over"
            raise UsageError(
                f"case {case.id}: the manifest says flip: {str(case.flip).lower()}, but the "
                f"registration found one section {found} against the other. One of them is wrong; "
                "look at the report."
            )
        # For the page alone: a case is no worse for the want of a small picture.
        with suppress(RegistrationError):
            record_looks(registration, cohort.folder(case))
        return
    if cohort.state(case, "patch").word == "excluded":
        return
    settings = cohort.manifest.patch
    with workers(request.count, request.scheduler) as pool:
        cut_case(cohort.run(case), cohort.patches(case), settings, pool, progress)


def _run_cases(
    request: RunRequest,
    cases: Sequence[Case],
    stages: Sequence[Stage],
    outcome: CohortOutcome,
    page: CohortPage,
    say: Say,
) -> None:
    """Run each case that has something to do in its own process, all with the same workers."""
    cohort, out = request.cohort, request.cohort.manifest.out
    todo = [case for case in cases if _has_work(cohort, case, stages)]
    needs = [disk_mib(cohort, case, stages) for case in todo]
    check_disk(out, sum(needs), f"a run of {counted(len(todo), 'case')}")
    at_once = cases_at_once(request.count or usable_cores(), request.memory_gib) if todo else 1
    running = Running()
    with _shared(request, bool(todo)) as scheduler, ThreadPoolExecutor(at_once) as threads:

        def one(number: int) -> None:
            case = todo[number]
            check_disk(out, needs[number], f"case {case.id}")
            say(f"case {case.id} ({number + 1} of {len(todo)}): {', then '.join(stages)}")
            _run_case(request, case, stages, scheduler, (_named(say, case, at_once), running))

        ahead = {threads.submit(one, number): todo[number] for number in range(len(todo))}
        try:
            for ended in as_completed(ahead):
                ended.result()
                page.update([ahead[ended]])
        except BaseException as error:
            for waiting in ahead:
                waiting.cancel()
            if not isinstance(error, UsageError):  # a full disk stops what has not begun
                running.interrupt()
            raise
    for case in cases:
        _collect(cohort, case, stages, outcome)


def _run_case(
    request: RunRequest,
    case: Case,
    stages: Sequence[Stage],
    scheduler: str | None,
    talk: tuple[Say, Running],
) -> None:
    """Run a case in a process of its own, and note its end where it could not do so itself."""
    cohort = request.cohort
    words = request.words("run", *cohort.named, "--only", case.id)
    words += [word for stage in stages for word in ("--stage", stage)]
    words += ["--scheduler", scheduler] if scheduler else []
    words += ["--workers", str(request.count)] if request.count else []
    clear_failure(cohort.folder(case))
    code = call(words, cohort.log(case), *talk)
    if code and cohort.state(case, stages[0]).word != "failed":
        _note_crash(cohort, case, stages, code)


def _named(say: Say, case: Case, at_once: int) -> Say:
    """Return what is told the lines of a case, with its name where several speak at once."""
    return say if at_once == 1 else lambda line: say(f"  {case.id}: {line.strip()}")


def _has_work(cohort: Cohort, case: Case, stages: Sequence[Stage]) -> bool:
    return any(cohort.state(case, stage).word not in ("done", "excluded") for stage in stages)


def _note_crash(cohort: Cohort, case: Case, stages: Sequence[Stage], code: int) -> None:
    """Note a case's end that it could not note itself, at the first stage that is not done."""
    for stage in stages:
        state = cohort.state(case, stage)
        if state.word == "failed":
            return
        if state.word not in ("done", "excluded"):
            write_failure(cohort.folder(case), stage, describe(code, cohort.log(case)))
            return


def _collect(cohort: Cohort, case: Case, stages: Sequence[Stage], outcome: CohortOutcome) -> None:
    """Add what became of one case."""
    for stage in stages:
        state = cohort.state(case, stage)
        if state.word == "failed":
            outcome.failed[case.id] = f"{stage}: {state.note}"
            return
        if state.word == "excluded":
            left_out = outcome.failed if is_failure(state.note) else outcome.excluded
            left_out[case.id] = state.note
            return
    result = cohort.result(case)
    if result is not None:
        outcome.done[case.id] = str(result)


def _run_dataset(cohort: Cohort, outcome: CohortOutcome, say: Say) -> None:
    """Assemble the dataset of all cases that are ready, and name those that are not."""
    plan = cohort.dataset_plan()
    for case, entry in zip(cohort.manifest.cases, plan.cases, strict=True):
        _collect(cohort, case, CASE_STAGES, outcome)
        if entry.excluded and case.id not in outcome.excluded:
            outcome.failed.setdefault(case.id, f"not in the dataset: {entry.excluded}")
    try:
        if finished_dataset_key(cohort.dataset) != plan.key:
            say("dataset")
            check_ours(cohort.dataset)
            assemble(plan, cohort.dataset)
        else:
            tidy(cohort.dataset)
    except PipelineError as error:
        outcome.failed["dataset"] = str(error)
        return
    outcome.done["dataset"] = str(cohort.dataset / REPORT_NAME)


def _run_training(request: RunRequest, outcome: CohortOutcome, say: Say) -> None:
    """Train on the dataset, going on where an earlier run of the same stopped."""
    cohort = request.cohort
    state = cohort.training_state() or State("waiting")
    if state.word == "waiting":
        outcome.failed["train"] = "the dataset is not complete"
        return
    if state.word != "done":
        say("training")
        out, key = cohort.manifest.out, cohort.training_key()
        begun = read_training(out)
        if begun is not None and begun[0] != key:
            shutil.rmtree(cohort.training, ignore_errors=True)
        write_training(out, key, done=False)
        words = request.words("train", str(cohort.dataset), "--out", str(cohort.training))
        words += ["--resume"] if (cohort.training / "last.pt").exists() else []
        for name, value in (cohort.manifest.train or {}).items():
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += ["--set", f"{name}={text}"]
        code = call(words, out / "train.log", say)
        if code:
            outcome.failed["train"] = describe(code, out / "train.log")
            return
        write_training(out, key, done=True)
    outcome.done["training"] = str(cohort.training)


@contextmanager
def _shared(request: RunRequest, needed: bool) -> Iterator[str | None]:
    """Start the workers that all cases use, and give the address of their scheduler."""
    if request.scheduler or not needed or (request.count or usable_cores()) == 1:
        yield request.scheduler
        return
    with workers(request.count, None) as pool:
        yield pool.address
