"""Are the borders between blocks visible? The field's jump along every border, and a strip across."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registration.files.pictures import jpeg_uri
from registration.geometry import Box, Image
from registration.nonrigid.grid import BlockGrid
from registration.pair import Pair
from registration.quality.seams import BorderJumps, border_jumps
from registration.result import Registration
from registration.tissue import TissueMap
from registration.warp import warp_box

STRIP_UM = (300.0, 90.0)
PLOT = (640.0, 150.0)
"""Width and height of the plot's own coordinates."""

LEAST_TOP_PX = 0.2
"""The plot reaches at least this jump, so that a seamless field looks like one."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Jumps along one border, as the points of an SVG polyline."""

    name: str
    vertical: bool
    points: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Fixed slide above, registered slide below, across the worst border."""

    fixed: str
    registered: str
    width: int
    height: int
    caption: str
    vertical: bool
    """Whether the border runs down the middle; otherwise the strips were turned to show it so."""


@dataclass(frozen=True, slots=True)
class SeamFigure:
    """The seam check."""

    curves: tuple[Curve, ...]
    top_px: float
    """Jump at the upper edge of the plot."""
    limit_y: float | None
    """Height in the plot of the limit above which the verdict doubts."""
    length_mm: float
    strip: Strip | None


def seam_figure(
    registration: Registration, pair: Pair, tissue: TissueMap, limit_px: float
) -> SeamFigure | None:
    """Measure every border; ``None`` where there is a single block."""
    settings, size = registration.settings, registration.fixed.size
    grid = BlockGrid(size, settings.rows, settings.columns)
    borders = border_jumps(registration.chain.steps[0], grid)
    if not borders:
        return None
    largest = max(float(border.jump_px.max()) for border in borders)
    top = max(LEAST_TOP_PX, 1.15 * largest)
    longest = float(max(size.width, size.height))
    return SeamFigure(
        tuple(_curve(border, longest, top) for border in borders),
        top,
        PLOT[1] * (1 - limit_px / top) if limit_px <= top else None,
        longest * registration.fixed.mpp / 1000,
        _strip(registration, pair, tissue, borders),
    )


def _curve(border: BorderJumps, longest: float, top: float) -> Curve:
    x = border.along / longest * PLOT[0]
    y = PLOT[1] * (1 - np.minimum(border.jump_px / top, 1.0))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    kind = "column" if border.vertical else "row"
    return Curve(f"border at {kind} {border.position} px", border.vertical, points)


def _strip(
    registration: Registration, pair: Pair, tissue: TissueMap, borders: list[BorderJumps]
) -> Strip | None:
    """Read both slides across the place with the largest jump in tissue."""
    worst: tuple[float, BorderJumps, float] | None = None
    reach = STRIP_UM[0] / 3 / registration.fixed.mpp
    for border in borders:
        jump = np.where(_in_tissue(border, tissue, reach), border.jump_px, -1.0)
        k = int(jump.argmax())
        if jump[k] >= 0 and (worst is None or jump[k] > worst[0]):
            worst = (float(jump[k]), border, float(border.along[k]))
    if worst is None:
        return None
    jump_px, border, along = worst
    box = _strip_box(border, along, registration.fixed.mpp)
    fixed = pair.fixed_slide.read_scaled(box, 1.0)
    moved = warp_box(pair.moving_slide, registration.chain, box).image
    pictures = [_upright(image, border.vertical) for image in (fixed, moved)]
    height, width = pictures[0].shape[:2]
    mm = along * registration.fixed.mpp / 1000
    caption = f"{'column' if border.vertical else 'row'} {border.position} px, {mm:.1f} mm along it"
    return Strip(
        jpeg_uri(pictures[0]),
        jpeg_uri(pictures[1]),
        width,
        height,
        f"{caption}: a jump of {jump_px:.3f} px",
        border.vertical,
    )


def _in_tissue(border: BorderJumps, tissue: TissueMap, reach: float) -> NDArray[np.bool_]:
    """Return where along a border there is tissue on it and on both sides of it."""
    found = np.ones(len(border.along), bool)
    for offset in (-reach, 0.0, reach):
        across = np.full_like(border.along, border.position + offset)
        where = (across, border.along) if border.vertical else (border.along, across)
        found &= tissue.at(np.stack(where, axis=1))
    return found


def _strip_box(border: BorderJumps, along: float, mpp: float) -> Box:
    """Return a box with the border in its middle."""
    across, length = (max(16, round(um / mpp)) for um in STRIP_UM)
    start, first = border.position - across // 2, round(along) - length // 2
    if border.vertical:
        return Box(start, first, across, length)
    return Box(first, start, length, across)


def _upright(image: Image, vertical: bool) -> Image:
    """Turn a strip so that its border runs from top to bottom."""
    return image if vertical else np.ascontiguousarray(np.rot90(image))
