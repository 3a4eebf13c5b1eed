"""The tissue both sections are cut from: maps of what lies where, in micrometres.

The scene's frame is the HE slide in µm: pixel ``p`` of the HE slide lies at ``(p + 0.5) * mpp_he``.
Maps are signed distances or levels on a grid of :data:`GRID_UM`, positive inside, and are read as
cubic B-splines, so that every section sees the same smooth shapes at its own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from registration.geometry import Points, to_rows_columns
from registration.synth.glands import GRID_UM, LIMIT_UM, MARGIN_UM, Canvas, Glands
from registration.synth.noise import Float32, MapNoise
from registration.synth.settings import SynthSettings

TISSUE_SHARE = 0.415
CORE_RADIUS_SHARE = 0.36
CORE_BEND = 0.8
FAT_LEVEL = 0.85
NEST_LEVEL = 0.35
INFLAMED_LEVEL = 1.25
SWIRL_UM, SWIRL_WAVE_UM = 90.0, 800.0
EDGE_WAVES_UM = ((600.0, 45.0), (160.0, 16.0), (45.0, 5.0))
"""Wavelengths and heights of the outline's roughness."""
LEAST_SLOPE = 0.003
"""Per µm; keeps distances finite where a map is flat."""
STRIP_ROWS = 256


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
    filling: NDArray[np.float16]
    """What fills the lumina: 0 nothing, 0.5 secretion, 1 necrosis, 2 blood."""
    loose: NDArray[np.float16]
    """Unit-deviation noise: how loosely the collagen lies."""
    swirl_x: NDArray[np.float16]
    """Shift in µm of the frame in which collagen runs straight."""
    swirl_y: NDArray[np.float16]

    def fibre_frame(self, points: Points) -> tuple[Float32, Float32]:
        """Return positions across and along the collagen at ``(N, 2)`` points, in µm.

        Collagen runs along a common direction that wanders, and bends around nests and ducts.
        """
        shell = np.clip(self.at(self.epithelium, points), -70, 5)
        x, y = points[:, 0], points[:, 1]
        across = 0.55 * x + 0.84 * y + self.at(self.swirl_x, points) + 0.45 * shell
        along = 0.84 * x - 0.55 * y + self.at(self.swirl_y, points)
        return across.astype(np.float32), along.astype(np.float32)

    def at(self, layer: NDArray[np.float16], points: Points) -> Float32:
        """Return a layer at ``(N, 2)`` scene points in µm; clamped outside the grid."""
        if not len(points):
            return np.empty(0, np.float32)
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
    """Return the scene of a pair; the same for equal size, mpp and seed of the HE slide.

    It is drawn in strips, so that the peak is little more than the maps themselves.
    """
    canvas = Canvas.of(settings)
    draft = _Draft.of(canvas, settings.outline == "core")
    rows, columns = canvas.shape
    maps = {name: np.empty((rows, columns), np.float16) for name in _Draft.NAMES}
    for first in range(0, rows, STRIP_ROWS):
        last = min(first + STRIP_ROWS, rows)
        for name, values in draft.rows(first, last).items():
            maps[name][first:last] = values
    glands = Glands(canvas)
    glands.place(maps["tissue"], maps.pop("crowded"))
    nests = maps.pop("nests")
    malignant = np.maximum(glands.malignant, nests > glands.outer)
    epithelium = np.maximum(nests, glands.outer)
    return Scene(
        **maps,
        epithelium=epithelium,
        malignant=malignant.astype(np.float16),
        lumen=glands.lumen,
        filling=glands.filling,
    )


Mixture = tuple[tuple[float, MapNoise], ...]
"""Noises and their weights, whose squares add up to one."""


@dataclass(frozen=True, eq=False)
class _Draft:
    """Everything about a scene but its glands, as noise still to be evaluated."""

    NAMES: ClassVar = (
        *("tissue", "fat", "nests", "crowded"),
        *("inflamed", "positive", "loose", "swirl_x", "swirl_y"),
    )
    canvas: Canvas
    outline: NDArray[np.float64]
    """``(K, 2)`` amplitude and phase of the outline's harmonics from the second on."""
    is_core: bool
    edge: Mixture
    fat: Mixture
    tumour: Mixture
    nests: Mixture
    inflamed: Mixture
    positive: Mixture
    loose: Mixture
    swirl_x: MapNoise
    swirl_y: MapNoise

    @classmethod
    def of(cls, canvas: Canvas, is_core: bool = False) -> _Draft:
        """Throw the dice for a scene."""
        region = float(np.clip(0.3 * min(canvas.extent), 150, 1300))
        rough = 0.02 * TISSUE_SHARE * min(canvas.extent)
        rng = canvas.rng
        waves = [(0.16 / k * rng.uniform(0.3, 1), rng.uniform(0, 2 * np.pi)) for k in range(2, 8)]
        return cls(
            canvas,
            np.array(waves),
            is_core,
            edge=tuple((min(h, rough), canvas.noise(w)) for w, h in EDGE_WAVES_UM),
            fat=_mixture(canvas, ((1.0, region), (0.4, region / 3), (0.12, 120))),
            tumour=_mixture(canvas, ((1.0, region), (0.4, region / 3))),
            nests=_mixture(canvas, ((0.8, 170), (0.55, 75), (0.12, 24))),
            inflamed=_mixture(canvas, ((1.0, 180), (0.5, 60))),
            positive=_mixture(canvas, ((1.0, 300), (0.6, 70))),
            loose=_mixture(canvas, ((1.0, region), (0.6, 150))),
            swirl_x=canvas.noise(SWIRL_WAVE_UM),
            swirl_y=canvas.noise(SWIRL_WAVE_UM),
        )

    def rows(self, first: int, last: int) -> dict[str, Float32]:
        """Return some rows of every map."""
        fat = _mixed(self.fat, first, last) - FAT_LEVEL
        tumour = _mixed(self.tumour, first, last)
        return {
            "tissue": _limited(self._tissue(first, last)),
            "fat": fat,
            "nests": _limited(self._nests(first, last)),
            "crowded": np.maximum(tumour - 0.2, fat),
            "inflamed": _mixed(self.inflamed, first, last) + 0.35 * tumour - INFLAMED_LEVEL,
            "positive": _mixed(self.positive, first, last),
            "loose": _mixed(self.loose, first, last),
            "swirl_x": SWIRL_UM * self.swirl_x.rows(first, last),
            "swirl_y": SWIRL_UM * self.swirl_y.rows(first, last),
        }

    def _tissue(self, first: int, last: int) -> Float32:
        """Return the distance to an irregular outline that stays well inside the slide."""
        inside = self._core(first, last) if self.is_core else self._section(first, last)
        return np.asarray(inside + _mixed(self.edge, first, last), np.float32)

    def _core(self, first: int, last: int) -> Float32:
        """Return the distance to a bent strip with round ends along the longer side."""
        length, width = max(self.canvas.extent), min(self.canvas.extent)
        x = self.canvas.xs[None] - self.canvas.extent[0] / 2
        y = self.canvas.ys[first:last, None] - self.canvas.extent[1] / 2
        along, across = (x, y) if self.canvas.extent[0] > self.canvas.extent[1] else (y, x)
        turn = 2 * np.pi * along / length
        for k, (amplitude, phase) in enumerate(self.outline[:3].tolist(), 1):
            across = across - CORE_BEND * amplitude * width * np.cos(k * turn + phase)
        radius = CORE_RADIUS_SHARE * width
        for k, (amplitude, phase) in enumerate(self.outline[3:].tolist(), 5):
            radius = radius + CORE_RADIUS_SHARE * width * amplitude * np.cos(k * turn + phase)
        beyond = np.maximum(np.abs(along) - TISSUE_SHARE * length + CORE_RADIUS_SHARE * width, 0)
        return np.asarray(radius - np.hypot(across, beyond), np.float32)

    def _section(self, first: int, last: int) -> Float32:
        """Return the distance to a roundish outline with a few waves."""
        width, height = self.canvas.extent
        x = (self.canvas.xs[None] - width / 2) / (TISSUE_SHARE * width)
        y = (self.canvas.ys[first:last, None] - height / 2) / (TISSUE_SHARE * height)
        angle = np.arctan2(y, x)
        border = np.full_like(angle, 0.88)
        for k, (amplitude, phase) in enumerate(self.outline.tolist(), 2):
            border += amplitude * np.cos(k * angle + phase)
        distance = (np.minimum(border, 0.97) - np.hypot(x, y)) * TISSUE_SHARE * min(width, height)
        return np.asarray(distance, np.float32)

    def _nests(self, first: int, last: int) -> Float32:
        """Return the distance to invasive nests and cords, dense where ``tumour`` is high.

        A smooth function divided by its slope is a first-order distance to its zero line.
        """
        above, below = max(first - 1, 0), min(last + 1, self.canvas.shape[0])
        fat = _mixed(self.fat, above, below) - FAT_LEVEL
        level = _mixed(self.nests, above, below) - NEST_LEVEL - 1.5 * np.maximum(fat + 0.1, 0)
        level += np.minimum(_mixed(self.tumour, above, below), 1.2)
        slope = np.hypot(*np.gradient(level, GRID_UM))
        distance = level / (slope + LEAST_SLOPE)
        return np.asarray(distance[first - above : first - above + last - first], np.float32)


def _mixture(canvas: Canvas, parts: tuple[tuple[float, float], ...]) -> Mixture:
    """Return noise of unit deviation from ``(weight, wave in µm)`` parts."""
    total = np.sqrt(sum(weight**2 for weight, _ in parts))
    return tuple((weight / total, canvas.noise(wave)) for weight, wave in parts)


def _mixed(mixture: Mixture, first: int, last: int) -> Float32:
    weight, noise = mixture[0]
    mixed = np.float32(weight) * noise.rows(first, last)
    for weight, noise in mixture[1:]:
        mixed += np.float32(weight) * noise.rows(first, last)
    return mixed


def _limited(distance: Float32) -> Float32:
    return np.clip(distance, -LIMIT_UM, LIMIT_UM)
