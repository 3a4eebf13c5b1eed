"""What the picked pairs are worth: the fit, how far each pair is off, and what is odd, in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from napari_plugin.picker.doubt import FEWEST_PAIRS, LARGE_UM, disagreement_um, odd_one, suspects
from napari_plugin.picker.picks import PickedPair, Picks
from napari_plugin.picker.pieces import Tissue
from napari_plugin.views import SIDES, Frame
from registration.errors import LandmarkError
from registration.geometry import Points
from registration.landmarks.problems import MINIMUM_PAIRS, Problem, shape_problems
from registration.landmarks.projective import (
    STRETCH,
    examine,
    fit_affine,
    fit_projective,
    leave_one_out,
    residuals,
)
from registration.slides.mpp import scales_that_fit
from registration.transforms import Projective

FOLLOW_PAIRS = 3
"""An affine map needs three pairs."""
ADVISED_PAIRS = 6
LARGEST_SCALE = 2.0
"""Sections of one block differ less than this in physical size; a fit that says more is a mis-click."""
MOST_SWOLLEN = 1.25
"""Nor is one larger than the next by so much: where many pairs agree on it, a µm per pixel is wrong."""
BLINDING = ("collinear", "duplicate")
"""Problems with which no affine map can be trusted."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is known of a set of picks; lengths in µm of the H&E slide."""

    counted: int = 0
    transform: Projective | None = None
    """IHC to H&E, as ``register`` would begin; ``None`` where the pairs determine none."""
    follow: Projective | None = None
    """Affine map IHC to H&E that the IHC view follows."""
    residual_um: dict[str, float] = field(default_factory=dict)
    """Distance of each counted pair from the fit; zero by construction with four."""
    left_out_um: dict[str, float] = field(default_factory=dict)
    """Distance of each pair from the fit of all others, from five pairs on."""
    worst: str | None = None
    """The pair without which the others agree best, from five pairs on."""
    doubtful: tuple[str, ...] = ()
    """Pairs that are likely to be mis-clicks."""
    aside_um: dict[str, float] = field(default_factory=dict)
    """Distance of each whole pair that does not count, from the fit of those that do."""
    problems: tuple[str, ...] = ()
    names_at_fault: frozenset[str] = frozenset()
    pieces: tuple[str, ...] = ()
    """How many pairs each piece has, in words, where the pieces do not move together."""
    some_piece_has_enough: bool = False

    @property
    def needed(self) -> int:
        """How many more pairs a transform needs."""
        return max(0, MINIMUM_PAIRS - self.counted)

    @property
    def has_enough(self) -> bool:
        """Whether the slide, or any piece of it, can be registered from these pairs."""
        return self.some_piece_has_enough if self.pieces else not self.needed


def assess_pieces(picks: Picks, he: Frame, ihc: Frame, tissue: Tissue) -> Assessment:
    """Judge the pairs of each piece of tissue on their own, where one transform does not serve all.

    Transforms are those of the piece that is worked on.
    """
    whole = assess(picks, he, ihc)
    groups: dict[str, list[PickedPair]] = {}
    for pair in picks.pairs:
        if pair.he is not None:
            groups.setdefault(pair.piece or tissue.piece_of("he", pair.he), []).append(pair)
    if len(groups) < 2 or not whole.problems:
        return whole
    parts = {
        name: assess(Picks(tuple(pairs), picks.selected), he, ihc) for name, pairs in groups.items()
    }
    selected = (n for n, pairs in groups.items() if any(p.name == picks.selected for p in pairs))
    now = parts[next(selected, next(reversed(parts)))]
    return replace(
        now,
        residual_um=_merged(part.residual_um for part in parts.values()),
        left_out_um=_merged(part.left_out_um for part in parts.values()),
        aside_um=_merged(part.aside_um for part in parts.values()),
        counted=whole.counted,
        doubtful=tuple(name for part in parts.values() for name in part.doubtful),
        problems=tuple(
            f"{name}: {problem}" for name, part in parts.items() for problem in part.problems
        ),
        names_at_fault=frozenset().union(*(part.names_at_fault for part in parts.values())),
        pieces=tuple(_of_piece(name, part) for name, part in parts.items()),
        some_piece_has_enough=any(not part.needed for part in parts.values()),
    )


def _merged(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    return {name: value for part in parts for name, value in part.items()}


def _of_piece(name: str, found: Assessment) -> str:
    """Say how many pairs a piece has, and how many it needs to start from them."""
    return f"{name}: {found.counted}" + (f", {found.needed} more needed" if found.needed else "")


def assess(picks: Picks, he: Frame, ihc: Frame) -> Assessment:
    """Judge the pairs that count."""
    landmarks = picks.landmarks().active()
    names = landmarks.names
    fixed, moving = landmarks.oriented("he")
    found = _problems(fixed, moving, ihc, names)
    transform = None
    if len(names) >= MINIMUM_PAIRS and not any(problem.fatal for problem in found):
        transform = _fitted(fixed, moving)
    residual, left_out = _distances(transform, fixed, moving, names, he.mpp)
    worst, doubtful = _worst(transform, fixed, moving, names, he.mpp)
    # Wrong pairs are named by the rule of this window alone, which knows the size of a pixel.
    problems = tuple(problem for problem in found if problem.kind != "outlier")
    return Assessment(
        counted=len(names),
        transform=transform,
        follow=_follow(fixed, moving, he, ihc, problems),
        residual_um=residual,
        left_out_um=left_out,
        worst=worst,
        doubtful=doubtful,
        aside_um=_aside(transform, picks, he.mpp),
        problems=(
            *(_in_words(problem.message) for problem in problems),
            *(_doubt(name, left_out) for name in doubtful),
            *([] if doubtful else _mixed_up(disagreement_um(fixed, moving, he.mpp))),
            *([] if problems or doubtful else _mis_scaled(transform, fixed, moving, he, ihc)),
        ),
        names_at_fault=frozenset(
            names[index]
            for problem in problems
            if len(problem.indices) < len(names)
            for index in problem.indices
        ).union(doubtful),
    )


def _problems(
    fixed: Points, moving: Points, ihc: Frame, names: tuple[str, ...]
) -> tuple[Problem, ...]:
    """Examine four pairs and more as ``register`` does; of two or three, only what shows already."""
    if len(names) >= MINIMUM_PAIRS:
        return examine(fixed, moving, ihc.size, names)
    if len(names) < 2:
        return ()
    found = shape_problems(fixed, moving, names)
    return tuple(one for one in found if one.kind == "duplicate" or len(names) == FOLLOW_PAIRS)


def _fitted(fixed: Points, moving: Points) -> Projective | None:
    try:
        return fit_projective(fixed, moving)
    except (LandmarkError, np.linalg.LinAlgError):
        return None


def _distances(
    transform: Projective | None,
    fixed: Points,
    moving: Points,
    names: tuple[str, ...],
    mpp: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the residual and the leave-one-out distance by name, in µm."""
    if transform is None:
        return {}, {}
    residual = residuals(transform, fixed, moving) * mpp
    by_name = dict(zip(names, residual.tolist(), strict=True))
    if len(names) < FEWEST_PAIRS:
        return by_name, {}
    left_out = leave_one_out(fixed, moving) * mpp
    return by_name, dict(zip(names, left_out.tolist(), strict=True))


def _follow(
    fixed: Points, moving: Points, he: Frame, ihc: Frame, problems: tuple[Problem, ...]
) -> Projective | None:
    """Return the affine fit, unless the points lie on a line or the fit is no section's."""
    if len(fixed) < FOLLOW_PAIRS or any(problem.kind in BLINDING for problem in problems):
        return None
    fit = fit_affine(fixed, moving)
    scales = np.linalg.svd(fit.matrix[:2, :2], compute_uv=False) * he.mpp / ihc.mpp
    if not np.isfinite(scales).all() or scales[0] > STRETCH * scales[1]:
        return None
    if not 1 / LARGEST_SCALE < scales[1] <= scales[0] < LARGEST_SCALE:
        return None
    return fit


def _worst(
    transform: Projective | None,
    fixed: Points,
    moving: Points,
    names: tuple[str, ...],
    mpp: float,
) -> tuple[str | None, tuple[str, ...]]:
    """Return the pair without which the others agree best, and those that are likely wrong."""
    if transform is None:
        return None, ()
    odd, wrong = odd_one(fixed, moving, mpp), suspects(fixed, moving, mpp)
    worst = wrong[0] if wrong and odd not in wrong else odd
    return None if worst is None else names[worst], tuple(names[index] for index in wrong)


def _aside(transform: Projective | None, picks: Picks, mpp: float) -> dict[str, float]:
    """Return how far each whole pair that does not count is from the fit, in µm; a guess is no pair."""
    waiting = [p for p in picks.pairs if p.is_whole and not p.counts and p.proposal != "guess"]
    if transform is None or not waiting:
        return {}
    he, ihc = (np.array([pair.at(side) for pair in waiting], np.float64) for side in SIDES)
    distance = residuals(transform, ihc, he) * mpp
    return dict(zip((pair.name for pair in waiting), distance.tolist(), strict=True))


def _mixed_up(off_um: float) -> list[str]:
    """Say that pairs disagree more than two sections do, where none of them is to blame alone."""
    if off_um <= LARGE_UM:
        return []
    return [
        f"The pairs disagree by {off_um:.0f} µm on average, more than two sections do: some of them "
        "are mixed up, or far from their places."
    ]


def _mis_scaled(
    transform: Projective | None, fixed: Points, moving: Points, he: Frame, ihc: Frame
) -> list[str]:
    """Say that pairs agree at another ratio of scales than that of the slides' µm per pixel."""
    if transform is None:
        return []
    zoom = math.sqrt(abs(np.linalg.det(fit_affine(fixed, moving).matrix[:2, :2])))
    factor = ihc.mpp / (zoom * he.mpp)
    if 1 / MOST_SWOLLEN < factor < MOST_SWOLLEN:
        return []
    return [f"The pairs fit if {scales_that_fit(he.mpp, ihc.mpp, factor)}."]


def _doubt(name: str, left_out_um: dict[str, float]) -> str:
    """Say that a pair is doubtful, and by how much."""
    off = left_out_um.get(name)
    far = "" if off is None else f": the others put it {off:.0f} µm away"
    return f"Pair {name} does not agree with the others{far}. Look at it again, or remove it."


def _in_words(message: str) -> str:
    """Say what is to be done in the window, and begin with a capital."""
    message = message.replace("disable it", "untick it")
    return message[:1].upper() + message[1:] + "."
