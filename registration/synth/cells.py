"""Every cell of a scene, as a table: where its nucleus lies, its shape, and who shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.geometry import Points
from registration.synth.noise import Float32
from registration.synth.scene import Scene
from registration.synth.settings import SynthSettings

TUMOUR, BENIGN, FIBROBLAST, LYMPHOCYTE, ADIPOCYTE, ERYTHROCYTE = range(6)
STEP_UM = {
    TUMOUR: 11.8,
    BENIGN: 8.4,
    FIBROBLAST: 17.0,
    LYMPHOCYTE: 7.6,
    ADIPOCYTE: 62.0,
    ERYTHROCYTE: 6.4,
}
"""Distance between neighbours of a kind, in µm."""
LATTICE_CHUNK = 200_000
FAT_RADIUS_UM = 41.0
"""Radius of an adipocyte that has no neighbours."""
FAT_WALL_UM = 2.0
POSITIVE_SHARES: dict[str, tuple[float, float]] = {"KI67": (0.1, 0.5), "ER": (0.6, 0.95)}
"""Of tumour nuclei, from case to case, of stains of nuclei."""

SHAPES = {
    #             half axis, its spread, elongation, density, empty middle
    TUMOUR: (4.0, 0.16, 1.22, 0.90, 0.55),
    BENIGN: (2.9, 0.08, 1.45, 1.10, 0.25),
    FIBROBLAST: (4.2, 0.25, 3.6, 1.10, 0.15),
    LYMPHOCYTE: (2.7, 0.07, 1.06, 1.45, 0.15),
    ADIPOCYTE: (3.0, 0.10, 3.0, 1.10, 0.15),
    ERYTHROCYTE: (2.9, 0.05, 1.15, 1.0, 0.35),
}


@dataclass(frozen=True, eq=False)
class Cells:
    """``N`` cells; arrays of equal length, lengths in µm, angles in radians."""

    position: Points
    """``(N, 2)`` centre of the nucleus in the scene."""
    kind: NDArray[np.uint8]
    radii: Float32
    """``(N, 2)`` half axes of the nucleus."""
    angle: Float32
    """Direction of the first half axis in the scene."""
    wobble: Float32
    """``(N, 4)`` cosine and sine amplitudes of the outline's second and third harmonic."""
    density: Float32
    """Haematoxylin in the nucleus, about 1."""
    hollow: Float32
    """How much of it the middle of the nucleus lacks, 0 to 1."""
    nucleolus: Float32
    """``(N, 3)`` position in half axes and strength."""
    body: Float32
    """``(N, 2, 2)`` metric of the cell: how its own µm differ from those of the scene."""
    in_he: NDArray[np.bool_]
    in_ihc: NDArray[np.bool_]
    antigen: Float32
    """DAB in the nucleus of a stain of nuclei, about 1; 0 where it is negative."""

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, which: NDArray[Any]) -> Cells:
        """Return the chosen cells."""
        return Cells(**{item.name: getattr(self, item.name)[which] for item in fields(self)})

    @property
    def has_nucleus(self) -> NDArray[np.bool_]:
        """Which cells can show a nucleus."""
        return np.isin(self.kind, (ADIPOCYTE, ERYTHROCYTE), invert=True)


def build_cells(settings: SynthSettings, scene: Scene) -> Cells:
    """Return all cells of a scene."""
    size, mpp = settings.he_size, settings.mpp_he
    rng = np.random.default_rng([settings.seed, 301])
    placed = {
        kind: _place(kind, scene, (size.width * mpp, size.height * mpp), rng) for kind in STEP_UM
    }
    for kind in (FIBROBLAST, LYMPHOCYTE):
        placed[kind] = placed[kind][~_in_fat_vacuole(placed[kind], placed[ADIPOCYTE])]
    kinds = np.concatenate([np.full(len(points), k, np.uint8) for k, points in placed.items()])
    position = np.concatenate(list(placed.values()))
    cells = _described(position, kinds, scene, (settings.changed_nuclei, rng))
    return _stained(cells, scene, settings)


def _place(
    kind: int, scene: Scene, extent: tuple[float, float], rng: np.random.Generator
) -> Points:
    """Return the positions of one kind of cell."""
    return np.concatenate(
        [_kept(kind, scene, points, rng) for points in _lattice(extent, STEP_UM[kind], rng)]
    )


def _kept(kind: int, scene: Scene, points: Points, rng: np.random.Generator) -> Points:
    """Return the points where cells of a kind live."""
    points = points[scene.at(scene.tissue, points) > 3]
    epithelium, lumen = scene.at(scene.epithelium, points), scene.at(scene.lumen, points)
    fat = scene.at(scene.fat, points)
    stroma = (epithelium < -3.5) & (lumen < -2.5) & (fat < 0)
    if kind in (TUMOUR, BENIGN):
        malignant = scene.at(scene.malignant, points) > 0.5
        keep = (epithelium > 2.5) & (lumen < -2.5) & (malignant == (kind == TUMOUR))
    elif kind == FIBROBLAST:
        keep = stroma & (rng.random(len(points)) < 0.6)
    elif kind == LYMPHOCYTE:
        crowd = np.clip(0.9 * scene.at(scene.inflamed, points), 0.004, 0.9)
        keep = (stroma | ((epithelium < 5) & (lumen < -3))) & (rng.random(len(points)) < crowd)
    elif kind == ADIPOCYTE:
        keep = (fat > 0) & (epithelium < -12) & (lumen < -20)
    else:
        keep = (lumen > 1) & (scene.at(scene.filling, points) > 1.5)
        keep &= rng.random(len(points)) < 0.75
    return np.asarray(points[keep])


def _in_fat_vacuole(points: Points, adipocytes: Points) -> NDArray[np.bool_]:
    """Return which points lie in an adipocyte's empty body, off its wall."""
    if len(adipocytes) < 2 or not len(points):
        return np.zeros(len(points), np.bool_)
    nearest, second = cKDTree(adipocytes).query(points, k=2)[0].T
    wall = np.minimum((second - nearest) / 2, FAT_RADIUS_UM - nearest)
    return np.asarray(wall > FAT_WALL_UM)


def _lattice(
    extent: tuple[float, float], step: float, rng: np.random.Generator
) -> Iterator[Points]:
    """Yield a jittered hexagonal lattice over the scene, some rows at a time."""
    row_step = step * np.sqrt(0.75)
    rows, columns = int(extent[1] / row_step) + 1, int(extent[0] / step) + 1
    at_once = max(1, LATTICE_CHUNK // columns)
    for first in range(0, rows, at_once):
        row, column = np.mgrid[first : min(first + at_once, rows), :columns].astype(np.float64)
        x = (column + 0.5 * (row % 2)) * step
        points = np.stack([x.ravel(), row.ravel() * row_step], axis=1)
        yield points + rng.uniform(-0.32, 0.32, points.shape) * step


def _described(
    position: Points,
    kind: NDArray[np.uint8],
    scene: Scene,
    chance: tuple[float, np.random.Generator],
) -> Cells:
    """Give each cell its nucleus; ``chance`` is the share of changed nuclei and the dice."""
    share, rng = chance
    count = len(kind)
    size, spread, flat, density, hollow = np.array([SHAPES[k] for k in sorted(SHAPES)])[kind].T
    first = size * np.exp(spread * rng.standard_normal(count))
    ratio = 1 + (flat - 1) * rng.uniform(0.5, 1.4, count)
    first = np.where(kind == FIBROBLAST, first, first * np.sqrt(ratio))
    nucleolus = rng.uniform(-0.4, 0.4, (count, 3))
    nucleolus[:, 2] = np.where(kind == TUMOUR, np.clip(rng.normal(0.35, 0.35, count), 0, 1), 0)
    changed = _only_in_one(count, share, rng)
    return Cells(
        position=position,
        kind=kind,
        radii=np.stack([first, first / ratio], axis=1).astype(np.float32),
        angle=_directions(position, kind, scene, rng),
        wobble=(rng.standard_normal((count, 4)) * [0.05, 0.05, 0.04, 0.04]).astype(np.float32),
        density=(density * rng.uniform(0.72, 1.22, count)).astype(np.float32),
        hollow=np.clip(hollow * rng.uniform(0.4, 1.5, count), 0, 0.75).astype(np.float32),
        nucleolus=nucleolus.astype(np.float32),
        body=_bodies(count, rng),
        in_he=changed != 1,
        in_ihc=changed != 2,
        antigen=np.zeros(count, np.float32),
    )


def positive_share(settings: SynthSettings) -> float | None:
    """Return the share of a case's tumour nuclei that its stain of nuclei shows; ``None`` of HER2."""
    if settings.stain not in POSITIVE_SHARES:
        return None
    rng = np.random.default_rng(settings.dice(303))
    return float(rng.uniform(*POSITIVE_SHARES[settings.stain]))


def _stained(cells: Cells, scene: Scene, settings: SynthSettings) -> Cells:
    """Return the cells as the section of a stain shows them; those of the first stay as they are.

    Large dark nuclei, and those of positive regions, are positive first: H&E tells something of it.
    """
    number = settings.number_of("ihc")
    if number == 1:
        return cells
    rng = np.random.default_rng(settings.dice(302))
    lost = settings.changed_nuclei * cells.in_he > rng.random(len(cells))
    antigen = np.zeros(len(cells), np.float32)
    share = positive_share(settings)
    tumour = np.flatnonzero(cells.kind == TUMOUR)
    if share is not None and len(tumour):
        size = np.log(cells.radii[tumour, 0] * np.sqrt(cells.density[tumour]))
        score = (size - size.mean()) / 0.16 + 0.6 * scene.at(scene.positive, cells.position[tumour])
        score += 0.4 * rng.standard_normal(len(tumour))
        positive = tumour[score > np.quantile(score, 1 - share)]
        antigen[positive] = rng.uniform(0.7, 1.6, len(positive))
    return replace(cells, in_ihc=~lost, antigen=antigen)


def _directions(
    position: Points, kind: NDArray[np.uint8], scene: Scene, rng: np.random.Generator
) -> Float32:
    """Return directions of nuclei: fibroblasts along collagen, ductal cells across their wall."""
    step = np.array([[2.0, 0.0], [0.0, 2.0]])
    angle = rng.uniform(0, np.pi, len(kind))
    fibre = kind == FIBROBLAST
    at = position[fibre]
    slope = [scene.fibre_frame(at + d)[0] - scene.fibre_frame(at - d)[0] for d in step]
    angle[fibre] = np.arctan2(slope[0], -slope[1]) + rng.normal(0, 0.18, len(at))
    wall = kind == BENIGN
    at = position[wall]
    edge = scene.epithelium
    slope = [scene.at(edge, at + 2 * d) - scene.at(edge, at - 2 * d) for d in step]
    angle[wall] = np.arctan2(slope[1], slope[0]) + rng.normal(0, 0.25, len(at))
    return angle.astype(np.float32)


def _bodies(count: int, rng: np.random.Generator) -> Float32:
    """Return random near-identity metrics: larger, smaller and oblong cells."""
    bodies = np.eye(2) + rng.normal(0, 0.09, (count, 2, 2))
    bodies = (bodies + bodies.transpose(0, 2, 1)) / 2
    return np.asarray(bodies * np.exp(rng.normal(0, 0.08, (count, 1, 1))), np.float32)


def _only_in_one(count: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return 0 for nuclei in both sections, 1 for IHC only, 2 for HE only.

    With ``c`` common nuclei and ``o`` of each section's own, ``o / (c + o) = share`` and
    ``c + 2 o = 1``.
    """
    own = share / (1 + share)
    draw = rng.random(count)
    return np.where(draw < own, 1, np.where(draw < 2 * own, 2, 0))
