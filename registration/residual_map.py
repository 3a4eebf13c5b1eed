"""The shifts that a registration leaves, place by place, as they are measured and stored."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registration.arrays import checked, read_arrays
from registration.geometry import Points

CHANCE = 95.0
"""A match counts when its score lies above this percentile of the scores by chance."""

USUAL_REACH_UM = 40.0


@dataclass(frozen=True, eq=False)
class ResidualMap:
    """Residual shifts at ``N`` places of the fixed slide."""

    points: Points
    """``(N, 2)`` level-0 pixels."""
    shift_um: NDArray[np.float64]
    """``(N, 2)``."""
    score: NDArray[np.float64]
    """``(N,)`` correlation of the best place."""
    chance: NDArray[np.float64]
    """``(N,)`` correlation of the best place where nothing corresponds."""
    reach_um: NDArray[np.float64]
    """``(N,)`` how far matches were looked for along each axis."""

    @classmethod
    def joined(cls, parts: list[ResidualMap]) -> ResidualMap:
        """Return one map of several parts."""
        return cls(
            np.concatenate([np.zeros((0, 2)), *(part.points for part in parts)]),
            np.concatenate([np.zeros((0, 2)), *(part.shift_um for part in parts)]),
            np.concatenate([np.zeros(0), *(part.score for part in parts)]),
            np.concatenate([np.zeros(0), *(part.chance for part in parts)]),
            np.concatenate([np.zeros(0), *(part.reach_um for part in parts)]),
        )

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays to store, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, path: Path) -> ResidualMap:
        """Read stored arrays. Raises :class:`RunError` where they are gone or damaged."""
        arrays = read_arrays(path)
        points = checked(path, arrays, "points", (None, 2))
        count = len(points)
        shift_um = checked(path, arrays, "shift_um", (count, 2))
        return cls(
            points,
            shift_um,
            checked(path, arrays, "score", (count,)),
            checked(path, arrays, "chance", (count,)),
            checked(path, {"reach_um": _reach(shift_um), **arrays}, "reach_um", (count,)),
        )

    @property
    def matched(self) -> NDArray[np.bool_]:
        """``(N,)`` whether a place matches better than chance."""
        if not len(self.score):
            return np.zeros(0, bool)
        return np.asarray(self.score > np.percentile(self.chance, CHANCE))


def _reach(shift_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the reach of matches that were stored without it: whole slides', or the farthest."""
    return np.full(len(shift_um), np.abs(shift_um).max(initial=USUAL_REACH_UM))
