"""What the nuclei of both sections say of a registration: plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registration.arrays import Number

Sections = Literal["same section", "consecutive sections", "undecided", "not known"]


@dataclass(frozen=True, slots=True)
class CellCount:
    """How the nuclei of two images of one place pair; counts are of nuclei of the fixed slide."""

    fixed: int
    """Nuclei found on the fixed slide ..."""
    moving: int
    """... and on the moving one."""
    paired: int
    """Nuclei of the fixed slide with a partner."""
    chance: float
    """How many had one if the two images had nothing to do with each other."""
    median_um: Number
    """Median distance of partners; "not a number" without any, as below."""
    shift_x_um: Number
    """The shift that more nuclei share than chance brings together, on the fixed slide ..."""
    shift_y_um: Number
    """... "not a number" where there is none."""
    aligned: int
    """Nuclei with a partner once that shift is taken out."""
    scatter_um: Number
    """Median distance of true partners once that shift is taken out."""


@dataclass(frozen=True, slots=True)
class CellField:
    """One field that was looked at."""

    x: Number
    """Its middle, in level-0 pixels of the fixed slide."""
    y: Number
    count: CellCount


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """What all fields say together; shares are of the fixed slide's nuclei, 0 to 1."""

    fields: tuple[CellField, ...]
    nuclei: int
    """On the fixed slide."""
    paired: Number
    chance: Number
    beyond: Number
    """Share that pairs beyond chance: of the nuclei that chance leaves alone."""
    beyond_low: Number
    beyond_high: Number
    """Bounds that hold 95 % of resamples of the fields."""
    median_um: Number
    """Median distance of partners."""
    agreeing: Number
    """Share of nuclei in fields where they share a shift more than chance would have it."""
    shift_um: Number
    """Length of the shift that those fields share: what the registration left."""
    shift_x_um: Number
    shift_y_um: Number
    scatter_um: Number
    """Median distance of true partners once each field's own shift is taken out: biology's part."""
    aligned: Number
    """Share that pairs beyond chance once their own shift is taken out, in the median of those fields."""
    sections: Sections
    """One section stained twice, or two neighbours; undecided between the two."""
