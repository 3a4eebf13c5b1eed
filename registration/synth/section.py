"""One section of a scene: its slide's pixels, and where they lie in the tissue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Points, Size
from registration.synth.cells import Cells, build_cells
from registration.synth.deform import jacobian, make_truth
from registration.synth.noise import Float32
from registration.synth.scene import Scene, build_scene
from registration.synth.settings import Section, SynthSettings
from registration.transforms import Chain, Transform

BIN_PX = 512


@dataclass(frozen=True, eq=False)
class PlacedCells:
    """Cells of one section in its own pixels."""

    cells: Cells
    center: Points
    """``(N, 2)`` level-0 pixels of the slide."""
    to_scene: Float32
    """``(N, 2, 2)`` from an offset in pixels to one in µm of the scene, at the cell."""

    def take(self, which: NDArray[Any]) -> PlacedCells:
        """Return the chosen cells."""
        return PlacedCells(self.cells.take(which), self.center[which], self.to_scene[which])


@dataclass(frozen=True, eq=False)
class Cut:
    """A section: the scene, and the map from its slide's pixels to HE pixels."""

    section: Section
    settings: SynthSettings
    scene: Scene
    cells: Cells
    """All cells of the scene, in its own frame."""
    to_he: Transform

    @property
    def number(self) -> int:
        """Place of the section in the block."""
        return self.settings.number_of(self.section)

    @property
    def size(self) -> Size:
        """Level-0 size of the slide."""
        return self.settings.size_of(self.section)

    @property
    def mpp(self) -> float:
        """µm per pixel of the slide."""
        return self.settings.mpp_of(self.section)

    def scene_grid(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scene positions in µm of a grid of slide pixels, ``(len(ys), len(xs), 2)``."""
        return (self.to_he.on_grid(xs, ys) + 0.5) * self.settings.mpp_he

    def placed(self, cells: Cells) -> PlacedCells:
        """Return cells in this slide's pixels; centres are exact."""
        center = self.to_he.inverse(cells.position / self.settings.mpp_he - 0.5)
        local = jacobian(self.to_he, center) * self.settings.mpp_he
        return PlacedCells(cells, center, local.astype(np.float32))

    @cached_property
    def _ordered(self) -> PlacedCells:
        """Cells of the slide, in order of their bins."""
        placed = self.placed(self.cells)
        order = np.argsort(self._bin_of(placed.center), kind="stable")
        return placed.take(order)

    @cached_property
    def _bins(self) -> NDArray[np.int64]:
        return self._bin_of(self._ordered.center)

    @property
    def _bin_columns(self) -> int:
        return self.size.width // BIN_PX + 3

    def _bin_of(self, center: Points) -> NDArray[np.int64]:
        """Return the number of the bin a point lies in; points off the slide go to border bins."""
        last = (self.size.width // BIN_PX + 1, self.size.height // BIN_PX + 1)
        cell = np.clip(np.floor(center / BIN_PX), -1, last).astype(np.int64) + 1
        return np.asarray(cell[:, 1] * self._bin_columns + cell[:, 0])

    def cells_near(self, box: Box) -> PlacedCells:
        """Return the cells whose centres lie on ``box``, always in the same order."""
        first_x, last_x = box.x // BIN_PX + 1, (box.right - 1) // BIN_PX + 1
        found = []
        for row in range(box.y // BIN_PX + 1, (box.bottom - 1) // BIN_PX + 2):
            start = row * self._bin_columns
            edges = np.searchsorted(
                self._bins,
                [start + max(first_x, 0), start + min(last_x, self._bin_columns - 1) + 1],
            )
            found.append(np.arange(*edges))
        rough = np.concatenate(found)
        return self._ordered.take(rough[box.contains(self._ordered.center[rough])])


def cut_sections(settings: SynthSettings) -> tuple[Cut, Cut, Chain]:
    """Return the HE section, the IHC section and the truth IHC -> HE, of one shared scene."""
    truth = make_truth(settings)
    scene = build_scene(settings)
    cells = build_cells(settings, scene)
    he = Cut("he", settings, scene, cells, Chain(()))
    return he, Cut("ihc", settings, scene, cells, truth), truth
