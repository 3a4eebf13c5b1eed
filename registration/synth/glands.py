"""Ducts and lobules, drawn one by one on the grid of a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from registration.synth.noise import Float32, MapNoise
from registration.synth.settings import SynthSettings

GRID_UM = 4.0
MARGIN_UM = 100.0
LIMIT_UM = 100.0
"""Distances are kept up to this, which is far beyond any soft edge."""
DUCTS_PER_MM2 = 2.2
LOBULES_PER_MM2 = 0.8
VESSELS_PER_MM2 = 6.0
EMPTY, SECRETION, NECROSIS, BLOOD = 0.0, 0.5, 1.0, 2.0


Float16 = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Canvas:
    """The grid on which a scene is drawn, and its dice."""

    extent: tuple[float, float]
    """Width and height of the HE slide in µm."""
    rng: np.random.Generator

    @classmethod
    def of(cls, settings: SynthSettings) -> Canvas:
        """Return the canvas of a pair's HE slide."""
        size, mpp = settings.he_size, settings.mpp_he
        rng = np.random.default_rng([settings.seed, 201])
        return cls((size.width * mpp, size.height * mpp), rng)

    @cached_property
    def xs(self) -> Float32:
        """Columns in µm of the scene."""
        return self._axis(self.extent[0])

    @cached_property
    def ys(self) -> Float32:
        """Rows in µm of the scene."""
        return self._axis(self.extent[1])

    @staticmethod
    def _axis(length: float) -> Float32:
        return np.arange(-MARGIN_UM, length + MARGIN_UM, GRID_UM, dtype=np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.ys), len(self.xs)

    def noise(self, wave_um: float) -> MapNoise:
        """Return the next smooth noise with features of ``wave_um``."""
        return MapNoise.of(self.shape, wave_um / GRID_UM, self.rng)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """Return the rows and columns within ``reach`` of a point."""
        columns = np.searchsorted(self.xs, [x - reach, x + reach])
        rows = np.searchsorted(self.ys, [y - reach, y + reach])
        return slice(*rows.tolist()), slice(*columns.tolist())


@dataclass(frozen=True, slots=True)
class Gland:
    """A wobbly ring of ``wall`` µm around its lumen; a vessel has no epithelium."""

    x: float
    y: float
    radius: float
    wall: float
    malignant: bool = False
    vessel: bool = False
    filling: float = EMPTY

    def apart_from(self, others: list[Gland], gap: float) -> bool:
        """Whether this gland keeps ``gap`` µm from all others."""
        return all(
            np.hypot(self.x - other.x, self.y - other.y) > self.radius + other.radius + gap
            for other in others
        )


class Glands:
    """Maps of all ducts, lobules and vessels; signed distances in µm, positive inside."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.outer = np.full(canvas.shape, -LIMIT_UM, np.float16)
        self.lumen = np.full(canvas.shape, -LIMIT_UM, np.float16)
        self.malignant = np.zeros(canvas.shape, np.float16)
        self.filling = np.zeros(canvas.shape, np.float16)

    def place(self, tissue: Float16, crowded: Float16) -> None:
        """Draw glands well inside ``tissue`` where it is not ``crowded`` by tumour or fat."""
        width, height = self.canvas.extent
        area_mm2 = width * height / 1e6
        placed: list[Gland] = []
        plans = (
            (DUCTS_PER_MM2, 80.0, self._duct),
            (LOBULES_PER_MM2, 90.0, self._lobule),
            (VESSELS_PER_MM2, 40.0, self._vessel),
        )
        for per_mm2, depth, make in plans:
            for x, y in self._spots(round(per_mm2 * area_mm2) + 2, tissue, crowded, depth):
                fresh = make(x, y)
                if all(gland.apart_from(placed, 15) for gland in fresh):
                    placed += fresh
        for gland in placed:
            self._draw(gland)

    def _duct(self, x: float, y: float) -> list[Gland]:
        rng = self.canvas.rng
        radius = float(np.clip(rng.lognormal(np.log(58), 0.4), 28, 150))
        radius = min(radius, 0.14 * min(self.canvas.extent))
        if radius > 65 and rng.random() < 0.6:
            filling = NECROSIS if rng.random() < 0.6 else SECRETION
            return [Gland(x, y, radius, rng.uniform(24, 45), malignant=True, filling=filling)]
        filling = SECRETION if rng.random() < 0.4 else EMPTY
        return [Gland(x, y, radius, rng.uniform(13, 20), filling=filling)]

    def _lobule(self, x: float, y: float) -> list[Gland]:
        rng = self.canvas.rng
        acini: list[Gland] = []
        for dx, dy in rng.normal(0, 60, (60, 2)).tolist():
            acinus = Gland(x + dx, y + dy, rng.uniform(14, 26), rng.uniform(9, 13))
            if acinus.apart_from(acini, 4):
                acini.append(acinus)
        return acini

    def _vessel(self, x: float, y: float) -> list[Gland]:
        rng = self.canvas.rng
        radius = float(np.clip(rng.lognormal(np.log(17), 0.4), 9, 50))
        filling = BLOOD if rng.random() < 0.7 else EMPTY
        return [Gland(x, y, radius, 2.5, vessel=True, filling=filling)]

    def _spots(
        self, count: int, tissue: Float16, crowded: Float16, depth: float
    ) -> Iterator[tuple[float, float]]:
        """Yield places at least ``depth`` µm inside the tissue."""
        rng, canvas = self.canvas.rng, self.canvas
        depth = min(depth, 0.15 * min(canvas.extent))
        for x, y in rng.uniform((0, 0), canvas.extent, (count * 4, 2)).tolist():
            row, column = np.searchsorted(canvas.ys, y), np.searchsorted(canvas.xs, x)
            if tissue[row, column] > depth and crowded[row, column] < 0.3:
                yield x, y
                count -= 1
            if count == 0:
                return

    def _draw(self, gland: Gland) -> None:
        rng, canvas = self.canvas.rng, self.canvas
        rows, columns = canvas.window(gland.x, gland.y, 1.7 * gland.radius + 20)
        x = canvas.xs[columns][None] - gland.x
        y = canvas.ys[rows][:, None] - gland.y
        turn, squeeze = rng.uniform(0, np.pi), rng.uniform(1, 1.45)
        along = (x * np.cos(turn) + y * np.sin(turn)) / squeeze
        across = (y * np.cos(turn) - x * np.sin(turn)) * squeeze
        angle, distance = np.arctan2(across, along), np.hypot(across, along)
        outer = np.full_like(distance, gland.radius)
        inner = np.full_like(distance, gland.radius - gland.wall)
        for k in range(2, 7):
            wave = np.cos(k * angle + rng.uniform(0, 2 * np.pi)) * gland.radius / k
            outer += 0.11 * wave
            inner += 0.11 * wave + 0.08 * rng.normal() * wave
        self._merge(self.lumen, rows, columns, inner - distance)
        near = (inner - distance) > -2 * GRID_UM
        self.filling[rows, columns][near] = gland.filling
        if not gland.vessel:
            self._merge(self.outer, rows, columns, outer - distance)
        if gland.malignant:
            self._merge(self.malignant, rows, columns, (distance < 1.2 * outer).astype(np.float32))

    @staticmethod
    def _merge(layer: Float16, rows: slice, columns: slice, values: Float32) -> None:
        part = layer[rows, columns]
        np.maximum(part, np.maximum(values, -LIMIT_UM).astype(np.float16), out=part)
