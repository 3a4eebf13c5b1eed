from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from registration.errors import RunError
from registration.geometry import Points, from_level0, mesh
from registration.stored_chain import load_chain, save_chain
from registration.transforms import Chain, DisplacementField, Projective, Transform

seeds = st.integers(0, 2**32 - 1)
WIDTH, HEIGHT = 3000.0, 1800.0


def smooth_field(random: np.random.Generator, amplitude: float = 40.0) -> DisplacementField:
    """Nodes 150 px apart, so that neighbours differ by far less than their distance."""
    origin = float(random.uniform(-200, 50)), float(random.uniform(-200, 50))
    rows, columns = 14, 23
    phase = random.uniform(0, 6, 4)
    ys, xs = np.mgrid[:rows, :columns]
    dx = amplitude * np.sin(ys / 3 + phase[0]) * np.cos(xs / 4 + phase[1])
    dy = amplitude * np.cos(ys / 4 + phase[2]) * np.sin(xs / 5 + phase[3])
    return DisplacementField.from_nodes(origin, 150.0, np.stack([dx, dy], axis=-1))


def mild_projective(random: np.random.Generator) -> Projective:
    angle, scale = random.uniform(-np.pi, np.pi), random.uniform(0.5, 2)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = random.uniform(-500, 500, 2)
    bottom = random.uniform(-2e-5, 2e-5, 2)
    return Projective(np.block([[linear, shift[:, None]], [bottom[None], np.ones((1, 1))]]))


def chain_of(seed: int) -> Chain:
    random = np.random.default_rng(seed)
    # Both fields come first: they cover the fixed slide, where the points are.
    return Chain((smooth_field(random), smooth_field(random, 6.0), mild_projective(random)))


def some_points(seed: int, count: int = 40) -> Points:
    return np.random.default_rng(seed).uniform([0, 0], [WIDTH, HEIGHT], (count, 2))


@settings(max_examples=25)
@given(seeds)
def test_inverse_of_a_chain_undoes_it(seed: int) -> None:
    chain, points = chain_of(seed), some_points(seed)
    np.testing.assert_allclose(chain.inverse(chain(points)), points, atol=1e-2)
    np.testing.assert_allclose(chain.inverse.inverse(points), chain(points), atol=1e-9)


@settings(max_examples=25)
@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_a_grid_is_mapped_as_its_points_are(seed: int, columns: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    # Far beyond the field on all sides, where it is clamped.
    xs = np.sort(random.uniform(-900, WIDTH + 2000, columns))
    ys = np.sort(random.uniform(-900, HEIGHT + 2000, rows))
    chain = chain_of(seed)
    for transform in (chain, chain.inverse, *chain.steps):
        expected = transform(mesh(xs, ys)).reshape(rows, columns, 2)
        np.testing.assert_allclose(transform.on_grid(xs, ys), expected, atol=1e-6)


@given(seeds)
def test_a_field_meets_its_nodes(seed: int) -> None:
    random = np.random.default_rng(seed)
    nodes = random.normal(0, 10, (5, 8, 2))
    field = DisplacementField.from_nodes((-30.0, 70.0), 25.0, nodes)
    xs, ys = -30.0 + 25 * np.arange(8), 70.0 + 25 * np.arange(5)
    moved = field.on_grid(xs, ys) - mesh(xs, ys).reshape(5, 8, 2)
    np.testing.assert_allclose(moved, nodes, atol=1e-9)


def test_a_field_is_the_cubic_spline_of_its_nodes() -> None:
    # A smooth function on fine nodes: between them any cubic spline is close to the function.
    xs, ys = -10 + 5.0 * np.arange(40), 20 + 5.0 * np.arange(30)
    values = np.sin(xs / 30)[None] * np.cos(ys / 25)[:, None] * 8
    field = DisplacementField.from_nodes((-10, 20), 5.0, np.stack([values, -values], axis=-1))
    independent = RectBivariateSpline(ys, xs, values, kx=3, ky=3)
    inside = np.random.default_rng(0).uniform([40, 70], [140, 130], (50, 2))
    expected = independent.ev(inside[:, 1], inside[:, 0])
    moved = field(inside) - inside
    np.testing.assert_allclose(moved[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(moved[:, 1], -expected, atol=1e-4)


def test_beyond_its_grid_a_field_keeps_its_border_values() -> None:
    random = np.random.default_rng(3)
    field = DisplacementField.from_nodes((0, 0), 10.0, random.normal(0, 3, (4, 6, 2)))
    inside, beyond = np.array([[50.0, 17.0]]), np.array([[500.0, 17.0]])
    np.testing.assert_allclose(field(beyond) - beyond, field(inside) - inside, atol=1e-12)


def test_a_field_of_one_node_is_a_shift() -> None:
    field = DisplacementField.from_nodes((5, 5), 10.0, np.array([[[2.0, -3.0]]]))
    xs, ys = np.array([0.0, 40.0]), np.array([7.0])
    np.testing.assert_allclose(field.on_grid(xs, ys), [[[2, 4], [42, 4]]])
    np.testing.assert_allclose(field([[0, 7], [40, 7]]), [[2, 4], [42, 4]])


@settings(max_examples=25)
@given(seeds, st.sampled_from([1.0, 2.0, 4.0, 3.7]), st.sampled_from([1.0, 8.0, 2.3]))
def test_scaled_projective_maps_level_pixels(seed: int, fixed: float, moving: float) -> None:
    transform, points = mild_projective(np.random.default_rng(seed)), some_points(seed)
    on_levels = transform.scaled(fixed, moving)
    expected = from_level0(transform(points), moving)
    np.testing.assert_allclose(on_levels(from_level0(points, fixed)), expected, atol=1e-6)


@settings(max_examples=25)
@given(seeds)
def test_after_applies_the_other_first(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second, points = mild_projective(random), mild_projective(random), some_points(seed)
    np.testing.assert_allclose(second.after(first)(points), second(first(points)), rtol=1e-9)


def test_mirrored_maps_are_told_apart() -> None:
    assert not Projective.identity().is_mirrored
    assert Projective.affine([[-1, 0, 100], [0, 1, 0]]).is_mirrored
    assert not Projective.affine([[-1, 0, 100], [0, -1, 50]]).is_mirrored


def test_no_points_map_to_no_points() -> None:
    nothing: NDArray[np.float64] = np.empty((0, 2))
    transforms: list[Transform] = [chain_of(1), chain_of(1).inverse, Chain(())]
    for transform in transforms:
        assert transform(nothing).shape == (0, 2)


def test_an_empty_chain_moves_nothing() -> None:
    chain = Chain(())
    np.testing.assert_array_equal(chain([[3, 4]]), [[3, 4]])
    np.testing.assert_array_equal(chain.on_grid(np.array([1.0, 2]), np.array([5.0]))[0, 1], [2, 5])


def test_a_saved_chain_maps_the_same(tmp_path: Path) -> None:
    chain, points = chain_of(7), some_points(7)
    loaded = load_chain(save_chain(chain, tmp_path), tmp_path)
    np.testing.assert_array_equal(loaded(points), chain(points))
    assert [type(step) for step in loaded.steps] == [type(step) for step in chain.steps]


def test_a_missing_or_foreign_part_of_a_chain_is_named(tmp_path: Path) -> None:
    described = save_chain(chain_of(7), tmp_path)
    (tmp_path / described[1]["file"]).unlink()
    with pytest.raises(RunError, match=r"field_1\.npz"):
        load_chain(described, tmp_path)
    with pytest.raises(RunError, match="no transform"):
        load_chain([{"type": "thin_plate"}], tmp_path)


def test_only_transforms_that_can_be_read_back_are_stored(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="InverseMap"):
        save_chain(chain_of(7).inverse, tmp_path)
