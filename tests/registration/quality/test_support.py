"""Where tissue is confirmed, on maps of shifts whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registration.figures import Folding, Quality
from registration.quality.quality import residual_summary
from registration.quality.support import gap_of, support_of
from registration.quality.verdict import verdict_of
from registration.residual_map import ResidualMap

REACH_UM, STEP_PX, MPP = 40.0, 300.0, 0.5


def residual_map(
    columns: int = 30, rows: int = 20, right: float = 0.75, seed: int = 0
) -> ResidualMap:
    """Shifts on a grid: ``right`` of them near zero, the others anywhere in the search window."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    points = np.stack([x.ravel(), y.ravel()], axis=1) * STEP_PX + 150
    shift = rng.uniform(-REACH_UM, REACH_UM, points.shape)
    found = rng.random(len(points)) < right
    shift[found] = rng.normal(0, 1.5, (int(found.sum()), 2))
    return ResidualMap(
        points,
        shift,
        np.where(found, 0.6, 0.2),
        np.full(len(points), 0.3),
        np.full(len(points), REACH_UM),
    )


def spoiled(residual: ResidualMap, inside: np.ndarray, um: float) -> ResidualMap:
    """Move part of the tissue: within reach the shift shows, beyond it matches are chance."""
    shift = residual.shift_um.copy()
    if um > REACH_UM:
        rng = np.random.default_rng(9)
        shift[inside] = rng.uniform(-REACH_UM, REACH_UM, (int(inside.sum()), 2))
    else:
        shift[inside] += [um, 0.0]
    return replace(residual, shift_um=shift)


def judged(residual: ResidualMap, *, start_verified: bool = True) -> tuple[str, str]:
    summary = residual_summary(residual, MPP)
    quality = Quality(Folding(0.9, 0.95, 1.05, 1.1, 0.0), None, summary, 0.0, {})
    verdict, reasons = verdict_of(quality, [], start_verified)
    return verdict, "; ".join(reasons)


@pytest.mark.parametrize("right", [1.0, 0.8, 0.65])
def test_places_of_an_aligned_section_confirm_each_other(right: float) -> None:
    support = support_of(residual_map(right=right))
    assert support.confirmed.mean() > 0.97
    assert judged(residual_map(right=right))[0] == "pass"


@pytest.mark.parametrize("seed", range(5))
def test_chance_confirms_next_to_nothing(seed: int) -> None:
    support = support_of(residual_map(right=0.0, seed=seed))
    assert support.confirmed.mean() < 0.03
    assert judged(residual_map(right=0.0, seed=seed))[0] == "fail"


@pytest.mark.parametrize("um", [25.0, 225.0])
def test_half_a_section_that_lies_elsewhere_fails(um: float) -> None:
    residual = residual_map()
    half = residual.points[:, 0] > 15 * STEP_PX

    verdict, reasons = judged(spoiled(residual, half, um))

    assert verdict == "fail"
    assert reasons.startswith("an area with 4")
    support = support_of(spoiled(residual, half, um))
    assert support.confirmed[half].mean() < 0.1
    assert support.confirmed[~half].mean() > 0.9


@pytest.mark.parametrize("um", [25.0, 225.0])
@pytest.mark.parametrize("corner", [(0, 0), (20, 0), (20, 12)])
def test_a_tenth_that_lies_together_is_seen(um: float, corner: tuple[int, int]) -> None:
    residual = residual_map()
    low = np.array(corner) * STEP_PX
    inside = ((residual.points > low) & (residual.points < low + 8.4 * STEP_PX)).all(axis=1)
    assert 0.1 < inside.mean() < 0.13

    assert judged(residual)[0] == "pass"
    assert judged(spoiled(residual, inside, um))[0] == "review"


@pytest.mark.parametrize("um", [25.0, 225.0])
@pytest.mark.parametrize(
    ("side", "verdict"), [(1, "pass"), (4, "pass"), (5, "review"), (8, "review")]
)
def test_an_area_counts_however_large_the_section_is(um: float, side: int, verdict: str) -> None:
    residual = residual_map(80, 60, right=0.9)
    low = np.array([30, 20]) * STEP_PX
    inside = ((residual.points > low) & (residual.points < low + side * STEP_PX)).all(axis=1)
    assert inside.mean() < 0.02

    found, reasons = judged(spoiled(residual, inside, um))

    assert found == verdict
    assert ("is not confirmed" in reasons) == (side > 1)
    assert ("too little to doubt the rest" in reasons) == (side == 4)


@pytest.mark.parametrize("um", [25.0, 225.0])
def test_a_fragment_is_not_confirmed_by_the_section_beside_it(um: float) -> None:
    residual = residual_map(20, 20, right=0.9)
    column, row = (residual.points / STEP_PX).astype(int).T
    fragment = (column >= 17) & (row < 4)
    residual = ResidualMap(
        *(array[fragment | (column < 15)] for array in residual.arrays().values())
    )
    fragment = residual.points[:, 0] > 15 * STEP_PX

    support = support_of(spoiled(residual, fragment, um))

    assert support.confirmed[~fragment].all()
    assert not support.confirmed[fragment].any()
    assert judged(spoiled(residual, fragment, um))[0] == "review"


def test_an_area_says_where_it_lies_and_by_how_much_it_is_off() -> None:
    residual = residual_map(right=0.9)
    half = residual.points[:, 1] > 12 * STEP_PX
    moved = spoiled(residual, half, 25.0)

    gap = gap_of(moved, support_of(moved).gaps == 0, MPP)

    assert gap is not None
    assert gap.fraction == pytest.approx(half.mean(), abs=0.04)
    assert gap.area_mm2 == pytest.approx(half.sum() * (STEP_PX * MPP / 1000) ** 2, rel=0.1)
    assert gap.shift_um == pytest.approx(25.0, abs=1.5)
    assert gap.y > 12 * STEP_PX
    lost = spoiled(residual, half, 225.0)
    loss = gap_of(lost, support_of(lost).losses == 0, MPP)
    assert loss is not None
    assert np.isnan(loss.shift_um)
    assert gap_of(lost, np.zeros(len(half), bool), MPP) is None


@pytest.mark.parametrize("count", [0, 1, 2, 15])
def test_few_places_are_no_evidence(count: int) -> None:
    whole = residual_map(right=1.0)
    some = ResidualMap(*(array[:count] for array in whole.arrays().values()))
    assert len(support_of(some).confirmed) == count
    assert judged(some)[0] == ("review" if count < 12 else "pass")


def test_thin_evidence_all_over_is_for_a_person_to_see() -> None:
    assert judged(residual_map(right=0.3))[0] == "review"


def test_without_a_confirmed_start_half_as_much_is_a_failure() -> None:
    residual = residual_map(right=1.0)
    strip = spoiled(residual, residual.points[:, 0] > 19 * STEP_PX, 225.0)
    gone = spoiled(strip, residual.points[:, 1] > 18.6 * STEP_PX, 225.0)
    lost = support_of(gone).lost.mean()
    assert 0.25 < lost < 0.5

    verdict, reasons = judged(gone, start_verified=False)
    assert verdict == "fail"
    assert "could not be confirmed" in reasons
    assert judged(residual, start_verified=False)[0] == "review"


def test_coarse_images_are_held_to_what_they_can_show() -> None:
    residual = residual_map(right=0.0)
    shift = np.random.default_rng(1).normal(0, 9.0, residual.shift_um.shape)
    coarse = replace(residual, shift_um=shift, reach_um=np.full(len(shift), 100.0))
    assert support_of(coarse).confirmed.mean() > 0.95
