"""Which figures lead to which verdict, and in which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from registration.figures import Folding, Gap, Quality, Residual, Seams
from registration.geometry import mesh
from registration.quality.verdict import against, verdict_of, with_confirmed
from registration.residual_map import ResidualMap
from registration.result import BlockRecord


def block(
    row: int, column: int, status: str = "registered", tissue: float = 0.5, confirmed: float = 1.0
) -> BlockRecord:
    """One of 2 x 2 blocks of a slide of 1,000 x 800 px."""
    name, corner = f"{row + 1}-{column + 1}", (500 * column, 400 * row)
    return BlockRecord(name, *corner, 500, 400, status, "", tissue, confirmed=confirmed)


RESIDUAL = Residual(80, 0.9, 0.5, 1.5, 0.98, 0.0, 0.0)
GOOD = Quality(
    folding=Folding(0.8, 0.9, 1.1, 1.2, 0.0),
    seams=Seams(0.0, 0.01, 0.1),
    residual=RESIDUAL,
    filled_fraction=0.0,
    tre={},
)
GAP = Gap(0.15, 1.2, 700.0, 300.0, float("nan"))
BLOCKS = [block(0, 0), block(0, 1), block(1, 0), block(1, 1, "blank", 0.0)]


def residual(**changed: Any) -> dict[str, Any]:
    return {"residual": replace(RESIDUAL, **changed)}


def test_a_good_registration_passes() -> None:
    found = verdict_of(GOOD, BLOCKS, True)
    assert found == ("pass", ["all checks passed"])


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({"folding": replace(GOOD.folding, folded_fraction=0.02)}, "review", "folds 2 %"),
        ({"seams": Seams(0.1, 0.9, 4.0)}, "review", "jumps by 0.9 px (limit 0.5 px)"),
        ({"seams": None}, "pass", "all checks passed"),
        ({"residual": None}, "review", "too little tissue"),
        (
            residual(lost_fraction=0.6),
            "fail",
            "60.0 % (limit 50 %) of the tissue matches no better",
        ),
        (residual(gap_fraction=0.15, largest_gap=GAP), "review", "15.0 % (limit 5 %)"),
        (
            residual(lost_fraction=0.3, largest_loss=replace(GAP, fraction=0.3, shift_um=225.0)),
            "fail",
            "an area with 30.0 % (limit 20 %) of the tissue lies 225 µm off its place "
            "(around (700, 300) px, 1.2 mm²)",
        ),
        (residual(median_um=21.0), "review", "21.0 µm (limit 15 µm)"),
        ({"filled_fraction": 0.3}, "review", "30.0 % (limit 5 %) of the tissue has no counterpart"),
    ],
)
def test_what_leads_to_which_verdict(change: dict[str, Any], verdict: str, words: str) -> None:
    found, reasons = verdict_of(replace(GOOD, **change), BLOCKS, True)

    assert found == verdict
    assert words in " ".join(reasons)


def test_an_unconfirmed_start_is_for_a_person_to_see() -> None:
    verdict, reasons = verdict_of(GOOD, BLOCKS, False)

    assert verdict == "review"
    assert "could not be confirmed" in reasons[0]


def test_an_unconfirmed_start_and_little_support_are_a_failure_in_one_reason() -> None:
    poor = replace(GOOD, **residual(lost_fraction=0.35))

    assert verdict_of(poor, BLOCKS, True)[0] == "pass"
    verdict, reasons = verdict_of(poor, BLOCKS, False)
    assert verdict == "fail"
    assert reasons[0] == (
        "35.0 % (limit 25 %) of the tissue matches no better than chance, and the initial alignment "
        "from the picked landmarks could not be confirmed"
    )


@pytest.mark.parametrize(("tissue", "verdict"), [(0.005, "pass"), (0.2, "review")])
def test_unconfirmed_blocks_that_fell_back_count_by_their_tissue(
    tissue: float, verdict: str
) -> None:
    blocks = [*BLOCKS[:3], block(1, 1, "fallback", tissue, confirmed=0.5)]

    found, reasons = verdict_of(GOOD, blocks, True)

    assert found == verdict
    assert verdict == "pass" or reasons[0].startswith(
        "1 block fell back to the coarse alignment (row 2, column 2), "
    )
    assert verdict == "pass" or "11.8 % (limit 2 %) of the tissue" in reasons[0]


def test_a_block_that_fell_back_where_all_fits_is_a_remark() -> None:
    blocks = [block(0, 0), block(0, 1, "fallback"), block(1, 0), block(1, 1)]

    verdict, reasons = verdict_of(GOOD, blocks, True)

    assert verdict == "pass"
    assert reasons[1] == (
        "the block in row 1, column 2 kept the coarse alignment, which fits: 100 % of its tissue is "
        "confirmed"
    )


def test_blocks_are_told_how_much_of_their_tissue_is_confirmed() -> None:
    points = mesh(np.arange(50.0, 1000, 100), np.arange(50.0, 400, 100))
    shift = np.where(points[:, :1] < 500, 1.0, 35.0) * [1.0, 0.0]
    ones = np.ones(len(points))
    places = ResidualMap(points, shift, ones, 0 * ones, 40 * ones)

    first, second, below, _ = with_confirmed(BLOCKS, places)

    assert first.confirmed is not None
    assert first.confirmed > 0.9
    assert second.confirmed is not None
    assert second.confirmed < 0.1
    assert below.confirmed is None


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (34.7, 35.0, "34.7 % (limit 35 %)"),
        (34.96, 35.0, "34.96 % (limit 35 %)"),
        (35.0004, 35.0, "35.0004 % (limit 35 %)"),
        (35.0, 35.0, "35.0 % (limit 35 %)"),
    ],
)
def test_a_value_can_be_told_from_its_limit(value: float, limit: float, text: str) -> None:
    assert against(value, limit, "%") == text
