"""Are the borders between blocks visible? The field's jump along every border, and a strip across."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from registration.files.pictures import jpeg_uri
from registration.geometry import Box
from registration.nonrigid.grid import BlockGrid
from registration.pages.plots import Curve, Limit, curve_plot
from registration.pair import SlidePair
from registration.quality.seams import BorderJumps, border_jumps
from registration.result import Registration
from registration.tissue import TissueMap
from registration.warp import warp_box

STRIP_UM = (300.0, 90.0)


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

    plot: Markup | None
    strip: Strip | None


def seam_figure(
    registration: Registration, pair: SlidePair, tissue: TissueMap, limit_px: float
) -> SeamFigure | None:
    """Measure every border; ``None`` where there is a single block."""
    settings, size = registration.settings, registration.fixed.size
    grid = BlockGrid(size, settings.rows, settings.columns)
    borders = border_jumps(registration.chain.steps[0], grid)
    if not borders:
        return None
    return SeamFigure(
        _plot(borders, registration.fixed.mpp, limit_px),
        _strip(registration, pair, tissue, borders),
    )


def _plot(borders: list[BorderJumps], mpp: float, limit_px: float) -> Markup | None:
    """Draw the jump along every border."""
    curves = [
        Curve(
            f"border at {border.position} px",
            (border.along * mpp / 1000).tolist(),
            border.jump_px.tolist(),
            series=1 if border.vertical else 0,
            dashed=not border.vertical,
        )
        for border in borders
    ]
    limit = Limit(limit_px, "limit for the 95th percentile")
    axes = ("mm along the border", "jump, px")
    return curve_plot(
        "Jump of the registration along the borders of blocks", curves, axes, limit, False
    )


def _strip(
    registration: Registration, pair: SlidePair, tissue: TissueMap, borders: list[BorderJumps]
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
    pictures = [fixed, moved]
    if not border.vertical:  # borders run from top to bottom
        pictures = [np.ascontiguousarray(np.rot90(image)) for image in pictures]
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
