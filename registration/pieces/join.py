"""From what was found for each piece, in pixels of its parts, to one registration of the slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import ndimage

from registration.cell_evidence import CellEvidence
from registration.figures import Folding, Gap, Quality, Residual, Seams, Torn, Verdict
from registration.geometry import Box
from registration.landmarks.landmarks import Landmarks, Moving
from registration.pair import SlidePair
from registration.piece_map import MappedPiece, PieceMap, initial_of, outlines_of
from registration.pieces.drawn import DrawnPair
from registration.pieces.find import Pieces
from registration.pieces.frames import astray, corner, on_slides
from registration.pieces.part import PiecePart
from registration.pieces.planned import LonePiece, PiecePlan, PlannedPiece
from registration.quality.cells import evidence_of
from registration.quality.quality import landmark_errors, residual_summary
from registration.quality.uncertainty import uncertainty_of
from registration.quality.verdict import against, verdict_of
from registration.residual_map import ResidualMap
from registration.result import BlockRecord, LeftOut, PieceRecord, PieceStatus, StartRecord
from registration.transforms import Chain, DisplacementField, Projective, Transform

Area = TypeVar("Area", Gap, Torn)

TERRITORY_UM = 300.0
"""A piece's territory is its tissue and the glass around it up to this far, or half-way to the next."""

REACH_UM = 400.0
"""The same on the moving slide, where the warped territory need not end at the same place."""

MISSING_UM = 100.0
MUCH_MISSING = 0.1
"""What of a piece lies farther than so much from all of it on the other slide is missing there; it is
named where it is more than this share."""

MUCH_LOOSE = 0.05
"""A person should look where fragments of no piece hold more than this share of a slide's tissue."""

OUTLINE_UM = 15.0
"""Outlines are drawn this far around the tissue."""


@dataclass(frozen=True, eq=False)
class PieceResult:
    """A registered piece, in level-0 pixels of the two slides."""

    planned: PlannedPiece
    chain: Chain
    blocks: tuple[BlockRecord, ...]
    quality: Quality
    places: ResidualMap
    verdict: Verdict
    reasons: tuple[str, ...]


def result_on_slides(
    planned: PlannedPiece,
    chain: Chain,
    records: Sequence[BlockRecord],
    quality: Quality,
    places: ResidualMap,
) -> PieceResult:
    """Return what was found for a piece, in pixels of its parts, in level-0 pixels of the slides."""
    fixed, moving = planned.fixed.slide.box, planned.moving.slide.box
    blocks = [
        replace(block, x=block.x + fixed.x, y=block.y + fixed.y, piece=planned.number)
        for block in records
    ]
    quality = _quality_on_slide(quality, fixed)
    verdict, reasons = verdict_of(quality, blocks, planned.start.record.verified)
    return PieceResult(
        planned,
        Chain(tuple(_step_on_slides(step, fixed, moving) for step in chain.steps)),
        tuple(blocks),
        quality,
        replace(places, points=places.points + corner(fixed)),
        verdict,
        tuple(reasons),
    )


def map_of(plan: PiecePlan, results: Sequence[PieceResult], pair: SlidePair) -> PieceMap:
    """Return the chains of all pieces behind one look-up."""
    pieces = [
        MappedPiece(
            result.planned.number,
            _outlines(plan.fixed, result.planned.fixed, TERRITORY_UM),
            _outlines(plan.moving, result.planned.moving, REACH_UM),
            result.chain,
        )
        for result in results
    ]
    return PieceMap.of(pieces, pair.fixed_slide.size, pair.moving_slide.size)


def truth_of_piece(
    truth: Landmarks | None, number: int, chain: PieceMap, moving: Moving
) -> Landmarks | None:
    """Return the pairs that lie on one piece of the fixed slide; ``None`` where there are none."""
    if truth is None:
        return None
    fixed = truth.ihc if moving == "he" else truth.he
    own = chain.fixed_territories.at(fixed) == number
    return truth.take(own) if (own & truth.enabled).any() else None


def scored(
    results: Sequence[PieceResult], chain: PieceMap, pair: SlidePair, truth: Landmarks | None
) -> list[PieceResult]:
    """Add each piece's landmark errors."""
    found = []
    for result in results:
        own = truth_of_piece(truth, result.planned.number, chain, pair.moving)
        tre = (
            {}
            if own is None
            else landmark_errors(pair, initial_of(result.chain), result.chain, own)
        )
        found.append(replace(result, quality=replace(result.quality, tre=tre)))
    return found


def quality_of(
    results: Sequence[PieceResult], chain: PieceMap, pair: SlidePair, truth: Landmarks | None
) -> Quality:
    """Return the figures of the whole slide: over all pieces, by their tissue, or the worst."""
    weights = np.array([result.planned.fixed.tissue_um2 for result in results])
    weights /= weights.sum()
    own = [result.quality for result in results]
    places = ResidualMap.joined([result.places for result in results])
    mapped = None
    if truth is not None:
        fixed = truth.ihc if pair.moving == "he" else truth.he
        on_piece = chain.fixed_territories.at(fixed) > 0
        mapped = truth.take(on_piece) if (on_piece & truth.enabled).any() else None
    return Quality(
        folding=Folding(
            min(q.folding.jacobian_min for q in own),
            min(q.folding.jacobian_p01 for q in own),
            max(q.folding.jacobian_p99 for q in own),
            max(q.folding.jacobian_max for q in own),
            float(weights @ [q.folding.folded_fraction for q in own]),
        ),
        seams=_worst_seams([q.seams for q in own if q.seams is not None]),
        residual=residual_summary(places, pair.fixed_slide.mpp),
        filled_fraction=float(weights @ [q.filled_fraction for q in own]),
        tre={} if mapped is None else landmark_errors(pair, initial_of(chain), chain, mapped),
        torn=max((q.torn for q in own if q.torn), key=lambda torn: torn.length_mm, default=None),
        cells=evidence_of([field for q in own if q.cells for field in q.cells.fields]),
        uncertainty=uncertainty_of(places, pair.fixed_slide.mpp),
    )


def start_of(results: Sequence[PieceResult]) -> StartRecord:
    """Return the start of the slide: that of the piece with the least evidence."""
    records = [result.planned.start.record for result in results]
    return min(records, key=lambda record: (record.verified, record.evidence["share"]))


def verdict_of_pieces(
    results: Sequence[PieceResult], plan: PiecePlan, moving: Moving
) -> tuple[Verdict, list[str]]:
    """Return the slide's verdict: it passes only if every piece does, and fails only if all do.

    Tissue that may have a partner which could not be confirmed needs a look, and so has much tissue
    in fragments of no piece; what is missing of a piece on the fixed slide is named.
    """
    verdicts = {result.verdict for result in results}
    verdict: Verdict = "review"
    if len(verdicts) == 1:
        verdict = verdicts.pop()
    reasons = [
        f"piece {result.planned.number}: {reason}"
        for result in results
        if result.verdict != "pass"
        for reason in result.reasons
    ]
    notes = [_lone_note(*numbered) for numbered in enumerate(plan.lone, len(results) + 1)]
    notes += [note for result in results if (note := _missing_note(result, plan, moving))]
    names = ("IHC", "H&E") if moving == "he" else ("H&E", "IHC")
    slides = dict(zip(names, (plan.fixed, plan.moving), strict=True))
    notes += [_loose_note(name, pieces) for name, pieces in slides.items() if pieces.loose_um2]
    doubtful = any(piece.is_doubt for piece in plan.lone)
    doubtful |= any(pieces.loose_share > MUCH_LOOSE for pieces in slides.values())
    if verdict == "pass" and doubtful:
        verdict = "review"
    if verdict == "pass":
        remarks = [(r.planned.number, remark) for r in results for remark in r.reasons[1:]]
        reasons = ["all checks passed", *(f"piece {n}: {remark}" for n, remark in remarks)]
    return verdict, reasons + notes


def piece_records(
    plan: PiecePlan, results: Sequence[PieceResult], moving: Moving
) -> list[PieceRecord]:
    """Return the record of every piece: first the registered ones, then those left out."""
    records = [
        PieceRecord(
            number=result.planned.number,
            status="registered",
            note="",
            tissue_mm2=result.planned.fixed.tissue_um2 / 1e6,
            fixed_outlines=_rings(plan.fixed, result.planned.fixed),
            moving_outlines=_rings(plan.moving, result.planned.moving),
            verdict=result.verdict,
            reasons=result.reasons,
            start=result.planned.start.record,
            quality=result.quality,
        )
        for result in results
    ]
    for number, lone in enumerate(plan.lone, len(results) + 1):
        pieces = plan.fixed if lone.on_fixed else plan.moving
        rings = _rings(pieces, lone.part)
        records.append(
            PieceRecord(
                number=number,
                status=_lone_status(lone, moving),
                note=lone.note,
                tissue_mm2=lone.part.tissue_um2 / 1e6,
                fixed_outlines=rings if lone.on_fixed else (),
                moving_outlines=() if lone.on_fixed else rings,
            )
        )
    return records


def landmarks_of(results: Sequence[PieceResult], moving: Moving) -> Landmarks:
    """Return the landmarks of all pieces, named after them."""
    own = [result.planned.landmarks(moving) for result in results]
    return Landmarks(
        tuple(name for landmarks in own for name in landmarks.names),
        np.concatenate([landmarks.he for landmarks in own]),
        np.concatenate([landmarks.ihc for landmarks in own]),
        np.concatenate([landmarks.enabled for landmarks in own]),
        tuple(str(r.planned.number) for r, lm in zip(results, own, strict=True) for _ in lm.names),
    )


def _step_on_slides(step: Transform, fixed: Box, moving: Box) -> Transform:
    """Return a step of a chain of two parts, cut at these boxes, as one of the slides'."""
    if isinstance(step, Projective):
        return on_slides(step, fixed, moving)
    assert isinstance(step, DisplacementField)
    x, y = step.origin
    return DisplacementField((x + fixed.x, y + fixed.y), step.spacing, step.coefficients)


def _quality_on_slide(quality: Quality, fixed: Box) -> Quality:
    """Return a part's figures with their areas in the slide's pixels.

    How far off it may be is stated once, on the map of the whole slide.
    """
    return replace(
        quality,
        residual=_residual_on_slide(quality.residual, fixed),
        cells=_cells_on_slide(quality.cells, fixed),
        torn=_moved(quality.torn, fixed),
        uncertainty=None,
    )


def _residual_on_slide(residual: Residual | None, fixed: Box) -> Residual | None:
    if residual is None:
        return None
    gap, loss = _moved(residual.largest_gap, fixed), _moved(residual.largest_loss, fixed)
    return replace(residual, largest_gap=gap, largest_loss=loss)


def _moved(area: Area | None, fixed: Box) -> Area | None:
    return area and replace(area, x=area.x + fixed.x, y=area.y + fixed.y)


def _cells_on_slide(cells: CellEvidence | None, fixed: Box) -> CellEvidence | None:
    """Return a part's evidence with its fields in the slide's pixels."""
    if cells is None:
        return None
    fields = tuple(replace(f, x=f.x + fixed.x, y=f.y + fixed.y) for f in cells.fields)
    return replace(cells, fields=fields)


def _outlines(pieces: Pieces, part: PiecePart, reach_um: float) -> tuple[np.ndarray, ...]:
    """Return the territory of a part."""
    return outlines_of(pieces.near(part.numbers, reach_um), pieces.downsample)


def left_out_of(drawn: DrawnPair | None, moving: Moving) -> LeftOut:
    """Return what a person drew as not to be used, on each slide."""
    he, ihc = (
        tuple(tuple(tuple(map(tuple, ring.tolist())) for ring in area) for area in side.left_out)
        if side
        else ()
        for side in ((drawn.he, drawn.ihc) if drawn else (None, None))
    )
    return LeftOut(ihc, he) if moving == "he" else LeftOut(he, ihc)


def _rings(pieces: Pieces, part: PiecePart) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the tissue's own outer borders, to be looked at."""
    own = ndimage.binary_fill_holes(pieces.near(part.numbers, OUTLINE_UM))
    return tuple(
        tuple((float(x), float(y)) for x, y in outline)
        for outline in outlines_of(own, pieces.downsample)
    )


def _worst_seams(seams: Sequence[Seams]) -> Seams | None:
    if not seams:
        return None
    return max(seams, key=lambda found: found.jump_p95_px)


def _lone_status(lone: LonePiece, moving: Moving) -> PieceStatus:
    on_ihc = lone.on_fixed == (moving == "he")
    return "only on IHC" if on_ihc else "only on H&E"


def _lone_note(number: int, lone: LonePiece) -> str:
    return f"piece {number} left out, {_area(lone.part.tissue_um2)} of tissue: {lone.note}"


def _area(area_um2: float) -> str:
    """Return an area in words; however small, it is more than nothing."""
    area_mm2 = area_um2 / 1e6
    return f"{area_mm2:.1f} mm²" if area_mm2 >= 0.1 else f"{area_mm2:.1g} mm²"


def _loose_note(name: str, pieces: Pieces) -> str:
    """Say how much tissue of a slide lies in fragments of no piece."""
    share = against(100 * pieces.loose_share, 100 * MUCH_LOOSE, "%")
    return (
        f"{_area(pieces.loose_um2)} of tissue on the {name} left out, {share}: fragments apart from "
        "every piece and too small to be one"
    )


def _missing_note(result: PieceResult, plan: PiecePlan, moving: Moving) -> str:
    """Say how much of a piece the fixed slide lacks; empty where it shows nearly all of it."""
    fixed, there = result.planned.fixed, result.planned.moving
    back = result.chain.steps[-1].inverse
    share = astray(plan.moving, there.numbers, back, plan.fixed, fixed.numbers, MISSING_UM)
    if share <= MUCH_MISSING:
        return ""
    names = ("H&E", "IHC") if moving == "he" else ("IHC", "H&E")
    return (
        f"piece {result.planned.number}: {100 * share:.0f} % of its tissue on the {names[0]}, "
        f"{share * there.tissue_um2 / 1e6:.1f} mm², is not on the {names[1]}"
    )
