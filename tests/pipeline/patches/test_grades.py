"""Grades: the rules, one by one, and that what was not measured speaks for nothing."""

from __future__ import annotations

import math

import pytest

from pipeline.patches.grades import beyond_chance, grade_of, is_beyond_chance
from registration.cell_evidence import CellCount

NAN = math.nan


def count(paired: int, shift: tuple[float, float] = (0.5, 0.5), fixed: int = 100) -> CellCount:
    """Nuclei of which a fifth pair by chance."""
    return CellCount(fixed, fixed, paired, fixed / 5, 1.0, *shift, paired, 0.4)


@pytest.mark.parametrize(
    ("shift", "rank", "cells", "grade"),
    [
        (1.0, 100.0, count(80), "gold"),
        (9.0, 95.0, count(80), "bronze"),
        (1.0, 95.0, count(80), "gold"),
        (None, None, count(80), "gold"),
        (1.0, 100.0, count(80, (1.5, 1.5)), "silver"),
        (1.0, 100.0, count(25), "silver"),
        (1.0, 100.0, count(80, (NAN, NAN)), "silver"),
        (1.0, 100.0, count(80, (4.0, 4.0)), "bronze"),
        (1.0, 100.0, None, "silver"),
        (5.1, 100.0, None, "bronze"),
        (1.0, 98.9, None, "bronze"),
        (None, None, None, "bronze"),
    ],
)
def test_rules(
    shift: float | None, rank: float | None, cells: CellCount | None, grade: str
) -> None:
    assert grade_of(shift, rank, cells) == grade


def test_a_handful_of_nuclei_proves_nothing() -> None:
    assert not is_beyond_chance(count(4, fixed=5))
    assert is_beyond_chance(count(60))
    assert not is_beyond_chance(None)
    assert not is_beyond_chance(count(0, fixed=0))


def test_the_share_beyond_chance_leaves_out_what_chance_took() -> None:
    assert beyond_chance(count(60)) == pytest.approx(0.5)
    assert beyond_chance(None) is None
    assert beyond_chance(count(0, fixed=0)) is None
