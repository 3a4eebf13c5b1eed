"""How the two slides lie in the common world of the window. Level-0 coordinates never change.

The world is in micrometres, ``(x, y)``, with the H&E slide's centre at its origin. Each slide has an
affine matrix from its level-0 pixels to the world; turning, flipping and zooming a slide changes
that matrix about the place that is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Size
from registration.transforms import Projective

Side = Literal["he", "ihc"]
SIDES: tuple[Side, Side] = ("he", "ihc")
STAIN = {"he": "H&E", "ihc": "IHC"}
XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Size and resolution of a slide."""

    size: Size
    mpp: float
    origin: tuple[int, int] = (0, 0)
    """From where QuPath counts, in level-0 pixels."""

    def holds(self, xy: XY) -> bool:
        """Return whether a level-0 point lies on the slide."""
        return bool(Box.of(self.size).contains(np.array([xy]))[0])


@dataclass(frozen=True, eq=False)
class Views:
    """Where both slides are shown. Immutable: every change returns new views."""

    he: Projective
    """H&E level-0 pixels to the world."""
    ihc: Projective
    follows: bool = True
    """Whether the IHC view is to follow the H&E view as soon as pairs tell how."""

    @classmethod
    def of(cls, he: Frame, ihc: Frame) -> Views:
        """Show both slides upright, at the same µm per screen pixel, centre on centre."""
        return cls(_centered(he), _centered(ihc))

    def of_side(self, side: Side) -> Projective:
        """Return the map from a slide's pixels to the world."""
        return self.he if side == "he" else self.ihc

    def turned(self, side: Side, degrees: float, about: XY) -> Views:
        """Turn one slide clockwise about a world point."""
        angle = math.radians(degrees)
        turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        return self._changed(side, np.array(turn), about)

    def flipped(self, side: Side, about: XY) -> Views:
        """Mirror one slide, left to right, about a world point."""
        return self._changed(side, np.diag([-1.0, 1.0]), about)

    def zoomed(self, side: Side, factor: float, about: XY) -> Views:
        """Enlarge one slide about a world point."""
        return self._changed(side, np.diag([factor, factor]), about)

    def brought_together(self, he: XY, ihc: XY) -> Views:
        """Shift the IHC slide so that its point ``ihc`` lies where the H&E slide shows ``he``."""
        target, place = self.he([he])[0], self.ihc([ihc])[0]
        shift = Projective.translation(*(target - place).tolist())
        return replace(self, ihc=shift.after(self.ihc))

    def following(self, ihc_to_he: Projective | None) -> Views:
        """Lay the IHC slide on the H&E slide by an affine map, if it is to follow and can."""
        if not self.follows or ihc_to_he is None:
            return self
        return replace(self, ihc=self.he.after(ihc_to_he))

    def _changed(self, side: Side, linear: NDArray[np.float64], about: XY) -> Views:
        """Apply a linear map about a world point; a hand on the IHC slide ends its following."""
        change = _about(linear, about)
        if side == "ihc":
            return replace(self, ihc=change.after(self.ihc), follows=False)
        return replace(self, he=change.after(self.he))


def _centered(frame: Frame) -> Projective:
    """Return the map that puts a slide's centre at the origin and scales it to µm."""
    x, y = Box.of(frame.size).center
    return Projective.affine([[frame.mpp, 0, -frame.mpp * x], [0, frame.mpp, -frame.mpp * y]])


def _about(linear: NDArray[np.float64], about: XY) -> Projective:
    """Return a linear map that leaves the point ``about`` where it is."""
    center = np.array(about)
    return Projective.affine(np.column_stack([linear, center - linear @ center]))
