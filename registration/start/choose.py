"""Where a registration begins: picked landmarks, or landmarks it proposes itself.

Either way the initial alignment is a projective transform that an independent measure must confirm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registration.errors import LandmarkError, StartError
from registration.landmarks.landmarks import Landmarks, check_inside, write_landmarks
from registration.landmarks.projective import examine, fit_projective, leave_one_out
from registration.pair import Pair
from registration.result import LANDMARKS_NAME, StartRecord
from registration.start.propose import propose_start, verify
from registration.transforms import Projective

FEWEST_FOR_LEAVE_ONE_OUT = 5


@dataclass(frozen=True, eq=False)
class Beginning:
    """The initial alignment and how it came about."""

    transform: Projective
    landmarks: Landmarks
    record: StartRecord


def begin(pair: Pair, landmarks: Landmarks | None, folder: Path) -> Beginning:
    """Return the projective start for ``pair``.

    Raises :class:`StartError` when none is given and the proposed one cannot be confirmed; what was
    proposed is then in ``folder`` for a person to edit.
    """
    return _automatic(pair, folder) if landmarks is None else _picked(pair, landmarks)


def _picked(pair: Pair, landmarks: Landmarks) -> Beginning:
    """Fit the picked pairs, name what is odd about them, and confirm the result."""
    check_inside(landmarks, pair.he.size, pair.ihc.size)
    fixed, moving = landmarks.oriented(pair.moving)
    names = landmarks.active().names
    problems = examine(fixed, moving, pair.fixed_slide.size, names)
    fatal = [problem.message for problem in problems if problem.fatal]
    if fatal:
        raise LandmarkError("; ".join(fatal))
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
    return Beginning(transform, landmarks, record)


def _automatic(pair: Pair, folder: Path) -> Beginning:
    """Propose landmarks, keep them for a person to edit, and go on only if they are confirmed."""
    start = propose_start(pair.fixed_slide, pair.moving_slide)
    fixed, moving = start.landmarks
    he, ihc = (moving, fixed) if pair.moving == "he" else (fixed, moving)
    landmarks = Landmarks.of(he, ihc)
    if not start.verified:
        path = folder / LANDMARKS_NAME
        if not path.exists():  # a person may have edited what an earlier attempt left there
            write_landmarks(path, landmarks)
        raise StartError(
            "no initial alignment could be confirmed automatically: "
            f"{'; '.join(start.reasons)}. Pick landmarks with\n"
            f"  bci-pipeline pick {pair.he.path} {pair.ihc.path} --landmarks {path}\n"
            f"(the unconfirmed proposals are in that file), then give them with --landmarks {path}"
        )
    record = StartRecord(
        source="automatic",
        verified=True,
        mirrored=start.mirrored,
        reasons=start.reasons,
        evidence=start.evidence,
    )
    return Beginning(start.transform, landmarks, record)
