"""Blocks: blended and composed fields against their formulas, and one block against a known warp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.textures import smooth_noise
from registration.bspline import BSpline
from registration.geometry import Box, Size, level_box
from registration.nonrigid.block import (
    BlockResult,
    BlockTask,
    blended,
    composed,
    correlation,
    register_block,
)
from registration.nonrigid.grid import Block, BlockGrid
from registration.recipes import PassSettings
from registration.result import BlockRecord
from registration.slides.slide import Slide, open_slide
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, Projective, jacobian_determinant

SIZE = Size(1200, 800)
SETTINGS = PassSettings(
    rows=1, columns=1, mpp=0.5, grid_um=50.0, halo_um=0.0, iterations=200, samples=2000,
    resolutions=1, metric="AdvancedMattesMutualInformation",
)  # fmt: skip


def constant(dx: float, dy: float) -> BSpline:
    coefficients = np.empty((20, 26, 2))
    coefficients[:] = dx, dy
    return BSpline((-300.0, -300.0), (80.0, 80.0), coefficients)


def result(block: Block, spline: BSpline | None) -> BlockResult:
    record = BlockRecord(block.name, *_corner(block.core), "registered", "", 1.0)
    return BlockResult(block, record, spline, {})


def _corner(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.width, box.height


def test_blending_keeps_each_block_and_has_no_step_between_them() -> None:
    grid = BlockGrid(SIZE, rows=1, columns=2, halo_px=100)
    results = [result(b, constant(4.0 if b.column else 0.0, -2.0)) for b in grid]

    field = blended(grid, results, spacing=20.0)

    across = field.on_grid(np.arange(1200.0), np.array([400.0]))[0]
    shift = across - np.stack([np.arange(1200.0), np.full(1200, 400.0)], axis=-1)
    assert shift[:480, 0] == pytest.approx(0.0, abs=0.01)
    assert shift[720:, 0] == pytest.approx(4.0, abs=0.01)
    assert shift[600, 0] == pytest.approx(2.0, abs=0.1)
    assert np.abs(np.diff(shift[:, 0])).max() < 0.05
    assert shift[:, 1] == pytest.approx(-2.0, abs=1e-3)


def test_a_block_without_a_spline_moves_nothing() -> None:
    grid = BlockGrid(SIZE, rows=2, columns=1, halo_px=50)
    results = [result(b, None if b.row else constant(3.0, 0.0)) for b in grid]

    field = blended(grid, results, spacing=20.0)

    assert field([[600.0, 100.0]])[0] == pytest.approx([603.0, 100.0], abs=1e-3)
    assert field([[600.0, 700.0]])[0] == pytest.approx([600.0, 700.0], abs=1e-3)


def test_composition_applies_the_outer_field_first() -> None:
    random = np.random.default_rng(4)
    outer = DisplacementField.from_nodes((-200, -200), 200, random.normal(0, 15, (7, 9, 2)))
    inner = DisplacementField.from_nodes((-200, -200), 200, random.normal(0, 15, (7, 9, 2)))
    points = random.uniform([150, 150], [1050, 650], (200, 2))

    both = composed(outer, inner, 20.0, SIZE)

    assert np.abs(both(points) - inner(outer(points))).max() < 0.02


def test_determinant_of_a_turn_and_a_stretch() -> None:
    y, x = np.mgrid[:40:4, :60:4].astype(float)
    turned = np.stack([0.1 * x - 0.3 * y, 0.3 * x + 0.2 * y], axis=-1)

    assert jacobian_determinant(turned, 4) == pytest.approx(1.1 * 1.2 + 0.3 * 0.3)


def test_correlation_is_that_of_the_mask_alone() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 30, 50)).astype(np.float32)
    mask = np.zeros((30, 50), bool)
    mask[5:20, 10:41] = True

    assert correlation(a, b, mask) == pytest.approx(np.corrcoef(a[mask], b[mask])[0, 1], abs=1e-5)
    assert correlation(a, np.zeros_like(b), mask) == 0


def test_a_level_box_covers_its_level0_box() -> None:
    assert level_box(Box(13, 27, 100, 51), 4.0) == Box(3, 6, 26, 14)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Slide, Slide, DisplacementField]:
    """A textured slide, the same under a smooth warp, and the warp from the first to the second."""
    folder = tmp_path_factory.mktemp("moved")
    random = np.random.default_rng(8)
    side = 640
    blobs = smooth_noise(random, (side, side), 4)
    disc = np.hypot(*(np.mgrid[:side, :side] - side / 2)) < 250
    density = np.where(disc, 0.5 + 0.25 * blobs, 0.0).clip(0, 1.5)
    stain = np.exp(-density[..., None] * [0.65, 0.70, 0.29])
    moving = (255 * stain).round().astype(np.uint8)
    y, x = np.mgrid[-160:801:80, -160:801:80].astype(float)
    warp = np.stack([6 * np.sin(y / 150), 5 * np.cos(x / 170)], axis=-1)
    field = DisplacementField.from_nodes((-160.0, -160.0), 80.0, warp)
    axis = np.arange(float(side))
    where = field.on_grid(axis, axis).astype(np.float32)
    fixed = cv2.remap(moving, where, None, cv2.INTER_CUBIC, borderValue=(255, 255, 255))
    return write(folder / "fixed.png", fixed), write(folder / "moving.png", moving), field


def write(path: Path, image: np.ndarray) -> Slide:
    cv2.imwrite(str(path), image[..., ::-1])
    return open_slide(path, mpp=0.5)


def task(fixed: Slide, moving: Slide) -> BlockTask:
    block = next(iter(BlockGrid(fixed.size, 1, 1)))
    start = Chain((Projective.identity(),))
    return BlockTask(
        fixed, moving, start, block, TissueMap.of(fixed), "hematoxylin", SETTINGS
    )  # fmt: skip


def test_a_block_recovers_a_known_warp(moved: tuple[Slide, Slide, DisplacementField]) -> None:
    fixed, moving, field = moved

    found = register_block(task(fixed, moving))

    assert found.record.status == "registered"
    assert found.record.similarity_after > found.record.similarity_before
    inside = np.random.default_rng(2).uniform(170, 470, (300, 2))
    assert found.spline is not None
    error = np.hypot(*(inside + found.spline.at(inside) - field(inside)).T)
    assert np.median(error) < 0.4


def test_glass_is_blank(moved: tuple[Slide, Slide, DisplacementField], tmp_path: Path) -> None:
    glass = write(tmp_path / "glass.png", np.full((640, 640, 3), 243, np.uint8))
    blank = replace(task(glass, moved[1]), tissue=TissueMap(np.zeros((64, 64), bool), 10.0))

    found = register_block(blank)

    assert (found.record.status, found.spline) == ("blank", None)


@pytest.mark.parametrize("away", [640.0, 626.0, -626.0])
def test_a_block_without_counterpart_falls_back(
    moved: tuple[Slide, Slide, DisplacementField], away: float
) -> None:
    off = replace(task(moved[0], moved[1]), chain=Chain((Projective.translation(away, 0.0),)))

    found = register_block(off)

    assert (found.record.status, found.spline) == ("fallback", None)
    assert found.record.reason == "its tissue has no counterpart on the other slide"
    assert found.record.tissue > 0.3


def test_a_block_of_a_few_pixels_falls_back(
    moved: tuple[Slide, Slide, DisplacementField],
) -> None:
    whole = task(moved[0], moved[1])
    corner = Box(320, 300, 9, 60)
    tiny = replace(whole, block=Block(0, 0, corner, corner))

    assert register_block(tiny).record.reason == "it is only 9 x 60 px"


def test_a_block_that_gets_worse_falls_back_with_the_reason(
    moved: tuple[Slide, Slide, DisplacementField], monkeypatch: pytest.MonkeyPatch
) -> None:
    from registration.nonrigid import block as nonrigid
    from registration.nonrigid.elastix import ElastixResult

    wrong = ElastixResult(constant(40.0, 25.0), {})
    monkeypatch.setattr(nonrigid, "register_bspline", lambda *_: wrong)

    found = register_block(task(moved[0], moved[1]))

    assert (found.record.status, found.spline) == ("fallback", None)
    assert "it would make the images less alike" in found.record.reason
