"""Residual shift and similarity of two images, and the pairs that chance gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.textures import smooth_noise
from pipeline.patches.alignment import align, fine_structure, margin_px, null_percentiles, turned
from pipeline.patches.selection import MismatchedPlanes, runs_of_neighbours
from registration.geometry import Box

MPP = 1.84
SIDE = 256


def tissue(seed: int, side: int) -> np.ndarray:
    """Nuclei-like spots of about 7 µm."""
    return 0.07 * smooth_noise(np.random.default_rng(seed), (side, side), 2.0).astype(np.float32)


def spoiled(plane: np.ndarray, dx: np.ndarray | float, dy: np.ndarray | float) -> np.ndarray:
    """Shift the content of a plane by (dx, dy) pixels."""
    ys, xs = np.mgrid[: plane.shape[0], : plane.shape[1]].astype(np.float32)
    where = np.float32(xs - dx), np.float32(ys - dy)
    return cv2.remap(plane, *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def pair(dx: np.ndarray | float, dy: np.ndarray | float, noise: float = 1.0):
    """A fixed patch and a moving one, with a margin, whose content is shifted and partly its own."""
    margin = margin_px(MPP)
    whole = tissue(1, SIDE + 2 * margin)
    own = tissue(2, SIDE + 2 * margin) * noise
    return whole[margin:-margin, margin:-margin], spoiled(whole, dx, dy) + own


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (3.0, -1.5), (-12.0, 5.0), (10.0, 20.0)])
def test_a_shift_up_to_40_um_is_found_through_as_much_noise_as_signal(dx: float, dy: float) -> None:
    fixed, moving = pair(dx, dy)

    found = align(fixed, moving, MPP)

    assert found.shift_um == pytest.approx(np.hypot(dx, dy) * MPP, abs=0.5)
    assert found.similarity > 0.3


def test_a_shift_that_varies_gives_its_median() -> None:
    ramp = np.linspace(0, 16, SIDE + 2 * margin_px(MPP))[None, :]
    fixed, moving = pair(ramp, 0.0)

    inside = ramp[0, margin_px(MPP) : -margin_px(MPP)]
    assert align(fixed, moving, MPP).shift_um == pytest.approx(np.median(inside) * MPP, abs=2.5)


def test_a_true_pair_beats_every_mismatched_one_even_when_faint() -> None:
    fixed, moving = pair(1.0, 2.0, noise=3.0)
    mismatched = [tissue(seed, SIDE) for seed in range(10, 30)]

    null = [align(other, moving, MPP).similarity for other in mismatched]

    assert null_percentiles([align(fixed, moving, MPP).similarity], [null]) == [100]
    assert null_percentiles([float(np.median(null))], [null])[0] == pytest.approx(50, abs=15)


def test_a_patch_that_resembles_everything_gains_nothing_by_it() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(0.1, 0.02, (40, 4))
    edgy = rng.normal(0.6, 0.02, (40, 4))
    similarities = [0.1, 0.2, 0.6, 0.7]

    ranks = null_percentiles(
        [*similarities, *[0.0] * 76], [plain[0], plain[1], edgy[0], edgy[1], *plain[2:], *edgy[2:]]
    )[:4]

    assert ranks[0] == pytest.approx(50, abs=35)
    assert ranks[2] == pytest.approx(50, abs=35)
    assert ranks[1] > 99
    assert ranks[3] > 99


def test_without_strangers_there_is_no_percentile() -> None:
    assert null_percentiles([0.5], [[]]) == [None]
    assert null_percentiles([], []) == []


def test_without_a_margin_small_shifts_are_still_found() -> None:
    fixed, moving = pair(2.0, -1.0)
    margin = margin_px(MPP)

    found = align(fixed, moving[margin:-margin, margin:-margin], MPP)

    assert found.shift_um == pytest.approx(np.hypot(2, 1) * MPP, abs=0.5)


def test_nuclei_are_recognised_under_eosin_and_under_dab() -> None:
    hematoxylin = np.clip(tissue(4, 200) * 2 + 0.4, 0, 2)[..., None] * np.array((0.65, 0.70, 0.29))
    eosin, dab = (
        np.clip(tissue(seed, 200) * 4 + 0.5, 0, 2)[..., None] * np.array(vector)
        for seed, vector in ((5, (0.07, 0.99, 0.11)), (6, (0.27, 0.57, 0.78)))
    )

    planes = [
        fine_structure((255 * np.exp(-hematoxylin - other)).astype(np.uint8), MPP).ravel()
        for other in (eosin, dab)
    ]

    assert np.corrcoef(*planes)[0, 1] > 0.9


def test_the_eight_orientations_differ() -> None:
    plane = np.arange(16, dtype=np.float32).reshape(4, 4)

    assert np.array_equal(turned(plane, 0), plane)
    assert len({turned(plane, way).tobytes() for way in range(8)}) == 8


def test_mismatched_never_show_the_patch_or_what_is_near_it() -> None:
    boxes = tuple(Box(x, y, 100, 100) for y in (0, 100, 200) for x in (0, 100, 200, 300))
    planes = np.stack([np.full((4, 4), k, np.float16) for k in range(len(boxes))])
    mismatched = MismatchedPlanes(boxes, planes)

    shown = {int(p[0, 0]) for p in mismatched.partners(boxes[0], reach=30, draws=24)}

    # Farther than 30 px from box 0 lie all but its three neighbours and itself.
    assert shown == {2, 3, 6, 7, 8, 9, 10, 11}
    first = [p.tobytes() for p in mismatched.partners(boxes[5], 30, 6)]
    assert first == [p.tobytes() for p in mismatched.partners(boxes[5], 30, 6)]


def test_a_lonely_patch_is_compared_with_itself_turned() -> None:
    plane = np.arange(16, dtype=np.float16).reshape(1, 4, 4)

    partners = list(MismatchedPlanes((Box(0, 0, 9, 9),), plane).partners(Box(0, 0, 9, 9), 5, 24))

    assert len(partners) == 7
    assert not any(np.array_equal(partner, plane[0]) for partner in partners)


def test_neighbours_are_read_together_but_not_across_gaps_and_rows() -> None:
    boxes = [Box(x, 0, 10, 10) for x in (0, 10, 20, 60, 70)] + [Box(0, 10, 10, 10)]

    assert [len(run) for run in runs_of_neighbours(boxes)] == [3, 2, 1]
    assert [len(run) for run in runs_of_neighbours([Box(5 * k, 0, 10, 10) for k in range(20)])] == [
        8,
        8,
        4,
    ]
