"""The initial alignment: from picked landmarks, or from landmarks that are proposed.

Either way the initial alignment is a projective transform that an independent measure must confirm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registration.errors import StartError
from registration.landmarks.landmarks import Landmarks, check_inside, write_landmarks
from registration.landmarks.projective import examine, fit_projective, leave_one_out
from registration.pair import SlidePair
from registration.result import LANDMARKS_NAME, StartRecord
from registration.slides.brightfield import not_brightfield, too_faint
from registration.start.propose import propose_alignment, verify
from registration.transforms import Projective

FEWEST_FOR_LEAVE_ONE_OUT = 5


@dataclass(frozen=True, eq=False)
class InitialAlignment:
    """The initial alignment and how it came about."""

    transform: Projective
    landmarks: Landmarks
    record: StartRecord


def choose_alignment(
    pair: SlidePair, landmarks: Landmarks | None, folder: Path
) -> InitialAlignment:
    """Return the projective transform for ``pair``.

    Without landmarks they are proposed. Raises :class:`StartError` when the proposed alignment
    cannot be confirmed; the proposals are then in ``folder`` for a person to edit.
    """
    if landmarks is None:
        return _automatic(pair, folder)
    check_inside(landmarks, pair.he.size, pair.ihc.size)
    return picked_alignment(pair, landmarks)


def picked_alignment(pair: SlidePair, landmarks: Landmarks) -> InitialAlignment:
    """Fit the picked pairs, name what is odd about them, and confirm the result.

    Raises :class:`LandmarkError` for pairs that determine no alignment.
    """
    fixed, moving = landmarks.oriented(pair.moving)
    slides = ("IHC", "H&E") if pair.moving == "he" else ("H&E", "IHC")
    names = landmarks.active().labels
    problems = examine(fixed, moving, pair.fixed_slide.size, names, slides)
    fatal = [problem.message for problem in problems if problem.fatal]
    if fatal:
        raise landmarks.error("; ".join(fatal))
    transform = fit_projective(fixed, moving)
    left_out = (
        leave_one_out(fixed, moving) if len(fixed) >= FEWEST_FOR_LEAVE_ONE_OUT else np.zeros(0)
    )
    evidence = verify(pair.fixed_slide, pair.moving_slide, transform)
    record = StartRecord(
        source="landmarks",
        verified=evidence.verified,
        mirrored=transform.is_mirrored,
        reasons=(*(problem.message for problem in problems), *evidence.reasons),
        evidence=evidence.numbers,
        leave_one_out_um=tuple(float(value) * pair.moving_slide.mpp for value in left_out),
    )
    return InitialAlignment(transform, landmarks, record)


def faint(pair: SlidePair) -> tuple[str, ...]:
    """Return which slides of a pair are too faint to find tissue on, one sentence each."""
    return tuple(reason for slide in (pair.he, pair.ihc) if (reason := too_faint(slide)))


def _automatic(pair: SlidePair, folder: Path) -> InitialAlignment:
    """Propose landmarks, keep them for a person to edit, and go on only if they are confirmed."""
    for slide in (pair.he, pair.ihc):
        if reason := not_brightfield(slide):
            raise StartError(reason, picking_helps=False)
    proposed = propose_alignment(pair.fixed_slide, pair.moving_slide)
    fixed, moving = proposed.landmarks
    he, ihc = (moving, fixed) if pair.moving == "he" else (fixed, moving)
    landmarks = Landmarks.of(he, ihc)
    if not proposed.verified:
        path = folder / LANDMARKS_NAME
        if not path.exists():  # a person may have edited what an earlier attempt left there
            write_landmarks(path, landmarks)
        raise StartError(
            "no initial alignment could be confirmed automatically: "
            f"{'; '.join(faint(pair) or proposed.reasons)}. The unconfirmed proposals are in {path}",
            proposed.evidence,
        )
    record = StartRecord(
        source="automatic",
        verified=True,
        mirrored=proposed.mirrored,
        reasons=proposed.reasons,
        evidence=proposed.evidence,
    )
    return InitialAlignment(proposed.transform, landmarks, record)
