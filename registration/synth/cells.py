"""Every cell of a scene, as a table: where its nucleus lies, its shape, and who shows it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registration.geometry import Points
from registration.synth.noise import Float32
from registration.synth.scene import Scene
from registration.synth.settings import SynthSettings

TUMOUR, BENIGN, FIBROBLAST, LYMPHOCYTE, ADIPOCYTE = range(5)
TUMOUR_STEP_UM, BENIGN_STEP_UM, FIBROBLAST_STEP_UM = 12.5, 8.8, 21.0
LYMPHOCYTE_STEP_UM, ADIPOCYTE_STEP_UM = 8.0, 68.0


@dataclass(frozen=True, eq=False)
class Cells:
    """``N`` cells; arrays of equal length, lengths in µm, angles in radians."""

    position: Points
    """``(N, 2)`` centre of the nucleus in the scene."""
    kind: NDArray[np.uint8]
    radii: Float32
    """``(N, 2)`` half axes of the nucleus."""
    angle: Float32
    """Direction of the first half axis."""
    wobble: Float32
    """``(N, 4)`` amplitudes of the second and third harmonic of the nuclear outline."""
    density: Float32
    """Haematoxylin in the nucleus, about 1."""
    rim: Float32
    """How much denser the nuclear membrane is than the middle; 0 even, 1 empty middle."""
    nucleolus: Float32
    """``(N, 3)`` position in half axes and strength."""
    in_he: NDArray[np.bool_]
    in_ihc: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, which: NDArray[Any]) -> Cells:
        """Return the chosen cells."""
        return Cells(**{item.name: getattr(self, item.name)[which] for item in fields(self)})


def build_cells(settings: SynthSettings, scene: Scene) -> Cells:
    """Return all cells of a scene."""
    extent = (
        settings.he_size.width * settings.mpp_he,
        settings.he_size.height * settings.mpp_he,
    )
    rng = np.random.default_rng([settings.seed, 301])
    placed = [
        (kind, _place(kind, scene, extent, rng))
        for kind in (TUMOUR, BENIGN, FIBROBLAST, LYMPHOCYTE, ADIPOCYTE)
    ]
    kind = np.concatenate([np.full(len(points), k, np.uint8) for k, points in placed])
    return _described(np.concatenate([points for _, points in placed]), kind, settings, rng)


def _place(
    kind: int, scene: Scene, extent: tuple[float, float], rng: np.random.Generator
) -> Points:
    """Return the positions of one kind of cell."""
    step = {
        TUMOUR: TUMOUR_STEP_UM,
        BENIGN: BENIGN_STEP_UM,
        FIBROBLAST: FIBROBLAST_STEP_UM,
        LYMPHOCYTE: LYMPHOCYTE_STEP_UM,
        ADIPOCYTE: ADIPOCYTE_STEP_UM,
    }[kind]
    points = _lattice(extent, step, rng)
    points = points[scene.at(scene.tissue, points) > 3]
    epithelium, lumen = scene.at(scene.epithelium, points), scene.at(scene.lumen, points)
    fat = scene.at(scene.fat, points)
    if kind in (TUMOUR, BENIGN):
        malignant = scene.at(scene.malignant, points) > 0.5
        keep = (epithelium > 2.5) & (lumen < -2.5) & (malignant == (kind == TUMOUR))
    elif kind == FIBROBLAST:
        keep = (epithelium < -4) & (fat < 0) & (rng.random(len(points)) < 0.75)
    elif kind == LYMPHOCYTE:
        crowd = scene.at(scene.inflamed, points)
        keep = (epithelium < 3) & (fat < 0) & (rng.random(len(points)) < np.clip(crowd, 0, 0.9))
    else:
        keep = (fat > 0) & (epithelium < -12)
    return np.asarray(points[keep])


def _lattice(extent: tuple[float, float], step: float, rng: np.random.Generator) -> Points:
    """Return a jittered hexagonal lattice over the scene."""
    row_step = step * np.sqrt(0.75)
    rows, columns = int(extent[1] / row_step) + 1, int(extent[0] / step) + 1
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    x = (x + 0.5 * (y % 2)) * step
    points = np.stack([x.ravel(), y.ravel() * row_step], axis=1)
    return points + rng.uniform(-0.3, 0.3, points.shape) * step


def _described(
    position: Points, kind: NDArray[np.uint8], settings: SynthSettings, rng: np.random.Generator
) -> Cells:
    """Give each cell its nucleus."""
    count = len(kind)
    #                     tumour benign fibro lympho adipo
    size = np.array([4.3, 3.0, 4.6, 2.7, 3.4])[kind]
    spread = np.array([0.18, 0.08, 0.2, 0.06, 0.1])[kind]
    flat = np.array([1.22, 1.35, 3.4, 1.06, 3.0])[kind]
    first = size * np.exp(spread * rng.standard_normal(count))
    ratio = 1 + (flat - 1) * rng.uniform(0.5, 1.4, count)
    nucleolus = rng.uniform(-0.4, 0.4, (count, 3))
    nucleolus[:, 2] = np.where(kind == TUMOUR, rng.uniform(0, 0.9, count), 0)
    first = np.where(kind == FIBROBLAST, first, first * np.sqrt(ratio))
    changed = _only_in_one(count, settings.changed_nuclei, rng)
    return Cells(
        position=position,
        kind=kind,
        radii=np.stack([first, first / ratio], axis=1).astype(np.float32),
        angle=rng.uniform(0, np.pi, count).astype(np.float32),
        wobble=(rng.standard_normal((count, 4)) * [0.05, 0.05, 0.04, 0.04]).astype(np.float32),
        density=(
            np.array([0.85, 1.0, 1.05, 1.35, 1.1])[kind] * rng.uniform(0.75, 1.2, count)
        ).astype(np.float32),
        rim=np.where(kind == TUMOUR, rng.uniform(0.2, 0.75, count), 0.2).astype(np.float32),
        nucleolus=nucleolus.astype(np.float32),
        in_he=changed != 1,
        in_ihc=changed != 2,
    )


def _only_in_one(count: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return 0 for nuclei in both sections, 1 for IHC only, 2 for HE only.

    A section shows ``1 - share`` common nuclei out of ``1 - share + share`` of its own; with ``c``
    common and ``o`` of its own per section, ``o / (c + o) = share`` and ``c + 2 o = 1``.
    """
    own = share / (1 + share)
    draw = rng.random(count)
    return np.where(draw < own, 1, np.where(draw < 2 * own, 2, 0))
