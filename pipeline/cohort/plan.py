"""What a cohort's run would do, with the disk and memory it needs, without doing it."""

from __future__ import annotations

from typing import Any

from pipeline.cohort.needs import case_patches_mib, cases_at_once, memory_gib
from pipeline.cohort.run import RunRequest
from pipeline.cohort.state import CASE_STAGES, Cohort
from pipeline.errors import PipelineError
from pipeline.manifest.manifest import Case
from pipeline.stages.register import plan as plan_registration
from registration.errors import RegistrationError
from registration.execution import usable_cores
from registration.files.words import counted


def plan_cohort(request: RunRequest) -> dict[str, Any]:
    """Return the plan of every case and of the whole."""
    cohort = request.cohort
    count = request.count or usable_cores()
    cases = [_plan_case(cohort, case, request) for case in cohort.select(request.only)]
    mib = sum(float(case.pop("patches_mib", 0.0)) for case in cases)
    trains = cohort.manifest.train is not None
    stages = [stage for stage in request.wanted if stage != "train" or trains]
    plan: dict[str, Any] = {"cases": cases, "stages": ", then ".join(stages)}
    if any(not case.he.exists() for case in cohort.manifest.cases):
        plan["slides"] = "missing ones are drawn first (synthetic)"
    if "patch" in request.wanted or "dataset" in request.wanted:
        plan["patches"] = (
            f"about {mib:.0f} MiB if half of each slide is tissue; the dataset links them"
        )
    at_once = cases_at_once(count, request.memory_gib)
    plan["memory"] = (
        f"about {memory_gib(count, at_once):.1f} GiB with {counted(count, 'worker')} and "
        f"{counted(at_once, 'case')} at once"
    )
    plan["out"] = str(cohort.manifest.out)
    if "train" in stages:
        chosen = cohort.manifest.train or {}
        plan["training"] = ", ".join(f"{k} {v}" for k, v in chosen.items()) or "default settings"
    return plan


def _plan_case(cohort: Cohort, case: Case, request: RunRequest) -> dict[str, Any]:
    """Return what is left to do for one case; a slide that cannot be opened says so."""
    plan: dict[str, Any] = {
        "case": case.id,
        "patient": case.patient,
        "HER2": case.her2 or "unknown",
    }
    drawn = cohort.manifest.synthetic
    if drawn is not None and not (case.he.exists() and case.ihc.exists()):
        return plan | {"slides": "to be drawn", "patches_mib": case_patches_mib(cohort, case)}
    for stage in CASE_STAGES:
        if stage in request.wanted:
            plan[stage] = str(cohort.state(case, stage))
    try:
        if "register" in request.wanted and cohort.state(case, "register").word != "done":
            details = plan_registration(cohort.request(case))
            plan |= {key: details[key] for key in ("start", "blocks", "disk", "memory")}
        plan["patches_mib"] = case_patches_mib(cohort, case)
    except (RegistrationError, PipelineError) as error:
        plan["problem"] = str(error)
    return plan
