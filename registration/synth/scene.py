"""The tissue both sections are cut from: maps of what lies where, in micrometres.

The scene's frame is the HE slide in µm: pixel ``p`` of the HE slide lies at ``(p + 0.5) * mpp_he``.
Maps are signed distances or levels on a grid of :data:`GRID_UM`, positive inside, and are read as
cubic B-splines, so that every section sees the same smooth shapes at its own pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from registration.geometry import Points, to_rows_columns
from registration.synth.noise import Float32, map_noise
from registration.synth.settings import SynthSettings

GRID_UM = 4.0
MARGIN_UM = 100.0
LIMIT_UM = 100.0
"""Distances are kept up to this, which is far beyond any soft edge."""
TISSUE_SHARE = 0.415
DUCTS_PER_MM2 = 2.2
LOBULES_PER_MM2 = 0.7
FAT_LEVEL = 0.75
NEST_LEVEL = 0.35


@dataclass(frozen=True, eq=False)
class Scene:
    """Maps of one piece of tissue; float16 ``(rows, columns)`` arrays on a common grid."""

    tissue: NDArray[np.float16]
    """Distance to the edge of the section."""
    epithelium: NDArray[np.float16]
    """Distance to the border of nests, ducts and acini, lumina included."""
    lumen: NDArray[np.float16]
    """Distance to the wall of a lumen."""
    fat: NDArray[np.float16]
    """Positive where adipocytes lie."""
    malignant: NDArray[np.float16]
    """1 where epithelium is carcinoma, 0 where it is benign."""
    inflamed: NDArray[np.float16]
    """Positive where lymphocytes gather."""
    positive: NDArray[np.float16]
    """Unit-deviation noise: how much more or less of the antigen a region carries."""

    def at(self, layer: NDArray[np.float16], points: Points) -> Float32:
        """Return a layer at ``(N, 2)`` scene points in µm; clamped outside the grid."""
        where = to_rows_columns((points + MARGIN_UM) / GRID_UM)
        first = np.clip(np.floor(where.min(axis=1)).astype(int) - 3, 0, np.array(layer.shape) - 8)
        last = np.minimum(np.ceil(where.max(axis=1)).astype(int) + 4, layer.shape)
        last = np.maximum(last, first + 8)
        window = layer[first[0] : last[0], first[1] : last[1]].astype(np.float32)
        return np.asarray(
            ndimage.map_coordinates(
                window, where - first[:, None], order=3, mode="nearest", prefilter=False
            )
        )


def build_scene(settings: SynthSettings) -> Scene:
    """Return the scene of a pair; the same for equal size, mpp and seed of the HE slide."""
    canvas = _Canvas.of(settings)
    tissue = _outline(canvas)
    region = float(np.clip(0.3 * min(canvas.extent), 150, 1300))
    fat = (
        canvas.noise(region) + 0.4 * canvas.noise(region / 3) + 0.2 * canvas.noise(80)
    ) / 1.1 - FAT_LEVEL
    tumour = (canvas.noise(region) + 0.4 * canvas.noise(region / 3)) / 1.1
    nests = _nests(canvas, tumour, fat)
    glands = _Glands(canvas)
    glands.place(tissue, np.maximum(tumour - 0.2, fat))
    malignant = (nests > glands.outer).astype(np.float32)
    malignant = np.maximum(malignant, glands.malignant)
    inflamed = canvas.noise(180) + 0.5 * canvas.noise(60) + 0.3 * tumour - 1.5
    keep = np.float16
    return Scene(
        tissue=_limited(tissue),
        epithelium=_limited(np.maximum(nests, glands.outer)),
        lumen=_limited(glands.lumen),
        fat=fat.astype(keep),
        malignant=malignant.astype(keep),
        inflamed=inflamed.astype(keep),
        positive=((canvas.noise(300) + 0.6 * canvas.noise(70)) / 1.17).astype(keep),
    )


@dataclass(frozen=True, eq=False)
class _Canvas:
    """The grid on which a scene is drawn."""

    extent: tuple[float, float]
    rng: np.random.Generator

    @classmethod
    def of(cls, settings: SynthSettings) -> _Canvas:
        size, mpp = settings.he_size, settings.mpp_he
        rng = np.random.default_rng([settings.seed, 201])
        return cls((size.width * mpp, size.height * mpp), rng)

    @cached_property
    def xs(self) -> Float32:
        return self._axis(self.extent[0])

    @cached_property
    def ys(self) -> Float32:
        return self._axis(self.extent[1])

    def _axis(self, length: float) -> Float32:
        return np.arange(-MARGIN_UM, length + MARGIN_UM, GRID_UM, dtype=np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.ys), len(self.xs)

    def noise(self, wave_um: float) -> Float32:
        """Return the next smooth noise with features of ``wave_um``."""
        return map_noise(self.shape, wave_um / GRID_UM, self.rng)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """Return the rows and columns within ``reach`` of a point."""
        columns = np.searchsorted(self.xs, [x - reach, x + reach])
        rows = np.searchsorted(self.ys, [y - reach, y + reach])
        return slice(*rows.tolist()), slice(*columns.tolist())


def _outline(canvas: _Canvas) -> Float32:
    """Return the distance to an irregular outline that stays well inside the slide."""
    rng = canvas.rng
    width, height = canvas.extent
    x = (canvas.xs - width / 2) / (TISSUE_SHARE * width)
    y = (canvas.ys - height / 2) / (TISSUE_SHARE * height)
    angle = np.arctan2(y[:, None], x[None])
    radius = np.hypot(y[:, None], x[None])
    edge = np.full_like(angle, 0.88)
    for k in range(2, 8):
        edge += 0.16 / k * rng.uniform(0.3, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    scale = TISSUE_SHARE * min(width, height)
    distance = (np.minimum(edge, 0.97) - radius) * scale
    for wave, height_um in ((600, 45), (160, 16), (45, 5)):
        distance += min(height_um, 0.02 * scale) * canvas.noise(wave)
    return np.asarray(distance, np.float32)


def _nests(canvas: _Canvas, tumour: Float32, fat: Float32) -> Float32:
    """Return the distance to invasive nests and cords, dense where ``tumour`` is high."""
    shape = 0.8 * canvas.noise(170) + 0.55 * canvas.noise(75) + 0.12 * canvas.noise(24)
    level = shape + 1.0 * np.minimum(tumour, 1.2) - NEST_LEVEL - 1.5 * np.maximum(fat + 0.1, 0)
    return _to_distance(level)


def _to_distance(level: Float32) -> Float32:
    """Turn a smooth function into a first-order distance to its zero line."""
    rows, columns = np.gradient(level, GRID_UM)
    slope = np.hypot(rows, columns)
    return np.asarray(level / (slope + 0.15 * float(slope.mean())), np.float32)


@dataclass(eq=False)
class _Glands:
    """Ducts and lobules, drawn one by one."""

    canvas: _Canvas
    outer: Float32 = None  # type: ignore[assignment]
    lumen: Float32 = None  # type: ignore[assignment]
    malignant: Float32 = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.outer = np.full(self.canvas.shape, -LIMIT_UM, np.float32)
        self.lumen = np.full(self.canvas.shape, -LIMIT_UM, np.float32)
        self.malignant = np.zeros(self.canvas.shape, np.float32)

    def place(self, tissue: Float32, crowded: Float32) -> None:
        """Draw glands into tissue where it is not ``crowded`` by tumour or fat."""
        rng = self.canvas.rng
        width, height = self.canvas.extent
        area_mm2 = width * height / 1e6
        for x, y in self._spots(round(DUCTS_PER_MM2 * area_mm2) + 2, tissue, crowded, 60):
            radius = float(np.clip(rng.lognormal(np.log(62), 0.4), 30, 150))
            malignant = radius > 70 and rng.random() < 0.6
            wall = rng.uniform(20, 45) if malignant else rng.uniform(13, 20)
            self._draw((x, y), radius, wall, malignant)
        for x, y in self._spots(round(LOBULES_PER_MM2 * area_mm2) + 1, tissue, crowded, 90):
            for _ in range(rng.integers(7, 18)):
                offset = rng.normal(0, 55, 2)
                radius = rng.uniform(15, 27)
                self._draw((x + offset[0], y + offset[1]), radius, rng.uniform(9, 13), False)

    def _spots(
        self, count: int, tissue: Float32, crowded: Float32, depth: float
    ) -> Iterator[tuple[float, float]]:
        """Yield places at least ``depth`` µm inside the tissue."""
        rng, canvas = self.canvas.rng, self.canvas
        for x, y in rng.uniform((0, 0), canvas.extent, (count * 4, 2)).tolist():
            row, column = np.searchsorted(canvas.ys, y), np.searchsorted(canvas.xs, x)
            if tissue[row, column] > min(depth, 0.15 * min(canvas.extent)) and (
                crowded[row, column] < 0.3
            ):
                yield x, y
                count -= 1
            if count == 0:
                return

    def _draw(
        self, center: tuple[float, float], radius: float, wall: float, malignant: bool
    ) -> None:
        """Draw one gland: a wobbly ring of ``wall`` µm around its lumen."""
        rng, canvas = self.canvas.rng, self.canvas
        rows, columns = canvas.window(*center, 1.7 * radius + 20)
        x = canvas.xs[columns][None] - center[0]
        y = canvas.ys[rows][:, None] - center[1]
        turn, squeeze = rng.uniform(0, np.pi), rng.uniform(1, 1.5)
        along = (x * np.cos(turn) + y * np.sin(turn)) / squeeze
        across = (y * np.cos(turn) - x * np.sin(turn)) * np.sqrt(squeeze)
        angle, distance = np.arctan2(across, along), np.hypot(across, along)
        outer = np.full_like(distance, radius)
        inner = np.full_like(distance, radius - wall)
        for k in range(2, 7):
            wave = np.cos(k * angle + rng.uniform(0, 2 * np.pi)) * radius / k
            outer += 0.12 * wave
            inner += 0.12 * wave + 0.14 * rng.normal() * wave
        self._merge(self.outer, rows, columns, outer - distance)
        self._merge(self.lumen, rows, columns, inner - distance)
        if malignant:
            self._merge(self.malignant, rows, columns, (distance < 1.2 * outer).astype(np.float32))

    @staticmethod
    def _merge(layer: Float32, rows: slice, columns: slice, values: Float32) -> None:
        np.maximum(layer[rows, columns], values, out=layer[rows, columns])


def _limited(distance: Float32) -> NDArray[np.float16]:
    return np.clip(distance, -LIMIT_UM, LIMIT_UM).astype(np.float16)
