"""Places of a registration that deserve a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_plugin.views import XY
from registration.geometry import Box, Points, mesh


@dataclass(frozen=True, slots=True)
class Flag:
    """A place that deserves a look."""

    kind: Literal["block", "place", "patch"]
    name: str
    box: Box
    """Level-0 pixels of the fixed slide."""
    text: str
    shift: XY | None = None
    """From this place to where the moved slide shows the same, in level-0 pixels."""

    @property
    def center(self) -> XY:
        """The middle of the place."""
        return self.box.center


def corners(box: Box) -> Points:
    """Return the corners of a box in turn."""
    corners = mesh(np.array([box.x, box.right], float), np.array([box.y, box.bottom], float))
    return corners[[0, 1, 3, 2]]


def around(point: NDArray[np.float64], side: int) -> Box:
    """Return the box of a side around a point."""
    x, y = np.rint(point - side / 2).astype(int).tolist()
    return Box(x, y, side, side)
