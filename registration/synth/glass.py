"""Several pieces of tissue on one glass: where each lies, and how its slide is painted.

Every piece is a pair of its own, with its own seed, rotation, shift and warp. The H&E glass shows the
pieces upright; the IHC glass shows them turned, in the same order or another, with control tissue
besides, and without those that were lost. A glass that was turned over shows everything mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from registration.errors import SynthError
from registration.geometry import Box, Points, Size
from registration.synth import optics
from registration.synth.ndpi import SIZE_STEP, TILE_WIDTH
from registration.synth.noise import Float32
from registration.synth.paint import Painter, SlidePainter
from registration.synth.section import Cut, cut_sections
from registration.synth.settings import GlassSettings, Section, SynthSettings
from registration.transforms import Chain, Projective

PieceKind = Literal["both", "only he", "only ihc"]

LARGE_TILES = 8
"""A glass of so many tiles or more is a whole number of them wide and high."""

GAP_SHARE = 0.03
"""Between the cells of two pieces, as a share of the largest; tissue keeps clear of its cell's edge."""

WIDENED = 1.45
"""Width of a glass over the side of a square that holds the cells: two lie side by side."""

SMALLEST_SHARE = 0.75
CORE_WIDTH_UM = 900.0
"""A needle's core is 0.8 mm wide or less; its cell is a little wider."""

CORE_WIDTH_SHARES = (0.2, 0.4)
CORE_TURN_DEG = 30.0
REACH_SHARE = 0.12
"""How far a piece may reach beyond its cell, as a share of the cell's longer side."""


@dataclass(frozen=True, slots=True)
class GlassPiece:
    """One piece of tissue and its cell on each glass; ``None`` where it does not lie."""

    number: int
    kind: PieceKind
    settings: SynthSettings
    he: Box | None
    ihc: Box | None

    def cell(self, section: Section) -> Box | None:
        """Return the cell on one of the two glasses."""
        return self.he if section == "he" else self.ihc


@dataclass(frozen=True, slots=True)
class GlassPlan:
    """What lies where on the two glasses of a pair."""

    settings: SynthSettings
    pieces: tuple[GlassPiece, ...]
    he_size: Size
    ihc_size: Size

    def size_of(self, section: Section) -> Size:
        """Return the level-0 size of one glass."""
        return self.he_size if section == "he" else self.ihc_size


def plan_glass(settings: SynthSettings) -> GlassPlan:
    """Throw the dice for both glasses. Raises :class:`SynthError` without ``settings.glass``."""
    glass = settings.glass
    if glass is None:
        raise SynthError("these settings are those of a single section")
    rng = np.random.default_rng([settings.seed, 901])
    kinds: list[PieceKind] = ["both" for _ in range(glass.pieces)]
    kinds += ["only he"] if glass.lost else []
    kinds += ["only ihc"] if glass.control else []
    own = [_piece_settings(settings, number, rng) for number in range(len(kinds))]
    own = [replace(piece, damage=settings.damage[k :: len(own)]) for k, piece in enumerate(own)]
    on_he = [k for k, kind in enumerate(kinds) if kind != "only ihc"]
    on_ihc = [k for k, kind in enumerate(kinds) if kind != "only he"]
    he, he_size = _laid_out({k: own[k].he_size for k in on_he})
    order = _arranged(on_ihc, glass, rng)
    ihc, ihc_size = _laid_out({k: own[k].ihc_size for k in order})
    if settings.mirrored:
        ihc = {k: replace(box, x=ihc_size.width - box.right) for k, box in ihc.items()}
    pieces = tuple(
        GlassPiece(k + 1, kind, own[k], he.get(k), ihc.get(k)) for k, kind in enumerate(kinds)
    )
    return GlassPlan(settings, pieces, he_size, ihc_size)


def slide_size(settings: SynthSettings, section: Section) -> Size:
    """Return the level-0 size of a slide, of one section or of several pieces."""
    if settings.glass is None:
        return settings.size_of(section)
    return plan_glass(settings).size_of(section)


def painter_of(settings: SynthSettings, section: Section) -> SlidePainter:
    """Return the painter of one slide of a pair."""
    if settings.glass is None:
        return Painter(_cut_of(settings, section))
    plan = plan_glass(settings)
    placed = [
        PlacedPiece(piece, cell, _cut_of(piece.settings, section))
        for piece in plan.pieces
        if (cell := piece.cell(section)) is not None
    ]
    return GlassPainter(plan, section, placed)


def piece_truth(piece: GlassPiece, truth: Chain) -> Chain:
    """Return the map IHC -> HE of a piece between level-0 pixels of the glasses.

    ``truth`` is the map between the piece's own cells.
    """
    assert piece.he is not None
    assert piece.ihc is not None
    into = Projective.translation(-piece.ihc.x, -piece.ihc.y)
    out_of = Projective.translation(piece.he.x, piece.he.y)
    return Chain((into, *truth.steps, out_of))


@dataclass(frozen=True, eq=False)
class PlacedPiece:
    """A section of a piece in its cell."""

    piece: GlassPiece
    cell: Box
    cut: Cut

    def reaches(self, box: Box) -> bool:
        """Whether the piece may show on ``box`` of the glass."""
        reach = self.cell.expanded(round(REACH_SHARE * max(self.cell.size.shape)))
        return reach.overlaps(box)

    def local(self, points: Points) -> Points:
        """Return points of the glass in pixels of the cell."""
        return points - [self.cell.x, self.cell.y]


class GlassPainter(SlidePainter):
    """Paints all pieces of one glass."""

    def __init__(self, plan: GlassPlan, section: Section, placed: Sequence[PlacedPiece]) -> None:
        super().__init__(plan.size_of(section), section, plan.settings)
        self._glass = np.array(optics.STAINS[section].glass, np.float32)
        self._parts = [(place, Painter(place.cut)) for place in placed]

    def transmitted(self, box: Box) -> Float32:
        """Return the light through all pieces that reach ``box``, one after another."""
        light = np.broadcast_to(self._glass, (box.height, box.width, 3)).copy()
        for place, painter in self._parts:
            if place.reaches(box):
                own = Box(box.x - place.cell.x, box.y - place.cell.y, box.width, box.height)
                light *= painter.transmitted(own) / self._glass
        return light


def _cut_of(settings: SynthSettings, section: Section) -> Cut:
    he, ihc, _ = cut_sections(settings)
    return he if section == "he" else ihc


def _piece_settings(
    settings: SynthSettings, number: int, rng: np.random.Generator
) -> SynthSettings:
    """Return the settings of one piece: a seed, a size and a rotation of its own."""
    share = rng.uniform(SMALLEST_SHARE, 1)
    if settings.outline == "core":
        turn = float(rng.uniform(-CORE_TURN_DEG, CORE_TURN_DEG) + 180 * rng.integers(2))
    else:
        turn = float(rng.uniform(0, 360))
    if settings.number_of("ihc") > 1:
        turn += float(np.random.default_rng(settings.dice(902, number)).uniform(-180, 180))
    return replace(
        settings,
        size=_piece_size(settings, float(share)),
        seed=int(rng.integers(2**31)),
        rotation_deg=turn if settings.rotation_deg is None else settings.rotation_deg,
        damage=(),
        glass=None,
    )


def _piece_size(settings: SynthSettings, share: float) -> Size:
    """Return the size of a piece's cell on the H&E glass."""
    width, height = settings.he_size.width * share, settings.he_size.height * share
    if settings.outline == "core":
        low, high = (height * bound for bound in CORE_WIDTH_SHARES)
        width = min(max(CORE_WIDTH_UM / settings.mpp_he, low), high)
    return Size(*(max(8, round(side / SIZE_STEP)) * SIZE_STEP for side in (width, height)))


def _arranged(numbers: list[int], glass: GlassSettings, rng: np.random.Generator) -> list[int]:
    """Return the order on the IHC glass; a permuted one differs from the first."""
    order = list(numbers)
    if glass.arrangement == "permuted" and len(numbers) > 1:
        while order == numbers:
            order = [int(number) for number in rng.permutation(numbers)]
    return order


def _laid_out(sizes: dict[int, Size]) -> tuple[dict[int, Box], Size]:
    """Lay cells out in rows, in order, on a glass that is a little wider than high."""
    gap = round(GAP_SHARE * max(max(size.shape) for size in sizes.values()))
    area = sum((size.width + gap) * (size.height + gap) for size in sizes.values())
    widest = max(WIDENED * math.sqrt(area), max(size.width for size in sizes.values()) + 2 * gap)
    boxes: dict[int, Box] = {}
    x, y, row_height, right = gap, gap, 0, 0
    for number, size in sizes.items():
        if x > gap and x + size.width + gap > widest:
            x, y, row_height = gap, y + row_height + gap, 0
        boxes[number] = Box(x, y, size.width, size.height)
        x += size.width + gap
        row_height, right = max(row_height, size.height), max(right, x)
    return boxes, Size(_stepped(right), _stepped(y + row_height + gap))


def _stepped(side: int) -> int:
    """Return the next side that can be written; large glass is as wide as whole tiles."""
    step = SIZE_STEP if side < LARGE_TILES * TILE_WIDTH else TILE_WIDTH
    return math.ceil(side / step) * step
