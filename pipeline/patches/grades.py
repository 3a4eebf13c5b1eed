"""How far the alignment of a kept patch can be trusted: gold, silver or bronze, by rules stated once.

Gold takes single cells for witnesses: the nuclei of both images share a shift of at most 2 µm and
pair beyond chance as they lie, and structure does not contradict. Silver takes structure: the
residual shift is at most 5 µm, the two images are more alike than 99 % of mismatched pairs, and
nuclei do not contradict. All else that was kept is bronze. The shift of the nuclei is known to a
quarter of a µm (``benchmarks.cells``); how far off the pairs of each grade are stands in
``docs/dataset.md`` (``benchmarks.alignment_filter``).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from registration.cell_evidence import CellCount

Grade = Literal["gold", "silver", "bronze"]
GRADES: tuple[Grade, ...] = get_args(Grade)

GOLD_SHIFT_UM = 2.0
SILVER_SHIFT_UM = 5.0
SILVER_PERCENTILE = 99.0
SURE_DEVIATIONS = 3.0
"""Nuclei pair beyond chance where chance would reach their number once in 740 times."""


def grade_of(
    shift_um: float | None, null_percentile: float | None, cells: CellCount | None
) -> Grade:
    """Return the grade of a kept pair; what was not measured speaks for nothing."""
    cell_shift = common_shift_um(cells)
    if (shift_um is not None and shift_um > SILVER_SHIFT_UM) or cell_shift > SILVER_SHIFT_UM:
        return "bronze"
    if cell_shift <= GOLD_SHIFT_UM and is_beyond_chance(cells):
        return "gold"
    alike = null_percentile is not None and null_percentile >= SILVER_PERCENTILE
    return "silver" if shift_um is not None and alike else "bronze"


def common_shift_um(cells: CellCount | None) -> float:
    """Return the length of the shift that a patch's nuclei share; NaN where they share none."""
    return math.nan if cells is None else math.hypot(cells.shift_x_um, cells.shift_y_um)


def beyond_chance(cells: CellCount | None) -> float | None:
    """Return the share of a patch's nuclei that pair beyond chance, as the images lie."""
    if cells is None or not cells.fixed:
        return None
    return (cells.paired - cells.chance) / max(cells.fixed - cells.chance, 1e-9)


def is_beyond_chance(cells: CellCount | None) -> bool:
    """Return whether more of a patch's nuclei pair than chance would have it, as the images lie."""
    if cells is None or not cells.fixed:
        return False
    spread = math.sqrt(cells.chance * (1 - cells.chance / cells.fixed))
    return cells.paired > cells.chance + SURE_DEVIATIONS * max(spread, 1.0)
