"""What is known of how good a registration is: plain records, as the run folder holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from registration.arrays import Number
from registration.cell_evidence import CellEvidence
from registration.geometry import as_points

Verdict = Literal["pass", "review", "fail"]

TRE_STAGES = {
    "before": "as scanned",
    "after_projective": "after the projective step",
    "after_all": "after all steps",
}
"""The stages at which landmark errors are measured, and what a person is told instead."""


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Distribution of landmark errors in moving level-0 pixels, and in µm."""

    count: int
    median_px: Number
    mean_px: Number
    p90_px: Number
    p99_px: Number
    max_px: Number
    median_um: Number
    p90_um: Number
    max_um: Number
    median_rtre: Number
    max_rtre: Number


@dataclass(frozen=True, slots=True)
class Folding:
    """Jacobian determinant of the non-rigid field over the slide; negative where tissue folds."""

    jacobian_min: Number
    jacobian_p01: Number
    jacobian_p99: Number
    jacobian_max: Number
    folded_fraction: Number


@dataclass(frozen=True, slots=True)
class Seams:
    """Jump of the field across the borders of blocks, beyond what its slope explains, in px."""

    jump_median_px: Number
    jump_p95_px: Number
    jump_max_px: Number


@dataclass(frozen=True, slots=True)
class Gap:
    """Tissue lying together that nothing confirms, or that lies elsewhere."""

    fraction: Number
    """Share of all places."""
    area_mm2: Number
    x: Number
    y: Number
    """A place in its middle, in level-0 pixels of the fixed slide."""
    shift_um: Number
    """By how much it is off where its matches agree on that; "not a number" where they do not."""


@dataclass(frozen=True, slots=True)
class Torn:
    """Tears: where the field stretches, presses or shears more than tissue does by itself."""

    fraction: Number
    """Share of all tissue."""
    area_mm2: Number
    x: Number
    y: Number
    """A place in the middle of the longest, in level-0 pixels of the fixed slide."""
    length_mm: Number = float("nan")
    """Extent of the longest; runs of older versions did not measure it."""


@dataclass(frozen=True, slots=True)
class Residual:
    """Local shift that is left, measured by matching patches on a grid over the tissue."""

    points: int
    matched_fraction: Number
    """Share of points whose patches match better than patches of other places do."""
    median_um: Number
    p90_um: Number
    confirmed_fraction: Number = float("nan")
    """Share of points whose surroundings match near by far more often than chance does."""
    gap_fraction: Number = float("nan")
    """Share of points in connected areas that nothing confirms."""
    lost_fraction: Number = float("nan")
    """Share of points whose surroundings match near by no more often than chance does."""
    largest_gap: Gap | None = None
    largest_loss: Gap | None = None


@dataclass(frozen=True, slots=True)
class UncertainPlace:
    """A square of the fixed slide."""

    x: Number
    """Its middle, in level-0 pixels."""
    y: Number
    bound_um: Number
    """Nine of ten places are no farther off than this; "not a number" where nothing is known."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far off the alignment probably is, place by place."""

    cell_px: Number
    """Side of the squares, in level-0 pixels of the fixed slide."""
    places: tuple[UncertainPlace, ...]
    """Squares with tissue."""
    known_fraction: Number
    """Share of the places measured for which a bound is stated."""
    median_um: Number
    """Of the squares' bounds."""

    def at(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the bound at ``(N, 2)`` level-0 points of the fixed slide; NaN where none is known.

        Raises :class:`registration.errors.LandmarkError` for an array of another shape.
        """
        cells = {
            (int(place.x // self.cell_px), int(place.y // self.cell_px)): place.bound_um
            for place in self.places
        }
        corners = np.floor(as_points(points) / self.cell_px)
        return np.array([cells.get((x, y), np.nan) for x, y in corners.tolist()])


@dataclass(frozen=True)
class Quality:
    """All that is measured of one registration."""

    folding: Folding
    seams: Seams | None
    residual: Residual | None
    filled_fraction: Number
    """Share of the fixed slide's tissue that has no source on the moving slide."""
    tre: dict[str, ErrorSummary]
    """Landmark errors ``before``, ``after_projective`` and ``after_all``, where truth was given."""
    torn: Torn | None = None
    cells: CellEvidence | None = None
    """``None`` where slides are too coarse for nuclei, or show too few."""
    uncertainty: Uncertainty | None = None
