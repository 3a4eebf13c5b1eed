"""One line per case for `cohort.html`: what came of it, what it is like, what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.cohort.looks import PICTURE_NAME, Looks, read_looks
from pipeline.cohort.state import CASE_STAGES, Cohort, State
from pipeline.errors import PipelineError
from pipeline.manifest.manifest import Case
from pipeline.naming import names_of, without_names
from pipeline.patches.record import CasePatches
from pipeline.report.provenance import stage_seconds
from pipeline.stages.register import PICKING
from registration.errors import RegistrationError
from registration.files.commands import mpp_options, typed
from registration.pages.page import VERDICT_MARKS, Mark
from registration.patch_reasons import REASON_WORDS
from registration.result import REPORT_NAME, Registration

MM2 = 1e-6
"""Square millimetres in a square micrometre."""

URGENCY: Mapping[Mark, int] = {"bad": 0, "look": 1, "none": 2, "ok": 3}
"""What a person sees first."""

UNREGISTERED = "alignment"
"""In the words of a case that was refused for want of a start, which landmarks can give."""


@dataclass(frozen=True)
class CaseFacts:
    """What the page says of one case."""

    name: str
    patient: str
    her2: str
    word: str
    """Verdict or, where there is none, state."""
    mark: Mark
    reasons: tuple[str, ...]
    window: Literal["review", "pick"] | None = None
    """Which window a person needs; ``None`` where none helps."""
    next: str = ""
    """The command that brings it further; empty where nothing is to be done."""
    pieces: int | None = None
    residual_um: float | None = None
    tissue_mm2: float = 0.0
    registered_mm2: float = 0.0
    candidates: int | None = None
    kept: int | None = None
    lost: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    report: Path | None = None
    mpp: tuple[float, float] | None = None
    looks: Looks | None = None
    picture: Path | None = None
    stain: str = ""
    he: Path | None = None
    """The H&E slide, where several stains share it."""
    folder: Path = Path()
    """Where pictures of the case are kept."""

    @property
    def needs_person(self) -> bool:
        """Whether somebody has to look at it."""
        return self.mark in ("look", "bad")


def case_facts(cohort: Cohort, case: Case) -> CaseFacts:
    """Return what is known of a case now."""
    states = {stage: cohort.state(case, stage) for stage in CASE_STAGES}
    result = cohort.result(case)
    if result is None or states["register"].word == "failed":
        return _without_result(cohort, case, states["register"])
    try:
        registration = Registration.load(cohort.run(case))
    except (RegistrationError, PipelineError) as error:
        return _without_result(cohort, case, State("failed", str(error)))
    return _with_result(cohort, case, registration, states["patch"])


def _without_result(cohort: Cohort, case: Case, state: State) -> CaseFacts:
    failed = state.word == "failed"
    lost = failed and UNREGISTERED in state.note
    return CaseFacts(
        name=case.id,
        patient=case.patient,
        her2=case.her2 or "",
        word=state.word,
        mark="bad" if failed else "none",
        reasons=_shown(cohort, case, [state.note.split(PICKING)[0].strip()] if state.note else ()),
        window="pick" if lost else None,
        next=_pick(cohort, case) if lost else _again(cohort, case),
        **_stain(cohort, case),
    )


def _with_result(cohort: Cohort, case: Case, registration: Registration, patch: State) -> CaseFacts:
    run = cohort.run(case)
    word: str = registration.review or registration.verdict
    mark = VERDICT_MARKS[registration.verdict]
    accepted = registration.review == "accepted"
    reasons = registration.reasons if registration.verdict != "pass" else ()
    step = typed("review", run)
    window: Literal["review", "pick"] | None = "review"
    if accepted or (registration.verdict == "pass" and registration.review is None):
        mark, step = "ok", "" if patch.word in ("done", "excluded") else _again(cohort, case)
    elif registration.review == "needs landmarks":
        step, window = _pick(cohort, case), "pick"
    if patch.word == "failed":
        word, mark, window, step = "failed", "bad", None, _again(cohort, case)
        reasons = (*reasons, f"patches: {patch.note}")
    patches = CasePatches.load(cohort.patches(case)) if patch.word == "done" else None
    residual = registration.quality.residual
    pixel = registration.fixed.mpp**2 * MM2
    areas = [(b.status, b.tissue * b.width * b.height * pixel) for b in registration.blocks]
    lost = Counter(one.reason for one in patches.candidates if one.reason) if patches else {}
    if patches and lost and mark == "ok" and not any(one.kept for one in patches.candidates):
        mark, step = "look", typed("review", run)
        said = "; ".join(f"{REASON_WORDS[reason]} ({count})" for reason, count in lost.items())
        reasons = (*reasons, f"no patch was kept: {said}")
    return CaseFacts(
        name=case.id,
        patient=case.patient,
        her2=case.her2 or "",
        word=word,
        mark=mark,
        reasons=_shown(cohort, case, reasons),
        window=window,
        next=step,
        pieces=len(registration.pieces) or 1,
        residual_um=residual.median_um if residual else None,
        tissue_mm2=sum(area for _, area in areas if area == area),
        registered_mm2=sum(a for status, a in areas if status == "registered" and a == a),
        candidates=len(patches.candidates) if patches else None,
        kept=sum(one.kept for one in patches.candidates) if patches else None,
        lost=dict(lost),
        seconds=sum(stage_seconds(run).values()) or None,
        report=run / REPORT_NAME,
        mpp=(registration.he.mpp, registration.ihc.mpp),
        looks=read_looks(cohort.folder(case)),
        picture=cohort.folder(case) / PICTURE_NAME,
        **_stain(cohort, case),
    )


def _stain(cohort: Cohort, case: Case) -> dict[str, Any]:
    """Return what tells the stains of one H&E slide apart."""
    he = case.he if case.he_fixed else None
    return {"stain": case.stain or "", "he": he, "folder": cohort.folder(case)}


def _again(cohort: Cohort, case: Case) -> str:
    return typed("run", *cohort.named, "--only", case.id)


def _pick(cohort: Cohort, case: Case) -> str:
    if not cohort.manifest.register_.keep_names:
        return typed("review", *cohort.paths)
    return typed("pick", *pick_words(cohort, case))


def _shown(cohort: Cohort, case: Case, reasons: Sequence[str]) -> tuple[str, ...]:
    """Return reasons as the page may show them: without names of files, unless they are kept."""
    if cohort.manifest.register_.keep_names:
        return tuple(reasons)
    words = names_of(case.he, "HE") | names_of(case.ihc, "IHC")
    return tuple(without_names(reason, words) for reason in reasons)


def pick_words(cohort: Cohort, case: Case) -> list[str]:
    """Return what `pick` is to be told, so that the next run uses the landmarks."""
    words = [str(case.he), str(case.ihc), "--landmarks", case.landmarks or str(cohort.picks(case))]
    return words + mpp_options(case.mpp_he, case.mpp_ihc)


def waiting(cohort: Cohort) -> list[tuple[Case, CaseFacts]]:
    """Return the cases that need a person, worst first: failed ones, then the largest shift."""
    known = [(case, case_facts(cohort, case)) for case in cohort.manifest.cases]
    found = [(case, facts) for case, facts in known if facts.needs_person]
    return sorted(found, key=lambda one: (URGENCY[one[1].mark], -(one[1].residual_um or 0)))
