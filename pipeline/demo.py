"""``bci-pipeline demo``: the whole pipeline on slides that it makes itself, so that truth is known.

A demo is a list of stages that work on one folder, each on what those before it left there. A stage
that finds its work done does nothing, so that a demo can be stopped and started again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dataset.plan import REPORT_NAME as DATASET_REPORT
from pipeline.errors import DatasetError, MissingExtraError, UsageError
from pipeline.extras import needs_training
from pipeline.patches.settings import PatchSettings
from pipeline.stages.patch import PatchRequest, run_patch
from pipeline.stages.register import RegisterRequest, run_request
from registration.execution import Progress, prefixed, usable_cores
from registration.files.alone import one_at_a_time
from registration.files.her2 import Her2
from registration.files.outputs import check_folder
from registration.files.storage import write_text
from registration.result import REPORT_NAME, Registration
from registration.synth import CohortPlan, SynthCase, SynthSettings, plan_cohort, write_cohort
from training.errors import DataError

SLIDES, RUNS, DATASET, LABELS = "slides", "registered", "dataset", "labels.csv"
TRAINED = "trained"
SEED = 7
HER2: tuple[Her2, ...] = ("1+", "3+")
PICKED_CASES = 1
"""So many cases start from picked landmarks, the others find their own."""

PICKS = 6

PATCH_PX = 512
"""Half of BCI's size: slides of the demo are small."""

SPLITS = ("test", "train")
"""One patient each: what is brown is learnt from the second."""


@dataclass
class Demo:
    """One demo: its folder, and what its stages have made so far."""

    out: Path
    size: int
    cases: list[SynthCase] = field(default_factory=list)
    registrations: dict[str, Registration] = field(default_factory=dict)
    trained: Path | None = None
    """Folder of the network, where one was trained."""
    results: list[str] = field(default_factory=list)
    """Lines that say where things are, for the end."""


@dataclass(frozen=True)
class Stage:
    """One step of the demo."""

    title: str
    run: Callable[[Demo, Progress], None]


def make_slides(demo: Demo, progress: Progress) -> None:
    """Draw pairs of genuine Hamamatsu slides of one tissue, cut twice."""
    plan = CohortPlan(
        SynthSettings(size=demo.size, seed=SEED, picks=PICKS), cases=len(HER2), her2=HER2
    )
    folder = demo.out / SLIDES

    def report(done: int, total: int) -> None:
        progress("slides", 100 * done // total, 100)

    count = min(usable_cores(), 2 * len(HER2))
    demo.cases = write_cohort(folder, plan, workers=count, overwrite=True, progress=report)
    demo.results.append(f"slides, with landmarks and the whole truth: {folder}")


def register_cases(demo: Demo, progress: Progress) -> None:
    """Register every pair, and score it with the truth."""
    for number, case in enumerate(demo.cases):
        request = RegisterRequest(
            he=case.he,
            ihc=case.ihc,
            out=demo.out / RUNS / case.name,
            landmarks=str(case.landmarks) if number < PICKED_CASES else None,
            truth=str(case.truth),
            overwrite=True,
        )
        report = prefixed(case.name, progress)
        demo.registrations[case.name] = run_request(request, None, None, report)
    demo.results.append(f"reports: {demo.out / RUNS}/*/{REPORT_NAME}")


def cut_patches(demo: Demo, progress: Progress) -> None:
    """Cut pairs of patches from all cases, filter them, and split them by patient."""
    lines = [
        f"{case.name},patient-{case.name},{case.settings.her2},{split}"
        for case, split in zip(demo.cases, SPLITS, strict=True)
    ]
    labels = demo.out / LABELS
    write_text(labels, "\n".join(["case,patient,her2,split", *lines]) + "\n")
    request = PatchRequest(
        runs=tuple(demo.out / RUNS / case.name for case in demo.cases),
        out=demo.out / DATASET,
        settings=PatchSettings(size=PATCH_PX, stride=PATCH_PX),
        labels=labels,
        overwrite=True,
    )
    outcome = run_patch(request, None, None, progress)
    if outcome.failed:
        raise DatasetError("; ".join(outcome.failed.values()))
    funnel = outcome.record["funnel"]
    demo.results.append(
        f"{funnel[-1]['left']} pairs of patches out of {funnel[0]['left']}: "
        f"{request.out / DATASET_REPORT}"
    )


def stain_virtually(demo: Demo, progress: Progress) -> None:
    """Train a tiny network on the pairs, and translate a slide with it, where torch is installed."""
    case = demo.cases[SPLITS.index("train")].name
    try:
        needs_training()
        from pipeline.demo_stain import (
            virtual_stain,  # what it needs is only installed with an extra
        )

        demo.results += virtual_stain(
            demo.out / DATASET, demo.registrations[case], demo.out / TRAINED, progress
        )
        demo.trained = demo.out / TRAINED
    except (MissingExtraError, DataError) as error:
        demo.results.append(f"no network was trained: {error}")


STAGES = (
    Stage("making slides", make_slides),
    Stage("registering", register_cases),
    Stage("cutting patches", cut_patches),
    Stage("training a tiny network, and translating a slide with it", stain_virtually),
)


@one_at_a_time(lambda demo, *_: demo.out)
def run_demo(demo: Demo, progress: Progress, begin: Callable[[str], None]) -> None:
    """Run all stages; ``begin`` is told the title of each.

    Raises :class:`UsageError` where the folder holds something else, and whatever stages raise.
    """
    check_demo(demo)
    for stage in STAGES:
        begin(stage.title)
        stage.run(demo, progress)


def plan_demo(demo: Demo) -> dict[str, object]:
    """Return what :func:`run_demo` would do; raises what it would refuse."""
    check_demo(demo)
    settings = SynthSettings(size=demo.size, seed=SEED, picks=PICKS)
    slides = plan_cohort(
        demo.out / SLIDES, CohortPlan(settings, cases=len(HER2), her2=HER2), overwrite=True
    )
    return {**slides, "stages": ", ".join(stage.title for stage in STAGES), "out": str(demo.out)}


def check_demo(demo: Demo) -> None:
    """Raise :class:`UsageError` where the folder holds something else or cannot be written."""
    check_folder(demo.out)
    if demo.out.is_dir() and _foreign(demo.out):
        raise UsageError(f"--out {demo.out} holds something else; name a new folder")


def _foreign(folder: Path) -> bool:
    """Return whether a folder holds things but no demo."""
    names = {path.name for path in folder.iterdir()}
    return bool(names) and SLIDES not in names
