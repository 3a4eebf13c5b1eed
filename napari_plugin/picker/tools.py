"""Tools that take the next clicks on the slides for pieces of tissue instead of pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from napari_plugin.picker.picks import RefusedError
from napari_plugin.picker.pieces import Piece, Tissue
from napari_plugin.picker.regions import Regions
from napari_plugin.views import STAIN, XY, Side

ToolName = Literal["pair", "join", "cut", "control", "exclude"]
PROMPTS: dict[ToolName, tuple[str, ...]] = {
    "pair": ("Click a piece on the H&E slide", "Now click the same piece on the IHC slide"),
    "join": ("Click a piece", "Now click the other one, on the same slide"),
    "cut": ("Click beside a piece, where the cut is to begin", "Now click beyond it"),
    "control": ("Click the control tissue",),
    "exclude": ("Click the piece that is to be left out",),
}
"""What to do, click by click."""
ALONG_CUT = np.linspace(0, 1, 21)[:, None]


@dataclass(frozen=True)
class PieceTool:
    """A tool and the clicks that it took."""

    name: ToolName
    clicks: tuple[tuple[Side, XY], ...] = ()

    @property
    def prompt(self) -> str:
        """What to do next."""
        return PROMPTS[self.name][len(self.clicks)]

    @property
    def is_done(self) -> bool:
        """Whether it has all the clicks that it needs."""
        return len(self.clicks) == len(PROMPTS[self.name])

    def clicked(self, side: Side, xy: XY) -> PieceTool:
        """Return the tool after a click. Raises :class:`RefusedError` for one on the wrong slide."""
        before = [one for one, _ in self.clicks]
        wanted: Side | None = None
        if self.name == "pair":
            wanted = "ihc" if before else "he"
        elif before:
            wanted = before[0]
        if wanted not in (None, side):
            raise RefusedError(f"{self.prompt}: this was the {STAIN[side]} slide.")
        return replace(self, clicks=(*self.clicks, (side, xy)))

    def change(self, tissue: Tissue) -> Regions:
        """Return the regions as the clicks want them. Raises :class:`RefusedError`."""
        (side, first), (_, last) = self.clicks[0], self.clicks[-1]
        if self.name == "cut":
            return tissue.cut(side, _crossed(tissue, side, first, last), first, last)
        if self.name == "pair":
            return tissue.paired(tissue.at("he", first), tissue.at("ihc", last))
        if self.name == "join":
            return tissue.joined(side, tissue.at(side, first), tissue.at(side, last))
        return tissue.marked(side, tissue.at(side, first), self.name)


def _crossed(tissue: Tissue, side: Side, begin: XY, end: XY) -> Piece:
    """Return the piece that a line goes through."""
    for x, y in np.array(begin) * (1 - ALONG_CUT) + np.array(end) * ALONG_CUT:
        try:
            return tissue.at(side, (float(x), float(y)))
        except RefusedError:
            continue
    raise RefusedError("The line goes through no piece.")
