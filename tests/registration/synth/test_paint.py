"""Painted sections: where things lie, what the stains show, what damage does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.color import rgb2hed
from skimage.registration import phase_cross_correlation

from registration.files.her2 import HER2_LEVELS
from registration.geometry import Box, Image, Points, Size, axis_positions, mesh
from registration.synth.case import render_pair
from registration.synth.damage import REACH_PX, plan_damage
from registration.synth.masks import MASK_DOWNSAMPLE, Ground, ground_mask
from registration.synth.noise import TEXTURE_SIDE
from registration.synth.paint import Painter
from registration.synth.section import Cut, cut_sections
from registration.synth.settings import DAMAGE_KINDS, DamageKind, SynthSettings
from registration.synth.sprites import draw_nuclei
from registration.synth.view import TileView
from registration.transforms import Chain

SETTINGS = SynthSettings(size=Size(1088, 896), seed=4, her2="1+", rotation_deg=25, mirrored=True)


@cache
def rendered(settings: SynthSettings = SETTINGS) -> tuple[Image, Image, Chain]:
    return render_pair(settings)


def centres_of_nuclei(cut: Cut) -> Points:
    """Draw nothing but the nuclei of both sections, even ones, and measure where each lies."""
    placed = cut.placed(cut.cells)
    cells = placed.cells
    placed = placed.take(np.flatnonzero(cells.in_he & cells.in_ihc & cells.has_nucleus))
    even = replace(
        placed.cells,
        hollow=np.zeros_like(placed.cells.hollow),
        nucleolus=np.zeros_like(placed.cells.nucleolus),
        wobble=np.zeros_like(placed.cells.wobble),
    )
    swell = np.ones(len(even), np.float32)
    image = draw_nuclei(replace(placed, cells=even), Box.of(cut.size), swell)
    labels, count = ndimage.label(image > 0)
    return np.array(ndimage.center_of_mass(image, labels, range(1, count + 1)))[:, ::-1]


def test_nuclei_lie_where_the_truth_says() -> None:
    he, ihc, truth = cut_sections(SETTINGS)

    distance, _ = cKDTree(centres_of_nuclei(he)).query(truth(centres_of_nuclei(ihc)))

    assert np.mean(distance < 0.5) > 0.8  # others merge with a neighbour in one section only
    assert np.median(distance[distance < 0.5]) < 0.02


def test_every_pixel_reads_the_scene_where_the_truth_says() -> None:
    he, ihc, truth = cut_sections(SETTINGS)
    box = Box(301, 205, 212, 181)
    pixels = mesh(axis_positions(box.x, box.width), axis_positions(box.y, box.height))

    for cut, on_he in ((he, pixels), (ihc, truth(pixels))):
        view = TileView(cut, box)
        x, y = view.texels(1.0)
        seen = np.stack([x.ravel(), y.ravel()], axis=1)
        error = (seen - (on_he + 0.5) * SETTINGS.mpp_he) % TEXTURE_SIDE
        error = np.minimum(error, TEXTURE_SIDE - error) / SETTINGS.mpp_he

        assert error.max() < 0.02


def test_pixels_lie_where_the_truth_says() -> None:
    he, ihc, truth = rendered()
    height, width = ihc.shape[:2]
    where = truth.on_grid(axis_positions(0, width), axis_positions(0, height)).astype(np.float32)
    warped = cv2.remap(he, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderValue=(255,) * 3)
    dark, pale = (
        ndimage.gaussian_filter(image.min(axis=2).astype(float), 2) for image in (warped, ihc)
    )

    shifts = []
    for box in Box.of(Size(width, height)).tiles(200):
        a, b = dark[box.slices()], pale[box.slices()]
        if min(a.std(), b.std()) > 18 and min(a.shape) == 200:
            shifts.append(phase_cross_correlation(a, b, upsample_factor=20)[0])

    assert len(shifts) >= 4
    assert np.median(np.hypot(*np.transpose(shifts))) < 0.3


def test_a_share_of_nuclei_is_in_one_section_only() -> None:
    settings = replace(SETTINGS, size=2048, changed_nuclei=0.15)
    cells = cut_sections(settings)[0].cells

    for mine, other in ((cells.in_he, cells.in_ihc), (cells.in_ihc, cells.in_he)):
        assert np.mean(~other[mine]) == pytest.approx(0.15, abs=0.02)


def test_tiles_do_not_depend_on_order_or_place() -> None:
    painter = Painter(cut_sections(SETTINGS)[1])
    whole = painter.light(Box(256, 192, 512, 512))
    inner = Box(389, 301, 151, 203)

    part = Painter(cut_sections(SETTINGS)[1]).light(inner)

    same = whole[inner.y - 192 : inner.bottom - 192, inner.x - 256 : inner.right - 256]
    assert np.abs(part - same).max() < 0.1  # single-precision rounding, in grey levels


def test_bands_equal_the_whole_and_repeat_exactly() -> None:
    painter = Painter(cut_sections(SETTINGS)[0])
    last = painter.tile(Box(512, 512, 512, 384))

    he = rendered()[0]

    np.testing.assert_array_equal(np.concatenate(list(painter.bands())), he)
    np.testing.assert_array_equal(last, he[512:896, 512:1024])


def test_seeds_change_the_tissue() -> None:
    other = Painter(cut_sections(replace(SETTINGS, seed=5))[0]).image()

    assert np.abs(other.astype(int) - rendered()[0]).mean() > 10


def test_dab_rises_with_the_her2_level() -> None:
    scene_cut = cut_sections(SETTINGS)[1]
    xs, ys = (axis_positions(0, side) for side in (scene_cut.size.width, scene_cut.size.height))
    points = scene_cut.scene_grid(xs, ys).reshape(-1, 2)
    scene = scene_cut.scene
    tumour = (scene.at(scene.epithelium, points) > 2) & (scene.at(scene.malignant, points) > 0.5)
    tumour &= (scene.at(scene.lumen, points) < -2) & (scene.at(scene.tissue, points) > 5)
    tumour = tumour.reshape(scene_cut.size.shape)
    assert tumour.mean() > 0.02

    density = []
    for her2 in HER2_LEVELS:
        ihc = Painter(replace(scene_cut, settings=replace(SETTINGS, her2=her2))).image()
        density.append(float(rgb2hed(ihc)[tumour][:, 2].mean()))

    steps = np.divide(density[1:], density[:-1])
    assert np.all(steps > 1.4)
    assert density[3] > 2 * density[2]  # strong and complete, not merely a little browner


def test_background_is_bright_and_tissue_is_not() -> None:
    for image, cut in zip(rendered()[:2], cut_sections(SETTINGS)[:2], strict=True):
        tissue = whole_size(ground_mask(cut), image)
        glass = ndimage.binary_erosion(tissue == 0, iterations=MASK_DOWNSAMPLE)

        assert image[glass].mean() > 225
        assert image[(tissue & Ground.EMPTY == 0) & (tissue > 0)].mean() < 215


@cache
def sections_with(kind: DamageKind | None) -> dict[str, tuple[Image, Cut]]:
    damage = () if kind is None else (kind, kind)  # the two sections get them in turn
    cuts = cut_sections(replace(SETTINGS, damage=damage))[:2]
    return {cut.section: (Painter(cut).image(), cut) for cut in cuts}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE_KINDS)
def test_damage_is_where_the_truth_says_and_nowhere_else(kind: DamageKind) -> None:
    for section, (damaged, cut) in sections_with(kind).items():
        whole = sections_with(None)[section][0]
        change = np.abs(damaged.astype(int) - whole).sum(axis=2)
        mask = whole_size(ground_mask(cut), damaged) & Ground[kind.upper()] > 0
        (planned,) = plan_damage(cut)
        outlined = np.zeros(cut.size.shape, np.uint8)
        cv2.fillPoly(outlined, [planned.shape.outline().round().astype(np.int32)], 1)
        away = ndimage.distance_transform_edt(outlined == 0)
        near = away < REACH_PX + 8

        assert change[~near].max() <= 3  # rounding: no more than one grey level per channel
        assert change[mask & (whole.min(axis=2) < 215)].mean() > 10
        assert away[mask].max() < MASK_DOWNSAMPLE


def whole_size(mask: NDArray[np.uint8], image: Image) -> NDArray[np.uint8]:
    big = np.repeat(np.repeat(mask, MASK_DOWNSAMPLE, axis=0), MASK_DOWNSAMPLE, axis=1)
    return big[: image.shape[0], : image.shape[1]]
