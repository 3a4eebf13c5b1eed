"""How picked points look: colour and number by pair, shape by what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Points
from numpy.typing import NDArray

from napari_plugin.convert import to_napari
from napari_plugin.picker.assessment import Assessment
from napari_plugin.picker.picks import PickedPair, Picks
from napari_plugin.views import SIDES, XY, Side
from registration.transforms import Projective

COLORS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#000000",
    "#56b4e9",
    "#b8a800",
    "#d55e00",
    "#7a3fa0",
)
"""Okabe and Ito's colours, which colour-blind people tell apart too, without those of stained tissue."""

ASIDE = {
    "right": "        {}",
    "left": "{}        ",
    "below": "\n\n{}",
    "above": "{}\n\n ",
}
"""Keep a number clear of its mark at any zoom, on one side of it; vispy counts no line that is empty."""
OFF_COLOR = "#8c8c8c"
WORST_COLOR = "#ff0000"
SELECTED_COLOR = "#ffe600"
BORDER, SELECTED_BORDER, HOLLOW_BORDER = 0.1, 0.2, 0.15
"""Width of a mark's border as a share of its size."""
SYMBOLS = {"": "ring", "place": "square", "guess": "diamond"}
"""Proposals are hollow: what they propose must be seen."""
ENDINGS = {"": "", "guess": " guess"}


@dataclass(frozen=True)
class Marks:
    """The points of one slide, ready to draw."""

    names: tuple[str, ...]
    points: tuple[XY, ...]
    labels: tuple[str, ...]
    colors: tuple[str, ...]
    borders: tuple[str, ...]
    symbols: tuple[str, ...]
    widths: tuple[float, ...]

    STYLE = {  # noqa: RUF012
        "size": 1.0,
        "blending": "translucent_no_depth",
        "features": {"label": np.array([], str)},
        "text": {
            "string": "{label}",
            "size": 13,
            "color": "black",
            "anchor": "center",
        },
    }

    def draw_on(self, layer: Points, mark_size: float, to_world: Projective | None) -> None:
        """Make a points layer show these marks of ``mark_size`` µm, and nothing else.

        Numbers stand where ``to_world``, as the slide is shown, leaves most room for them. The layer
        must be visible: napari takes no notice of new data of a hidden one.
        """
        layer.data = to_napari(np.array(self.points, np.float64))
        if not self.names:
            return
        places = np.array(self.points, np.float64)
        free = free_sides(places if to_world is None else to_world(places))
        asides = [ASIDE[side].format(label) for side, label in zip(free, self.labels, strict=True)]
        layer.features = {"label": np.array(asides)}
        layer.face_color = list(self.colors)
        layer.border_color = list(self.borders)
        layer.symbol = list(self.symbols)
        layer.border_width = np.array(self.widths)
        layer.size = mark_size


def free_sides(points: NDArray[np.float64]) -> list[str]:
    """Return on which side of each of the ``(N, 2)`` points, as shown, its number has most room.

    That is away from the nearest other point.
    """
    if len(points) < 2:
        return ["right"] * len(points)
    apart = points[None] - points[:, None]  # [i, j]: from i to j
    distance = np.linalg.norm(apart, axis=2)
    np.fill_diagonal(distance, np.inf)
    x, y = apart[np.arange(len(points)), distance.argmin(axis=1)].T
    sideways = np.where(x > 0, "left", "right")
    upright = np.where(y > 0, "above", "below")
    return [str(side) for side in np.where(np.abs(x) >= np.abs(y), sideways, upright)]


def color_of(name: str, order: int) -> str:
    """Return the colour of a pair: by its number, or by its place where it has another name."""
    number = int(name) - 1 if name.isdecimal() else order
    return COLORS[number % len(COLORS)]


def marks_of(picks: Picks, assessment: Assessment) -> dict[Side, Marks]:
    """Return what to draw on each slide."""
    return {side: _on(side, picks, assessment) for side in SIDES}


def _on(side: Side, picks: Picks, assessment: Assessment) -> Marks:
    rows: list[tuple[Any, ...]] = []
    for order, pair in enumerate(picks.pairs):
        place = pair.at(side)
        if place is not None:
            rows.append((pair.name, place, *_look(pair, order, picks.selected, assessment)))
    columns = tuple(zip(*rows, strict=True)) if rows else ((),) * 7
    return Marks(*columns)


def _look(
    pair: PickedPair, order: int, selected: str | None, assessment: Assessment
) -> tuple[str, str, str, str, float]:
    """Return label, colour, border, symbol and border width."""
    color = color_of(pair.name, order) if pair.enabled else OFF_COLOR
    label = f"{pair.name}{ENDINGS.get(pair.proposal, '?')}"
    border, width = "white", BORDER
    symbol = SYMBOLS.get(pair.proposal, "square")
    if pair.proposal:
        border, color, width = color, "transparent", HOLLOW_BORDER
    if pair.name == selected:
        border, width = SELECTED_COLOR, SELECTED_BORDER
    if pair.name in assessment.doubtful:
        label, border = f"{label} !", WORST_COLOR
    return label, color, border, symbol, width
