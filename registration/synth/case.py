"""One synthetic case: two slides, a few picked landmarks, and the whole truth.

A case folder holds::

    <id>_he.ndpi, <id>_ihc.ndpi   the slides
    landmarks.csv                 a few noisy picks: id,he_x,he_y,ihc_x,ihc_y,enabled
    truth.csv                     exact pairs, nuclei seen in both: id,he_x,he_y,ihc_x,ihc_y
    truth/truth.json              settings, the map IHC -> HE, damage outlines, meaning of the masks
    truth/field_0.npz             the non-rigid part of the map
    truth/mask_he.png, mask_ihc.png   what lies where, bit flags at downsample 32
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntFlag
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from registration.errors import SynthError
from registration.files.storage import write_json, write_text, written_whole
from registration.geometry import Image, Points, Size, axis_positions, mesh
from registration.synth.cells import ADIPOCYTE, FAT_RADIUS_UM
from registration.synth.damage import REMOVING, plan_damage
from registration.synth.paint import Painter
from registration.synth.rendering import Progress, SlideJob, render_slides
from registration.synth.section import Cut, cut_sections
from registration.synth.settings import DamageKind, SynthSettings
from registration.transforms import Chain, load_chain, save_chain

MASK_DOWNSAMPLE = 32
TRUTH_MARGIN_PX = 24
"""Exact pairs keep this far from the slides' edges and from damage."""
ON_TISSUE: frozenset[DamageKind] = REMOVING | {"fold"}
"""Damage that shows where there is tissue; the others lie on the glass."""


class Ground(IntFlag):
    """What lies at a pixel of a truth mask; flags add up."""

    TISSUE = 1
    """Inside the section's outline and not torn or missing."""
    EMPTY = 2
    """A lumen or fat within the outline."""
    PEN = 4
    BUBBLE = 8
    FOLD = 16
    """Tissue folded over."""
    BLUR = 32
    TEAR = 64
    MISSING = 128
    """Inside the outline, but torn apart or lost."""


@dataclass(frozen=True, slots=True)
class SynthCase:
    """Paths of one written case."""

    name: str
    settings: SynthSettings
    folder: Path

    @property
    def he(self) -> Path:
        """The HE slide."""
        return self.folder / f"{self.name}_he.ndpi"

    @property
    def ihc(self) -> Path:
        """The IHC slide."""
        return self.folder / f"{self.name}_ihc.ndpi"

    @property
    def landmarks(self) -> Path:
        """A few noisy picked pairs."""
        return self.folder / "landmarks.csv"

    @property
    def truth(self) -> Path:
        """Hundreds of exact pairs."""
        return self.folder / "truth.csv"

    @property
    def truth_folder(self) -> Path:
        """The exact map, masks and damage."""
        return self.folder / "truth"

    def jobs(self) -> list[SlideJob]:
        """Return the two slides to write."""
        return [SlideJob(self.settings, "he", self.he), SlideJob(self.settings, "ihc", self.ihc)]

    def is_complete(self) -> bool:
        """Whether the case was written whole with these very settings."""
        stored = self.truth_folder / "truth.json"
        if not (stored.exists() and self.he.exists() and self.ihc.exists()):
            return False
        settings = json.loads(stored.read_text(encoding="utf-8"))["settings"]
        return bool(settings == json.loads(json.dumps(asdict(self.settings))))


def write_case(
    folder: Path,
    settings: SynthSettings,
    *,
    name: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> SynthCase:
    """Write a case into ``folder``; ``name`` is by default the folder's.

    With two workers the slides are written by two fresh processes at once (a script that does so
    needs the usual ``if __name__ == "__main__"``). Raises :class:`SynthError` for settings that
    cannot be met.
    """
    case = SynthCase(name or folder.name, settings, folder)
    folder.mkdir(parents=True, exist_ok=True)
    render_slides(case.jobs(), workers, progress)
    write_truth(case)
    return case


def render_pair(settings: SynthSettings) -> tuple[Image, Image, Chain]:
    """Return HE pixels, IHC pixels and the exact map IHC -> HE, without files."""
    he, ihc, truth = cut_sections(settings)
    return Painter(he).image(), Painter(ihc).image(), truth


def truth_pairs(settings: SynthSettings) -> tuple[Points, Points]:
    """Return ``(N, 2)`` HE and IHC points of nuclei that both slides show, spread over tissue."""
    he, ihc, _ = cut_sections(settings)
    return _pairs_of(he, ihc)


def _pairs_of(he: Cut, ihc: Cut) -> tuple[Points, Points]:
    cells, settings = he.cells, he.settings
    cells = cells.take(np.flatnonzero(cells.in_he & cells.in_ihc & (cells.has_nucleus)))
    on_he, on_ihc = he.placed(cells).center, ihc.placed(cells).center
    keep = _well_inside(on_he, he.size) & _well_inside(on_ihc, ihc.size)
    keep &= _undamaged(he, on_he) & _undamaged(ihc, on_ihc)
    on_he, on_ihc = on_he[keep], on_ihc[keep]
    chosen = _spread(on_he, settings.truth_points, np.random.default_rng([settings.seed, 701]))
    return on_he[chosen], on_ihc[chosen]


def load_truth(folder: Path) -> Chain:
    """Read the exact map IHC -> HE of a case from its folder.

    Raises :class:`SynthError` when the folder holds no case.
    """
    stored = folder / "truth" / "truth.json"
    if not stored.exists():
        raise SynthError(f"no synthetic case in {folder}: {stored} is missing")
    described = json.loads(stored.read_text(encoding="utf-8"))["ihc_to_he"]
    return load_chain(described, stored.parent)


def write_truth(case: SynthCase) -> None:
    """Write everything of a case except its slides; ``truth.json`` comes last."""
    settings = case.settings
    case.truth_folder.mkdir(parents=True, exist_ok=True)
    he, ihc, truth = cut_sections(settings)
    on_he, on_ihc = _pairs_of(he, ihc)
    _write_pairs(case.truth, on_he, on_ihc)
    _write_landmarks(case.landmarks, on_he, on_ihc, settings)
    for cut in (he, ihc):
        _write_mask(case.truth_folder / f"mask_{cut.section}.png", ground_mask(cut))
    write_json(
        case.truth_folder / "truth.json",
        {
            "settings": asdict(settings),
            "ihc_to_he": save_chain(truth, case.truth_folder),
            "damage": [
                {"slide": cut.section, "kind": item.kind, "outline": item.shape.outline()}
                for cut in (he, ihc)
                for item in plan_damage(cut)
            ],
            "mask_downsample": MASK_DOWNSAMPLE,
            "mask_flags": {flag.name: flag.value for flag in Ground},
        },
    )


def ground_mask(cut: Cut) -> NDArray[np.uint8]:
    """Return :class:`Ground` flags of a slide at :data:`MASK_DOWNSAMPLE`."""
    size = cut.size.downsampled(MASK_DOWNSAMPLE)
    xs, ys = (axis_positions(0, side, MASK_DOWNSAMPLE) for side in (size.width, size.height))
    points = cut.scene_grid(xs, ys).reshape(-1, 2)
    outline = cut.scene.at(cut.scene.tissue, points) > 0
    tissue = outline.copy()
    flags = np.zeros(len(points), np.uint8)
    for damage in plan_damage(cut):
        inside = damage.shape.distance(mesh(xs, ys)) > 0
        if damage.kind in ON_TISSUE:
            inside &= outline
        if damage.kind in REMOVING:
            tissue &= ~inside
        flags[inside] |= np.uint8(Ground[damage.kind.upper()])
    empty = _empty(cut, points)
    flags[tissue] |= np.uint8(Ground.TISSUE)
    flags[tissue & empty] |= np.uint8(Ground.EMPTY)
    return flags.reshape(size.shape)


def _empty(cut: Cut, points: Points) -> NDArray[np.bool_]:
    """Return which scene points lie in an unfilled lumen or in fat."""
    scene, cells = cut.scene, cut.cells
    hollow = (scene.at(scene.lumen, points) > 0) & (scene.at(scene.filling, points) < 0.25)
    fat = cKDTree(cells.position[cells.kind == ADIPOCYTE])
    return np.asarray(hollow | (fat.query(points)[0] < FAT_RADIUS_UM))


def _undamaged(cut: Cut, points: Points) -> NDArray[np.bool_]:
    """Return which points lie well outside all damage of a slide."""
    keep = np.ones(len(points), np.bool_)
    for damage in plan_damage(cut):
        keep &= damage.shape.distance(points) < -TRUTH_MARGIN_PX
    return keep


def _well_inside(points: Points, size: Size) -> NDArray[np.bool_]:
    low, high = TRUTH_MARGIN_PX, (size.width - TRUTH_MARGIN_PX, size.height - TRUTH_MARGIN_PX)
    return np.asarray(((points > low) & (points < high)).all(axis=1))


def _spread(points: Points, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose ``count`` points evenly: the first of every square before the second of any."""
    order = rng.permutation(len(points))
    extent = np.ptp(points, axis=0)
    side = np.sqrt(extent.prod() / max(count, 1))
    squares = np.floor((points[order] - points.min(axis=0)) / side).astype(np.int64)
    _, number = np.unique(squares, axis=0, return_inverse=True)
    by_square = np.argsort(number, kind="stable")
    sorted_number = number[by_square]
    rank = np.empty(len(points), np.int64)
    rank[by_square] = np.arange(len(points)) - np.searchsorted(sorted_number, sorted_number)
    return np.sort(order[np.argsort(rank, kind="stable")[:count]])


def _write_pairs(path: Path, he: Points, ihc: Points) -> None:
    lines = ["id,he_x,he_y,ihc_x,ihc_y"]
    for number, (a, b) in enumerate(zip(he, ihc, strict=True), 1):
        lines.append(f"t{number},{a[0]:.4f},{a[1]:.4f},{b[0]:.4f},{b[1]:.4f}")
    write_text(path, "\n".join(lines) + "\n")


def _write_landmarks(path: Path, he: Points, ihc: Points, settings: SynthSettings) -> None:
    """Write a few pairs far from each other, each clicked with some noise."""
    rng = np.random.default_rng([settings.seed, 702])
    lines = ["id,he_x,he_y,ihc_x,ihc_y,enabled"]
    for number, index in enumerate(_far_apart(he, settings.picks), 1):
        a = he[index] + rng.normal(0, settings.pick_noise_px, 2)
        b = ihc[index] + rng.normal(0, settings.pick_noise_px, 2)
        lines.append(f"p{number},{a[0]:.1f},{a[1]:.1f},{b[0]:.1f},{b[1]:.1f},true")
    write_text(path, "\n".join(lines) + "\n")


def _far_apart(points: Points, count: int) -> Sequence[int]:
    """Choose points one by one, each the farthest from those before."""
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    chosen = [int(distance.argmax())]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


def _write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    with written_whole(path) as part:
        cv2.imwrite(str(part), mask)
