"""Bootstrap intervals: against SciPy, against theory, and with patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.metrics.intervals import image_draws, mean_interval


def test_images_are_resampled_as_scipy_does() -> None:
    values = np.random.default_rng(1).gamma(2.0, 3.0, 150)

    found = mean_interval(values)

    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    width = expected.high - expected.low
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.07 * width)
    assert found.high == pytest.approx(expected.high, abs=0.07 * width)
    assert (found.images, found.units) == (150, 150)


def test_patients_widen_the_interval_as_theory_says() -> None:
    rng = np.random.default_rng(3)
    patients = [f"p{number}" for number in range(40) for _ in range(12)]
    values = np.repeat(rng.normal(0, 1, 40), 12) + rng.normal(0, 0.1, 480)

    by_patient, by_image = mean_interval(values, patients), mean_interval(values)

    error_of_mean = values.reshape(40, 12).mean(axis=1).std() / np.sqrt(40)
    assert by_patient.units == 40
    assert by_patient.high - by_patient.low == pytest.approx(2 * 1.96 * error_of_mean, rel=0.1)
    assert by_patient.high - by_patient.low > 3 * (by_image.high - by_image.low)


def test_patients_with_more_images_count_more() -> None:
    values, patients = [0.0] * 9 + [1.0], ["a"] * 9 + ["b"]

    found = mean_interval(values, patients)

    assert found.mean == pytest.approx(0.1)
    assert (found.low, found.high) == (0.0, 1.0)


def test_one_unknown_patient_makes_images_the_units() -> None:
    assert mean_interval([1.0, 2.0, 4.0], ["a", "a", None]).units == 3


def test_undefined_values_are_left_out_with_their_patient() -> None:
    found = mean_interval([1.0, np.nan, 3.0, np.nan], ["a", "a", "b", "c"])

    assert (found.mean, found.images, found.units) == (2.0, 2, 2)


def test_too_little_to_resample_has_a_mean_but_no_bounds() -> None:
    single, nothing = mean_interval([2.5]), mean_interval([np.nan, np.nan])
    infinite = mean_interval([np.inf, 20.0, 30.0])

    assert single.mean == 2.5
    assert np.isnan([single.low, single.high, nothing.mean, nothing.low, infinite.low]).all()
    assert infinite.mean == np.inf


def test_the_draws_of_whole_statistics_keep_patients_together() -> None:
    drawn, units = image_draws(["a", "b", "a", "c"])

    assert units == 3
    assert drawn.shape == (2000, 4)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
