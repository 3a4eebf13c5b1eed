"""Both glasses with their pieces numbered, and what became of each piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registration.files.pictures import jpeg_uri
from registration.geometry import from_level0
from registration.pages.page import significant
from registration.pair import SlidePair
from registration.pieces.planned import ANOTHER_LEVEL
from registration.result import PieceRecord, Registration, Ring
from registration.slides.slide import Slide

GLASS_PX = 900
COLOURS = (
    *("#e6194b", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"),
    *("#8c564b", "#7f3fbf", "#bcbd22", "#17becf"),
)
"""Of the outlines, in turn; the same on both glasses."""

LEFT_OUT_COLOUR = "#777777"
ADVICE = {
    "pass": "Use it as it is.",
    "review": "Look at what is named before you use it.",
    "fail": "Leave it out, or pick four landmarks on it and register again.",
}
PICKED_ADVICE = "Check its landmarks: they may lie on other tissue. Else leave it out."
LONE_ADVICE = "Nothing, if it is control tissue or was lost; else pick four landmarks on it."
LEVEL_ADVICE = "Nothing: that piece shows the same tissue."


@dataclass(frozen=True, slots=True)
class Outline:
    """One piece on one glass, in pixels of the picture."""

    number: int
    colour: str
    rings: tuple[str, ...]
    """Points of polygons, as SVG writes them."""
    x: float
    y: float
    """Where the number stands."""
    dashed: bool


@dataclass(frozen=True, slots=True)
class Glass:
    """One slide with its pieces."""

    name: str
    uri: str
    width: int
    height: int
    outlines: tuple[Outline, ...]


@dataclass(frozen=True, slots=True)
class PieceRow:
    """One line of the table."""

    number: int
    colour: str
    verdict: str
    tissue: str
    shift: str
    matched: str
    error: str
    reasons: tuple[str, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class PiecesSection:
    """All that the page shows of the pieces."""

    glasses: tuple[Glass, ...]
    rows: tuple[PieceRow, ...]


def pieces_section(registration: Registration, pair: SlidePair) -> PiecesSection | None:
    """Return the section; ``None`` where one chain serves the whole slide."""
    if not registration.pieces:
        return None
    moving_is_he = registration.moving == "he"
    glasses = tuple(
        _glass(name, slide, registration.pieces, (name == "H&E") == moving_is_he)
        for name, slide in (("H&E", pair.he), ("IHC", pair.ihc))
    )
    return PiecesSection(glasses, tuple(row_of(piece) for piece in registration.pieces))


def colour_of_piece(piece: PieceRecord) -> str:
    """Return the colour of a piece's outline and row."""
    if piece.status != "registered":
        return LEFT_OUT_COLOUR
    return COLOURS[(piece.number - 1) % len(COLOURS)]


def _glass(name: str, slide: Slide, pieces: tuple[PieceRecord, ...], is_moving: bool) -> Glass:
    """Draw the outlines of the pieces that lie on one slide."""
    image, downsample = slide.thumbnail(GLASS_PX)
    height, width = image.shape[:2]
    outlines = []
    for piece in pieces:
        rings = piece.moving_outlines if is_moving else piece.fixed_outlines
        if rings:
            outlines.append(_outline(piece, rings, downsample))
    return Glass(name, jpeg_uri(image), width, height, tuple(outlines))


def _outline(piece: PieceRecord, rings: tuple[Ring, ...], downsample: float) -> Outline:
    drawn = [from_level0(np.array(ring, np.float64), downsample) for ring in rings]
    largest = max(drawn, key=len)
    x, y = largest.mean(axis=0)
    texts = [" ".join(f"{a:.1f},{b:.1f}" for a, b in ring) for ring in drawn]
    dashed = piece.status != "registered"
    return Outline(piece.number, colour_of_piece(piece), tuple(texts), float(x), float(y), dashed)


def row_of(piece: PieceRecord) -> PieceRow:
    """Return the line of one piece; what was not measured is a dash."""
    residual = piece.quality.residual if piece.quality else None
    tre = piece.quality.tre.get("after_all") if piece.quality else None
    verdict = piece.verdict or "left out"
    reasons = piece.reasons if piece.verdict else (piece.note,)
    return PieceRow(
        piece.number,
        colour_of_piece(piece),
        verdict,
        f"{piece.tissue_mm2:.1f}",
        "–" if residual is None else significant(residual.median_um),
        "–" if residual is None else f"{100 * residual.matched_fraction:.0f}",
        "–" if tre is None else significant(tre.median_um),
        () if verdict == "pass" else reasons,
        _advice(piece),
    )


def _advice(piece: PieceRecord) -> str:
    """Say what a person should do about a piece."""
    if piece.verdict is None:
        return LEVEL_ADVICE if piece.note.startswith(ANOTHER_LEVEL) else LONE_ADVICE
    if piece.verdict == "fail" and piece.start is not None and piece.start.source == "landmarks":
        return PICKED_ADVICE
    return ADVICE[piece.verdict]
