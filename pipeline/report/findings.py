"""What a registration's figures mean, in words: one finding per question, one tile per figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from registration.figures import TRE_STAGES, ErrorSummary
from registration.files.words import counted
from registration.landmarks.projective import leave_one_out
from registration.pages.page import VERDICT_MARKS, Finding, Mark, Tile, number, significant
from registration.pages.plots import range_plot
from registration.quality.seams import VISIBLE_JUMP_PX
from registration.quality.verdict import (
    LARGE_RESIDUAL_UM,
    MUCH_FILLED,
    MUCH_UNCONFIRMED,
    confirmation,
    place_of,
)
from registration.result import STATUS_WORDS, BlockRecord, Registration

MOST_CELLS_WITH_WORDS = 36
STATUS_MARKS: dict[str, Mark] = {"registered": "ok", "blank": "none", "fallback": "look"}
SHOWN_LANDMARKS = 12
FEWEST_FOR_RESIDUALS = 5
MOST_FOR_LEFT_OUT = 500


LITTLE_LIKENESS = 0.1
"""A registered block whose sections are no more alike than this shows no evidence of its result."""


@dataclass(frozen=True, slots=True)
class TreRow:
    """Landmark errors at one stage."""

    stage: str
    summary: ErrorSummary


@dataclass(frozen=True, slots=True)
class LandmarkRow:
    """One pair; distances in µm."""

    name: str
    fixed: tuple[float, float]
    moving: tuple[float, float]
    residual_um: float
    left_out_um: float | None
    after_um: float
    worst: bool


@dataclass(frozen=True, slots=True)
class BlockCell:
    """One block of the grid."""

    record: BlockRecord
    place: str
    mark: Mark
    sign: str
    words: str


def tiles(registration: Registration) -> list[Tile]:
    """Return the figures a reader wants first; those that were not measured are left out."""
    quality = registration.quality
    folding, filled = quality.folding, quality.filled_fraction
    found = [*_error_tiles(registration), _blocks_tile(registration)]
    folded = "none" if folding.folded_fraction == 0 else f"{100 * folding.folded_fraction:.2g} %"
    found.append(
        Tile(
            "Folding",
            folded,
            f"smallest Jacobian {number(folding.jacobian_min, 2)}",
            folding_finding(registration).mark,
            "folding",
        )
    )
    if quality.seams is not None:
        jump = f"{significant(quality.seams.jump_p95_px)} px"
        mark = seams_finding(registration).mark
        found.append(Tile("Jump at block borders", jump, "95th percentile", mark, "seams"))
    found.append(
        Tile(
            "Tissue without counterpart",
            f"{100 * filled:.1f} %",
            "filled with surrounding content",
            "look" if filled > MUCH_FILLED else "ok",
            "overlay",
        )
    )
    return found


def _error_tiles(registration: Registration) -> list[Tile]:
    """Return what known points and local matches say of the accuracy."""
    found = []
    tre, residual = registration.quality.tre.get("after_all"), registration.quality.residual
    if tre is not None:
        note = f"median of {tre.count} known points; 90 % within {significant(tre.p90_um)} µm"
        found.append(
            Tile("Landmark error", f"{significant(tre.median_um)} µm", note, "none", "tre")
        )
    if residual is not None:
        shift: Mark = "look" if residual.median_um > LARGE_RESIDUAL_UM else "ok"
        found += [
            Tile(
                "Remaining shift",
                f"{significant(residual.median_um)} µm",
                f"median of the points that match; limit {LARGE_RESIDUAL_UM:g} µm",
                shift,
                "residual",
            ),
        ]
    if residual is not None and np.isfinite(residual.confirmed_fraction):
        found.append(
            Tile(
                "Tissue confirmed",
                f"{100 * residual.confirmed_fraction:.0f} %",
                f"of {residual.points} places; limit {100 * (1 - MUCH_UNCONFIRMED):g} %",
                VERDICT_MARKS[confirmation(residual)],
                "residual",
            )
        )
    return found


def _blocks_tile(registration: Registration) -> Tile:
    statuses = [block.status for block in registration.blocks]
    value = f"{statuses.count('registered')} of {len(statuses)}"
    note = ", ".join(
        f"{statuses.count(status)} {words}"
        for status, words in STATUS_WORDS.items()
        if status != "registered"
    )
    mark = blocks_finding(registration).mark
    return Tile("Blocks registered", value, note, mark, "blocks")


def displacement_finding(largest_um: float) -> Finding:
    """Say how far the non-rigid step moved the tissue."""
    if largest_um == 0:
        return Finding("none", "The non-rigid step moved nothing.")
    return Finding("none", f"By up to {significant(largest_um)} µm within tissue.")


def folding_finding(registration: Registration) -> Finding:
    """Say whether the field folds."""
    folding = registration.quality.folding
    low, high = (100 * (value - 1) for value in (folding.jacobian_p01, folding.jacobian_p99))
    change = f"areas change by {number(low, 0)} % to {number(high, 0)} % (1st to 99th percentile)"
    if folding.folded_fraction > 0:
        share = 100 * folding.folded_fraction
        return Finding("look", f"Yes, on {share:.2g} % of the slide, marked on the map; {change}.")
    return Finding(
        "ok", f"No: {change}; the smallest Jacobian is {number(folding.jacobian_min, 2)}."
    )


def residual_finding(registration: Registration) -> Finding:
    """Say what shift is left."""
    residual = registration.quality.residual
    if residual is None:
        return Finding("look", "Too little tissue to measure it.")
    matched = 100 * residual.matched_fraction
    text = (
        f"{significant(residual.median_um)} µm (median), 90 % of matched points within "
        f"{significant(residual.p90_um)} µm; {matched:.0f} % of {residual.points} points match "
        "better than chance"
    )
    if np.isfinite(residual.confirmed_fraction):  # older runs did not measure it
        text += f", {100 * residual.confirmed_fraction:.0f} % are confirmed by those around them"
    text += "."
    mark = VERDICT_MARKS[confirmation(residual)]
    if mark == "ok" and residual.median_um > LARGE_RESIDUAL_UM:
        mark = "look"
    return Finding(mark, text)


def seams_finding(registration: Registration) -> Finding:
    """Say whether block borders show."""
    seams = registration.quality.seams
    if seams is None:
        return Finding("none", "The slide was registered as one block: there is no border.")
    text = f"the registration jumps by {significant(seams.jump_p95_px)} px (95th percentile), "
    text += f"{significant(seams.jump_max_px)} px at most"
    if seams.jump_p95_px > VISIBLE_JUMP_PX:
        return Finding("look", f"Yes: {text}.")
    return Finding("ok", f"No: {text}.")


def blocks_finding(registration: Registration) -> Finding:
    """Say how many blocks were registered."""
    with_tissue = [block for block in registration.blocks if block.status != "blank"]
    several = bool(registration.pieces)
    fallen = [
        (f"piece {block.piece}, " if several else "") + place_of(block.name)
        for block in with_tissue
        if block.status == "fallback"
    ]
    of_all = f"of {counted(len(with_tissue), 'block')} with tissue"
    if not fallen:
        return Finding("ok", f"Yes: {len(with_tissue)} {of_all}.")
    text = f"{len(fallen)} {of_all} fell back: {'; '.join(fallen)}."
    return Finding("bad" if len(fallen) > len(with_tissue) / 2 else "look", text)


def tre_finding(registration: Registration) -> Finding:
    """Say how large the landmark error is."""
    tre = registration.quality.tre.get("after_all")
    if tre is None:
        return Finding("none", "Not measured: no known points were given (--truth).")
    return Finding(
        "none",
        f"Half of {tre.count} known points lie within {significant(tre.median_um)} µm "
        f"({significant(tre.median_px)} px) of their place, 90 % within "
        f"{significant(tre.p90_um)} µm ({significant(tre.p90_px)} px).",
    )


def start_finding(registration: Registration) -> Finding:
    """Say what the initial alignment rests on."""
    start = registration.start
    pairs = int(registration.landmarks.enabled.sum())
    source = (
        "landmark pairs that were given"
        if start.source == "landmarks"
        else ("landmark pairs that were found automatically")
    )
    text = f"On {pairs} {source}"
    if start.mirrored:
        text += "; one section is mirrored, and was turned over"
    if start.verified:
        return Finding("ok", f"{text}; an independent check confirmed the alignment.")
    return Finding("look", f"{text}; an independent check could not confirm the alignment.")


def tre_rows(registration: Registration) -> list[TreRow]:
    """Return the landmark errors of every stage that has them."""
    found = [
        (stage, registration.quality.tre[key])
        for key, stage in TRE_STAGES.items()
        if key in registration.quality.tre
    ]
    return [TreRow(stage, summary) for stage, summary in found]


def tre_plot(rows: list[TreRow]) -> Markup | None:
    """Draw the landmark errors of every stage; ``None`` without known points."""
    if not rows:
        return None
    values = {
        row.stage: (row.summary.median_um, row.summary.p90_um, row.summary.max_um) for row in rows
    }
    return range_plot("Landmark error after each step", values, "µm")


def landmark_rows(registration: Registration) -> list[LandmarkRow]:
    """Return every enabled pair with its residuals, the worst first."""
    landmarks = registration.landmarks
    fixed, moving = landmarks.oriented(registration.moving)
    if not len(fixed):
        return []
    mpp, chain = registration.moved.mpp, registration.chain
    residual = np.hypot(*(chain.steps[-1](fixed) - moving).T) * mpp
    after = np.hypot(*(chain(fixed) - moving).T) * mpp
    judged = FEWEST_FOR_RESIDUALS <= len(fixed) <= MOST_FOR_LEFT_OUT
    one_map = judged and not registration.pieces
    left_out = leave_one_out(fixed, moving) * mpp if one_map else None
    ranking = residual if left_out is None else left_out
    order = np.argsort(-ranking, kind="stable") if judged else np.arange(len(fixed))
    names = landmarks.active().names
    return [
        LandmarkRow(
            names[k],
            (float(fixed[k, 0]), float(fixed[k, 1])),
            (float(moving[k, 0]), float(moving[k, 1])),
            float(residual[k]),
            None if left_out is None else float(left_out[k]),
            float(after[k]),
            judged and position == 0,
        )
        for position, k in enumerate(order)
    ]


def block_cells(registration: Registration) -> list[BlockCell]:
    """Return the blocks, row by row."""
    return [_block_cell(record) for record in registration.blocks]


def _block_cell(record: BlockRecord) -> BlockCell:
    mark, words = STATUS_MARKS[record.status], STATUS_WORDS[record.status]
    alike = record.similarity_after
    if record.status == "registered" and alike is not None and alike < LITTLE_LIKENESS:
        mark, words = "none", "registered, but too little alike to confirm it"
    return BlockCell(record, place_of(record.name), mark, Finding(mark, "").sign, words)
