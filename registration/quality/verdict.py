"""What the figures of a registration amount to: pass, review or fail, and why.

The limits on what is confirmed were chosen on drawn pairs whose error is known (``benchmarks.verdict``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from registration.figures import Gap, Quality, Residual, Torn, Verdict
from registration.files.words import counted
from registration.geometry import Box
from registration.quality.seams import VISIBLE_JUMP_PX
from registration.quality.support import support_of
from registration.residual_map import ResidualMap
from registration.result import BlockRecord

MOST_LOST = 0.5
"""A registration fails where more of the tissue than this matches no better than chance ..."""

MOST_LOST_TOGETHER = 0.2
"""... or this much that lies together ..."""

MOST_LOST_UNVERIFIED = 0.25
"""... or, where the initial alignment is not confirmed either, this much."""

MUCH_UNCONFIRMED = 0.05
"""A person should look where areas that nothing confirms hold more than this share of the tissue ..."""

MANY_UNCONFIRMED = 11
"""... or where one holds more than so many places, a quarter of a square millimetre on whole slides,
however large the section is."""

LARGE_RESIDUAL_UM = 15.0
"""A person should look where half of the places that match are farther off than this."""

MUCH_FILLED = 0.05
"""A person should look where more of the tissue than this has no counterpart."""

UNVERIFIED = "the initial alignment from the picked landmarks could not be confirmed"

FEW_FALLEN = 0.02
"""A person should look where blocks with more of the tissue than this fell back unconfirmed ..."""

BLOCK_CONFIRMED = 0.8
"""... that is, with less of their tissue than this confirmed: one that needed no more is a remark."""


def verdict_of(
    quality: Quality, blocks: list[BlockRecord], start_verified: bool
) -> tuple[Verdict, list[str]]:
    """Return the verdict and its reasons; ``review`` means that a person should look."""
    failures, doubts = _weigh_residual(quality.residual, start_verified)
    if quality.folding.folded_fraction > 0:
        folded = 100 * quality.folding.folded_fraction
        doubts.append(f"the registration folds {folded:.2g} % of the slide (limit 0 %)")
    if quality.seams is not None and quality.seams.jump_p95_px > VISIBLE_JUMP_PX:
        jump = against(quality.seams.jump_p95_px, VISIBLE_JUMP_PX, "px")
        doubts.append(f"the registration jumps by {jump} at block borders (95th percentile)")
    if quality.filled_fraction > MUCH_FILLED:
        share = against(100 * quality.filled_fraction, 100 * MUCH_FILLED, "%")
        doubts.append(f"{share} of the tissue has no counterpart on the other slide")
    if quality.torn is not None and quality.torn.fraction > 0:
        doubts.append(_torn_doubt(quality.torn))
    fallen, remarks = _weigh_blocks(blocks)
    remarks += _gap_remark(quality.residual)
    doubts += fallen
    if failures:
        return "fail", failures + doubts
    return ("review", doubts) if doubts else ("pass", ["all checks passed", *remarks])


def with_doubt(found: tuple[Verdict, list[str]], doubt: str | None) -> tuple[Verdict, list[str]]:
    """Return a verdict after one more doubt, ``None`` for none."""
    verdict, reasons = found
    if doubt is None:
        return found
    if verdict == "pass":
        return "review", [doubt]
    return verdict, [*reasons, doubt]


def against(value: float, limit: float, unit: str) -> str:
    """Return a value and its limit in one unit, precise enough to tell them apart."""
    decimals = 1
    while decimals < 6 and float(f"{value:.{decimals}f}") == limit and value != limit:
        decimals += 1
    return f"{value:.{decimals}f} {unit} (limit {limit:g} {unit})"


def _weigh_residual(residual: Residual | None, start_verified: bool) -> tuple[list[str], list[str]]:
    """Return failures and doubts from what the local matches say."""
    if residual is None:
        little = "too little tissue to measure the shift that is left"
        return [], [little] if start_verified else [UNVERIFIED, little]
    failure = _lost_reason(residual, start_verified)
    doubts = [] if start_verified or UNVERIFIED in failure else [UNVERIFIED]
    if not failure and (gap := _gap_doubt(residual)):
        doubts.append(gap)
    if residual.median_um > LARGE_RESIDUAL_UM:
        shift = against(residual.median_um, LARGE_RESIDUAL_UM, "µm")
        doubts.append(f"a shift of {shift} is left (median)")
    return ([failure] if failure else []), doubts


def confirmation(residual: Residual, start_verified: bool = True) -> Verdict:
    """Return what the tissue that nothing confirms amounts to."""
    if _lost_reason(residual, start_verified):
        return "fail"
    return "review" if _gap_doubt(residual) else "pass"


def _gap_doubt(residual: Residual) -> str:
    """Return what tissue a person should look at as nothing confirms it; empty for none."""
    gap = residual.largest_gap
    if gap is None:
        return ""
    if residual.gap_fraction > MUCH_UNCONFIRMED:
        share = against(100 * residual.gap_fraction, 100 * MUCH_UNCONFIRMED, "%")
        return f"areas with {share} of the tissue are not confirmed; the largest {_how(gap)}"
    places = round(gap.fraction * residual.points)
    if places > MANY_UNCONFIRMED:
        limit = gap.area_mm2 * MANY_UNCONFIRMED / places
        return f"an area of {against(gap.area_mm2, limit, 'mm²')} is not confirmed: it {_how(gap)}"
    return ""


def _gap_remark(residual: Residual | None) -> list[str]:
    """Name tissue that nothing confirms and that is too little for a doubt: fragments may have moved."""
    if residual is None or residual.largest_gap is None:
        return []
    share = f"{100 * residual.gap_fraction:.2g} % of the tissue"
    return [
        f"too little to doubt the rest: {share} is not confirmed; it {_how(residual.largest_gap)}"
    ]


def _torn_doubt(torn: Torn) -> str:
    """Say where tissue is torn."""
    return (
        f"tissue is stretched or pressed as it never is, along {torn.length_mm:.1f} mm around "
        f"({torn.x:.0f}, {torn.y:.0f}) px: a part of it lies elsewhere on the other slide, or is torn or "
        "folded there"
    )


def _lost_reason(residual: Residual, start_verified: bool) -> str:
    """Return why so much tissue is lost that the registration fails; empty where it is not."""
    lost, loss = residual.lost_fraction, residual.largest_loss
    most = MOST_LOST if start_verified else MOST_LOST_UNVERIFIED
    if loss is not None and np.isfinite(loss.shift_um) and loss.fraction > MOST_LOST_TOGETHER:
        share = against(100 * loss.fraction, 100 * MOST_LOST_TOGETHER, "%")
        return f"an area with {share} of the tissue {_how(loss)}"
    if lost > most:
        beside = "" if start_verified else f", and {UNVERIFIED}"
        share = against(100 * lost, 100 * most, "%")
        return f"{share} of the tissue matches no better than chance{beside}"
    if loss is not None and loss.fraction > MOST_LOST_TOGETHER:
        share = against(100 * loss.fraction, 100 * MOST_LOST_TOGETHER, "%")
        return f"an area with {share} of the tissue {_how(loss)}"
    return ""


def _how(gap: Gap) -> str:
    """Say what is wrong with an area, and where it lies."""
    where = f"around ({gap.x:.0f}, {gap.y:.0f}) px, {gap.area_mm2:.2g} mm²"
    if np.isfinite(gap.shift_um):
        return f"lies {gap.shift_um:.0f} µm off its place ({where})"
    return f"has no match that most agree on ({where})"


def _weigh_blocks(blocks: list[BlockRecord]) -> tuple[list[str], list[str]]:
    """Return doubts about, and remarks on, the blocks that fell back, weighed by their tissue."""
    tissue = {block.name: block.tissue * block.width * block.height for block in blocks}
    doubtful, remarks = [], []
    for block in (block for block in blocks if block.status == "fallback"):
        confirmed = block.confirmed or 0.0
        if confirmed >= BLOCK_CONFIRMED:
            remarks.append(
                f"the block in {place_of(block.name)} kept the coarse alignment, which fits: "
                f"{100 * confirmed:.0f} % of its tissue is confirmed"
            )
        else:
            doubtful.append(block)
    share = sum(tissue[block.name] for block in doubtful) / max(sum(tissue.values()), 1e-9)
    if share <= FEW_FALLEN:
        return [], remarks
    which = "; ".join(place_of(block.name) for block in doubtful)
    held = against(100 * share, 100 * FEW_FALLEN, "%")
    fell = f"{counted(len(doubtful), 'block')} fell back to the coarse alignment ({which})"
    return [f"{fell}, {held} of the tissue"], remarks


def with_confirmed(blocks: Sequence[BlockRecord], places: ResidualMap) -> list[BlockRecord]:
    """Add to each block how much of its tissue the places of the same frame confirm."""
    confirmed = support_of(places).confirmed
    found = []
    for block in blocks:
        inside = Box(block.x, block.y, block.width, block.height).contains(places.points)
        share = float(confirmed[inside].mean()) if inside.any() else None
        found.append(replace(block, confirmed=share))
    return found


def place_of(block: str) -> str:
    """Return where in the grid a block of some name lies, in words.

    >>> place_of("1-4")
    'row 1, column 4'
    """
    row, column = block.split("-")
    return f"row {row}, column {column}"
