"""The known truth: one-to-one, of the asked size, and not trivially smooth."""

from __future__ import annotations

import numpy as np
import pytest

from registration.errors import SynthError
from registration.geometry import Points, Size, mesh
from registration.synth.deform import jacobian, make_truth, section_projective
from registration.synth.settings import SynthSettings
from registration.transforms import DisplacementField

SIZES = [1024, Size(4096, 3072), 20480]


def grid_on(size: Size, count: int = 90) -> Points:
    return mesh(np.linspace(0, size.width - 1, count), np.linspace(0, size.height - 1, count + 7))


def field_of(settings: SynthSettings) -> DisplacementField:
    field = make_truth(settings).steps[0]
    assert isinstance(field, DisplacementField)
    return field


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 5])
def test_truth_never_folds(size: int | Size, seed: int) -> None:
    settings = SynthSettings(size=size, seed=seed)

    slope = np.linalg.det(jacobian(make_truth(settings), grid_on(settings.ihc_size)))

    assert slope.min() > 0.5
    assert slope.max() < 1.8


@pytest.mark.parametrize("size", SIZES)
def test_largest_displacement_is_the_warp_asked_for(size: int | Size) -> None:
    settings = SynthSettings(size=size, seed=3, warp_px=17.0)
    points = grid_on(settings.ihc_size, 150)

    moved = np.linalg.norm(field_of(settings)(points) - points, axis=1)

    assert moved.max() == pytest.approx(17.0, rel=0.02)


def test_default_warp_grows_with_the_slide() -> None:
    assert SynthSettings(size=2048).warp == pytest.approx(20)
    assert SynthSettings(size=4096).warp == pytest.approx(40)
    assert SynthSettings(size=20480).warp == pytest.approx(90, rel=0.01)


@pytest.mark.parametrize("size", [4096, 20480])
def test_field_bends_at_every_scale_down_to_1200_px(size: int) -> None:
    settings = SynthSettings(size=size, seed=2)
    side = 4096
    axis = np.arange(0, side, 32.0)
    shifts = field_of(settings).on_grid(axis, axis) - mesh(axis, axis).reshape(128, 128, 2)
    window = np.hanning(128)[:, None, None] * np.hanning(128)[None, :, None]

    spectrum = np.abs(np.fft.fft2((shifts - shifts.mean(axis=(0, 1))) * window, axes=(0, 1))) ** 2

    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None]) / 32
    long, short, none = (
        (spectrum * frequency[..., None] ** 2)[
            (frequency >= 1 / upper) & (frequency < 1 / lower)
        ].sum()
        for upper, lower in ((4500, 2000), (2000, 1150), (800, 400))
    )  # energy of the strain
    assert 0.2 < short / long < 1.5
    assert none < 0.02 * short


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_map_cannot_undo_the_warp(seed: int) -> None:
    settings = SynthSettings(seed=seed)
    points = grid_on(settings.ihc_size)
    shifts = field_of(settings)(points) - points
    design = np.column_stack([np.ones(len(points)), points])

    left = shifts - design @ np.linalg.lstsq(design, shifts, rcond=None)[0]

    assert left.std() > 0.8 * shifts.std()


def test_inverse_returns_every_point() -> None:
    settings = SynthSettings(
        size=Size(2048, 1536), seed=1, rotation_deg=140, mirrored=True, mpp_ihc=0.25
    )
    truth, points = make_truth(settings), grid_on(settings.ihc_size)

    assert np.abs(truth.inverse(truth(points)) - points).max() < 1e-3


def test_rotation_mirror_and_scale_are_the_ones_asked_for() -> None:
    plain = SynthSettings(seed=1, rotation_deg=30, mpp_ihc=0.23)
    mirrored = SynthSettings(seed=1, rotation_deg=30, mirrored=True)
    size = plain.ihc_size
    center = np.array([[size.width / 2, size.height / 2]])

    local = jacobian(section_projective(plain), center)[0]

    assert np.degrees(np.arctan2(local[1, 0], local[0, 0])) == pytest.approx(30, abs=1.5)
    assert np.sqrt(np.linalg.det(local)) == pytest.approx(0.5, rel=0.03)
    assert not section_projective(plain).is_mirrored
    assert section_projective(mirrored).is_mirrored


def test_a_warp_that_would_fold_is_refused_with_the_limit() -> None:
    with pytest.raises(SynthError, match=r"warp of 400 px would fold .* use at most \d+ px"):
        make_truth(SynthSettings(size=1024, warp_px=400))


def test_equal_seeds_give_equal_truth_and_others_do_not() -> None:
    points = grid_on(Size(1024, 1024), 20)

    first, again, other = (
        make_truth(SynthSettings(size=1024, seed=seed))(points) for seed in (7, 7, 8)
    )

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 5
