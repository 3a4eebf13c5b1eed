from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.interpolate import BSpline as ScipyBSpline

from benchmarks.textures import smooth_noise
from registration.bspline import BSpline
from registration.nonrigid.elastix import (
    ElastixResult,
    ElastixSettings,
    register_bspline,
    transformix,
    write_transform_file,
)

HEIGHT, WIDTH = 300, 420


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed and moving texture, and the true displacement ``(h, w, 2)`` between them."""
    blobs = smooth_noise(np.random.default_rng(3), (HEIGHT, WIDTH), 3).astype(np.float32)
    moving = 255 * (blobs - blobs.min()) / np.ptp(blobs)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    shift = np.stack([4 * np.sin(y / 70) + 2, 3 * np.cos(x / 80) - 1], axis=-1)
    fixed = cv2.remap(moving, x + shift[..., 0], y + shift[..., 1], cv2.INTER_CUBIC)
    return fixed, moving, shift


@pytest.fixture(scope="module")
def result(images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> ElastixResult:
    fixed, moving, _ = images
    return register_bspline(fixed, moving, ElastixSettings(grid_px=50, iterations=200))


def field_of(result: ElastixResult) -> np.ndarray:
    return result.spline.on_grid(np.arange(float(WIDTH)), np.arange(float(HEIGHT)))


def test_finds_a_known_deformation(
    images: tuple[np.ndarray, np.ndarray, np.ndarray], result: ElastixResult
) -> None:
    error = np.linalg.norm(field_of(result) - images[2], axis=-1)[20:-20, 20:-20]

    assert np.median(error) < 0.1
    assert np.percentile(error, 99) < 0.5


def test_separable_field_equals_transformix(
    images: tuple[np.ndarray, np.ndarray, np.ndarray], result: ElastixResult
) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    # transformix resamples the coordinates themselves: its output is the mapped position
    for axis, coordinate in enumerate((x, y)):
        mapped = transformix(coordinate, result.parameters)
        ours = coordinate + field_of(result)[..., axis]
        inside = (slice(10, -10), slice(10, -10))
        np.testing.assert_allclose(mapped[inside], ours[inside], atol=2e-3)


def test_same_input_gives_the_same_spline(
    images: tuple[np.ndarray, np.ndarray, np.ndarray], result: ElastixResult
) -> None:
    fixed, moving, _ = images

    again = register_bspline(fixed, moving, ElastixSettings(grid_px=50, iterations=200))

    np.testing.assert_array_equal(again.spline.coefficients, result.spline.coefficients)


def test_leaves_no_file_in_the_working_folder(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fixed, moving, _ = images

    result = register_bspline(fixed, moving, ElastixSettings(grid_px=100, iterations=5))
    transformix(moving, result.parameters)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_mask_is_an_error_and_not_a_crash(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    fixed, moving, _ = images

    with pytest.raises(RuntimeError):
        register_bspline(
            fixed,
            moving,
            ElastixSettings(grid_px=100, iterations=5),
            np.zeros_like(fixed, np.uint8),
        )


def test_transform_file_is_written_in_elastix_syntax(result: ElastixResult, tmp_path: Path) -> None:
    path = tmp_path / "TransformParameters.1-1.txt"

    write_transform_file(path, result.parameters)

    lines = path.read_text().splitlines()
    assert '(Transform "BSplineTransform")' in lines
    assert any(line.startswith("(TransformParameters ") for line in lines)


def test_spline_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    coefficients = rng.normal(0, 1, (7, 9, 2))
    spline = BSpline((-30.0, -12.0), (20.0, 15.0), coefficients)
    points = np.stack([rng.uniform(-5, 85, 50), rng.uniform(5, 60, 50)], axis=1)

    found = spline.at(points)

    knots_x = spline.origin[0] + spline.spacing[0] * np.arange(-2, 11)
    knots_y = spline.origin[1] + spline.spacing[1] * np.arange(-2, 9)
    for index, (x, y) in enumerate(points):
        along_x = [
            ScipyBSpline.basis_element(knots_x[k : k + 5], extrapolate=False)(x) for k in range(9)
        ]
        along_y = [
            ScipyBSpline.basis_element(knots_y[k : k + 5], extrapolate=False)(y) for k in range(7)
        ]
        expected = np.einsum(
            "r,c,rck->k", np.nan_to_num(along_y), np.nan_to_num(along_x), coefficients
        )
        np.testing.assert_allclose(found[index], expected, atol=1e-12)
    grid = spline.on_grid(points[:, 0], points[:, 1])
    np.testing.assert_allclose(np.diagonal(grid).T, found, atol=1e-12)


def test_a_worker_loads_no_library_of_others() -> None:
    code = "import sys; from registration.nonrigid.elastix import warm_up; warm_up(); "
    code += "print('torch' in sys.modules, 'xarray' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "False"]
