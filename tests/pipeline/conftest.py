"""A small registered pair whose transform is known because it is the one that drew the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration.execution import InProcess, no_progress
from registration.files.storage import write_npz
from registration.geometry import Box, Image, Size
from registration.landmarks.landmarks import Landmarks
from registration.nonrigid.grid import BlockGrid
from registration.pair import SlidePair
from registration.quality.quality import Stages, measure
from registration.recipes import RegistrationSettings
from registration.result import (
    RESIDUAL_NAME,
    BlockRecord,
    Registration,
    SlideRecord,
    StartRecord,
    write_registration,
)
from registration.slides.slide import open_slide
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, Projective
from registration.warp import warp_box

MPP_IHC, MPP_HE = 0.5, 0.4
IHC, HE = Size(1500, 1100), Size(1800, 1500)
DAB, PINK = (150, 95, 60), (205, 120, 170)


@dataclass(frozen=True)
class HandMade:
    """A run folder written without registering anything."""

    registration: Registration
    pair: SlidePair
    truth: Landmarks


@pytest.fixture(scope="session")
def hand_made(tmp_path_factory: pytest.TempPathFactory) -> HandMade:
    """An H&E and an IHC image of the same cells, and the registration that relates them."""
    folder = tmp_path_factory.mktemp("hand made")
    he_image = _tissue(HE, PINK, seed=3)
    _write(folder / "he.png", he_image)
    with open_slide(folder / "he.png", MPP_HE) as he:
        warped = warp_box(he, _chain(), Box.of(IHC)).image
    _write(folder / "ihc.png", _recoloured(warped))
    pair = SlidePair(open_slide(folder / "he.png", MPP_HE), open_slide(folder / "ihc.png", MPP_IHC))
    return _registered(pair, folder / "run")


def _chain() -> Chain:
    """A smooth field of up to 12 px, then 7 degrees, the ratio of µm per pixel, and a shift."""
    rng = np.random.default_rng(5)
    nodes = cv2.GaussianBlur(rng.normal(size=(13, 17, 2)), (0, 0), 1.2) * 22
    field = DisplacementField.from_nodes((-50.0, -50.0), 100.0, nodes)
    turn, scale = np.deg2rad(7.0), MPP_IHC / MPP_HE
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    return Chain((field, Projective.affine([[cos, -sin, 60.0], [sin, cos, -40.0]])))


def _registered(pair: SlidePair, folder: Path) -> HandMade:
    """Write the run folder of the known chain."""
    chain = _chain()
    rng = np.random.default_rng(9)
    fixed = rng.uniform([200, 200], [1300, 900], size=(40, 2))
    truth = Landmarks.of(chain(fixed), fixed)
    picks = Landmarks.of(truth.he[:6] + rng.normal(size=(6, 2)) * 3, truth.ihc[:6])
    start = chain.steps[1]
    assert isinstance(start, Projective)
    grid = BlockGrid(IHC, 4, 4, halo_px=40)
    stages = Stages(pair, start, chain, grid, TissueMap.of(pair.ihc))
    quality, places = measure(stages, truth, InProcess(), no_progress)
    write_npz(folder / RESIDUAL_NAME, **places.arrays())
    registration = Registration(
        folder=folder,
        key="0123456789abcdef",
        he=SlideRecord.of(pair.he),
        ihc=SlideRecord.of(pair.ihc),
        moving="he",
        settings=RegistrationSettings(),
        start=StartRecord("landmarks", True, False, (), {}, (2.1, 1.4, 9.3, 0.8, 1.7, 2.5)),
        chain=chain,
        blocks=tuple(_block_records(grid)),
        quality=quality,
        verdict="review",
        reasons=("blocks 2-3 fell back to the coarse alignment",),
        image=None,
    )
    write_registration(registration, picks)
    return HandMade(Registration.load(folder), pair, truth)


def _block_records(grid: BlockGrid) -> list[BlockRecord]:
    """One blank block, one that fell back, the rest registered."""
    kinds = {"1-1": ("blank", "no tissue"), "2-3": ("fallback", "it would fold the tissue")}
    records = []
    for number, block in enumerate(grid):
        status, reason = kinds.get(block.name, ("registered", ""))
        core = block.core
        box = (core.x, core.y, core.width, core.height)
        numbers = () if status == "blank" else (0.4, 0.5 + number / 50, 0.8, 5.0)
        records.append(BlockRecord(block.name, *box, status, reason, 0.7, *numbers))
    return records


def _tissue(size: Size, stain: tuple[int, int, int], seed: int) -> Image:
    """Stained tissue with round holes and dark nuclei on white glass."""
    rng = np.random.default_rng(seed)
    image = np.full((*size.shape, 3), 245, np.uint8)
    middle = (size.width // 2 + 40, size.height // 2 - 30)
    cv2.ellipse(image, middle, (size.width * 2 // 5, size.height * 2 // 5), 12, 0, 360, stain, -1)
    for _ in range(60):
        x, y = rng.integers(0, size.width), rng.integers(0, size.height)
        cv2.circle(image, (int(x), int(y)), int(rng.integers(8, 30)), (245, 245, 245), -1)
    for _ in range(4000):
        x, y = int(rng.integers(0, size.width)), int(rng.integers(0, size.height))
        if image[y, x, 1] < 240:
            axes = (int(rng.integers(3, 7)), int(rng.integers(3, 7)))
            cv2.ellipse(image, (x, y), axes, int(rng.integers(180)), 0, 360, (90, 60, 140), -1)
    noisy = image + rng.normal(0, 3, image.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _recoloured(image: Image) -> Image:
    """Give H&E pixels the colours of a DAB stain."""
    pink = (np.abs(image.astype(int) - PINK).sum(axis=2) < 60)[..., None]
    return np.where(pink, np.array(DAB, np.uint8), image)


def _write(path: Path, image: Image) -> None:
    assert cv2.imwrite(str(path), image[..., ::-1])
