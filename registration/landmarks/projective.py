"""The paper's two-step projective transform, and what can be wrong with picked points.

Source: Liu et al., "BCI: Breast Cancer Immunohistochemical Image Generation through Pyramid
Pix2pix", CVPR Workshops 2022, section 3.2: the quadrilateral of four points on the H&E slide is
mapped to a square, and the square to the quadrilateral on the IHC slide.

Points are ``(N, 2)`` in level-0 pixels; fitted transforms map fixed -> moving; residuals are in
pixels of the moving slide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import scipy  # which imports its slow parts when they are used
from numpy.typing import NDArray

from registration.errors import LandmarkError
from registration.files.words import counted
from registration.geometry import Box, Points, Size, mesh
from registration.landmarks.problems import (
    MINIMUM_PAIRS,
    Problem,
    extent,
    extent_problems,
    numbers,
    shape_problems,
    turn,
)
from registration.transforms import Projective

PERSPECTIVE_GAIN = 0.9
"""A perspective fit is chosen where its leave-one-out error is below this share of the affine's."""
OUTLIER_PAIRS = 6
OUTLIER_CHANCE = 0.01
OUTLIER_FLOOR = 0.01
"""Least residual of an outlier as a share of the moving points' extent."""
TRIALS = 500
STRETCH = 1.6
"""Scales that differ by more across a slide, or between its axes, are no pair of sections."""

Fit = Callable[[Points, Points], Projective]


def fit_projective(fixed: Points, moving: Points) -> Projective:
    """Fit a projective transform that takes fixed points to moving points.

    Four pairs: the paper's two steps, exact. More: least squares, affine or with perspective,
    whichever predicts left-out pairs better (see :func:`choose_model`). Raises
    :class:`LandmarkError` for fewer than four pairs, and where the points determine no transform.
    """
    fixed, moving = _checked(fixed, moving)
    for problem in shape_problems(fixed, moving, numbers(len(fixed))):
        if problem.fatal:
            raise LandmarkError(problem.message)
    return choose_model(fixed, moving)(fixed, moving)


def two_step(fixed: Points, moving: Points) -> Projective:
    """Return the paper's transform of four pairs: moving quadrilateral -> square -> fixed one.

    The result is turned round to map fixed -> moving.
    """
    to_square = square_to_quadrilateral(moving).inverse
    moving_to_fixed = square_to_quadrilateral(fixed).after(to_square)
    return moving_to_fixed.inverse


def square_to_quadrilateral(corners: Points) -> Projective:
    """Return the homography of the unit square (0,0), (1,0), (1,1), (0,1) to four corners.

    Closed form of Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989), section
    2.2.3. Raises :class:`LandmarkError` where three of the corners lie on one line.
    """
    p0, p1, p2, p3 = np.asarray(corners, np.float64)
    side1, side2, excess = p1 - p2, p3 - p2, p0 - p1 + p2 - p3
    sides = np.column_stack([side1, side2])
    if abs(np.linalg.det(sides)) < 1e-12 * max(float(np.abs(sides).max()) ** 2, 1e-300):
        raise LandmarkError("three of the four points lie on one line; pick them further apart")
    g, h = np.linalg.solve(sides, excess)
    first, second = p1 - p0 + g * p1, p3 - p0 + h * p3
    return Projective(
        np.array([[first[0], second[0], p0[0]], [first[1], second[1], p0[1]], [g, h, 1.0]])
    )


def choose_model(fixed: Points, moving: Points) -> Fit:
    """Return the fit to use for these pairs.

    Four pairs: :func:`two_step`. More: with few picked points a homography fits the noise of
    picking, so that perspective must earn its two parameters: it is used where its root mean
    square leave-one-out error is below 0.9 times that of the affine fit.
    """
    if len(fixed) == MINIMUM_PAIRS:
        return two_step
    affine, perspective = (
        np.sqrt(np.mean(_left_out(fit, fixed, moving) ** 2)) for fit in (fit_affine, fit_homography)
    )
    return fit_homography if perspective < PERSPECTIVE_GAIN * affine else fit_affine


def fit_affine(fixed: Points, moving: Points) -> Projective:
    """Return the least-squares affine transform of three or more pairs."""
    center, spread = fixed.mean(axis=0), max(float(fixed.std()), 1e-12)
    design = np.column_stack([(fixed - center) / spread, np.ones(len(fixed))])
    solution = np.linalg.lstsq(design, moving, rcond=None)[0]
    linear = solution[:2].T / spread
    return Projective.affine(np.column_stack([linear, solution[2] - linear @ center]))


def fit_homography(fixed: Points, moving: Points) -> Projective:
    """Return the least-squares homography of four or more pairs.

    Normalised direct linear transform (Hartley, PAMI 1997), then least squares of the distance in the
    moving slide.
    """
    to_unit_fixed, to_unit_moving = _normalizing(fixed), _normalizing(moving)
    source, target = to_unit_fixed(fixed), to_unit_moving(moving)
    matrix = _refined(_direct_linear(source, target), source, target)
    return to_unit_moving.inverse.after(Projective(matrix)).after(to_unit_fixed)


def residuals(transform: Projective, fixed: Points, moving: Points) -> NDArray[np.float64]:
    """Return how far each mapped fixed point lies from its moving point, ``(N,)`` in pixels."""
    with np.errstate(all="ignore"):
        distance = np.linalg.norm(transform(fixed) - moving, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)


def leave_one_out(fixed: Points, moving: Points) -> NDArray[np.float64]:
    """Return, for each pair, its residual under the fit of all others, ``(N,)`` in moving pixels.

    With four pairs the other three give an affine transform; with more, the model that
    :func:`fit_projective` uses. Fewer than four pairs give NaN.
    """
    fixed, moving = np.asarray(fixed, np.float64), np.asarray(moving, np.float64)
    if len(fixed) < MINIMUM_PAIRS:
        return np.full(len(fixed), np.nan)
    fit = fit_affine if len(fixed) == MINIMUM_PAIRS else choose_model(fixed, moving)
    return _left_out(fit, fixed, moving)


def examine(
    fixed: Points,
    moving: Points,
    fixed_size: Size,
    names: Sequence[str] | None = None,
    slides: tuple[str, str] = ("IHC", "H&E"),
) -> tuple[Problem, ...]:
    """Return what is wrong with, or odd about, pairs of points; fatal problems first.

    ``names`` of the pairs, numbered from 1 without them, and ``slides``, the names of the fixed and
    the moving one, are used in the messages. Found are duplicate
    pairs, points (nearly) on one line, points too close together for the slide, pairs whose order
    crosses, mirrored sections, mis-clicked pairs (from six pairs on), and a transform that stretches
    the slide as no pair of sections is stretched. Raises :class:`LandmarkError` for fewer than four
    pairs.
    """
    fixed, moving = _checked(fixed, moving)
    names = numbers(len(fixed)) if names is None else names
    problems = shape_problems(fixed, moving, names, slides)
    problems += extent_problems(fixed, fixed_size)
    if not any(problem.fatal for problem in problems):
        outliers = _outliers(fixed, moving, names)
        problems += outliers
        kept = np.setdiff1d(np.arange(len(fixed)), [i for o in outliers for i in o.indices])
        problems += _transform_problems(fixed[kept], moving[kept], fixed_size)
    return tuple(sorted(problems, key=lambda problem: not problem.fatal))


def _left_out(fit: Fit, fixed: Points, moving: Points) -> NDArray[np.float64]:
    """Return the residual of each pair under ``fit`` of the others."""
    result = np.empty(len(fixed))
    for index in range(len(fixed)):
        rest = np.arange(len(fixed)) != index
        try:
            transform = fit(fixed[rest], moving[rest])
        except np.linalg.LinAlgError:
            result[index] = np.inf
            continue
        result[index] = residuals(transform, fixed[~rest], moving[~rest])[0]
    return result


def _checked(fixed: Points, moving: Points) -> tuple[Points, Points]:
    """Return both sets as arrays, or raise where they cannot be fitted."""
    fixed, moving = np.asarray(fixed, np.float64), np.asarray(moving, np.float64)
    if fixed.shape != moving.shape or fixed.ndim != 2 or fixed.shape[1] != 2:
        raise LandmarkError(f"{fixed.shape} fixed and {moving.shape} moving points are no pairs")
    if len(fixed) < MINIMUM_PAIRS:
        raise LandmarkError(
            f"{counted(len(fixed), 'pair')} of points, at least {MINIMUM_PAIRS} are needed"
        )
    if not (np.isfinite(fixed).all() and np.isfinite(moving).all()):
        raise LandmarkError("a point has a coordinate that is not a finite number")
    return fixed, moving


def _normalizing(points: Points) -> Projective:
    """Return the map that centres points and makes their mean distance the square root of two."""
    center = points.mean(axis=0)
    distance = np.linalg.norm(points - center, axis=1).mean()
    scale = np.sqrt(2) / max(float(distance), 1e-12)
    return Projective.affine([[scale, 0, -scale * center[0]], [0, scale, -scale * center[1]]])


def _direct_linear(source: Points, target: Points) -> NDArray[np.float64]:
    """Return the 3 x 3 matrix with the least algebraic error."""
    ones, zeros = np.ones((len(source), 1)), np.zeros((len(source), 3))
    homogeneous = np.hstack([source, ones])
    x, y = target[:, :1], target[:, 1:]
    equations = np.vstack(
        [
            np.hstack([homogeneous, zeros, -x * homogeneous]),
            np.hstack([zeros, homogeneous, -y * homogeneous]),
        ]
    )
    matrix = np.linalg.svd(equations)[2][-1].reshape(3, 3)
    corner = matrix[2, 2]
    return np.asarray(matrix / (corner if abs(corner) > 1e-12 else 1e-12))


def _refined(matrix: NDArray[np.float64], source: Points, target: Points) -> NDArray[np.float64]:
    """Lower the geometric error, by Levenberg and Marquardt's method."""

    def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
        mapped = Projective(np.append(values, 1.0).reshape(3, 3))(source)
        return np.asarray((mapped - target).ravel())

    found = scipy.optimize.least_squares(error, matrix.ravel()[:8], method="lm", xtol=1e-12)
    return np.append(found.x, 1.0).reshape(3, 3)


def _outliers(fixed: Points, moving: Points, names: Sequence[str]) -> list[Problem]:
    """Find mis-clicked pairs.

    Candidates are the largest residuals of the affine fit with the least median of squares
    (Rousseeuw, 1984), which up to half of the pairs cannot spoil. So many of them are named as
    an F test finds least likely to belong to the rest.
    """
    count = len(fixed)
    if count < OUTLIER_PAIRS:
        return []
    robust = min(
        (
            residuals(fit_affine(fixed[three], moving[three]), fixed, moving)
            for three in _triples(count)
        ),
        key=lambda residual: float(np.median(residual)),
    )
    order = np.argsort(-robust)
    likely = [
        (_chance(fixed, moving, order[:number]), number)
        for number in range(1, max(2, count // 3 + 1))
    ]
    chance, number = min(likely)
    wrong = np.sort(order[:number])
    rest = np.setdiff1d(np.arange(count), wrong)
    distance = residuals(fit_affine(fixed[rest], moving[rest]), fixed, moving)
    wrong = wrong[distance[wrong] > OUTLIER_FLOOR * extent(moving)]
    if chance > OUTLIER_CHANCE or len(wrong) == 0:
        return []
    which = ", ".join(f"{names[int(index)]} (by {distance[index]:.0f} px)" for index in wrong)
    message = f"pair {which} does not fit the others; look at it again, or disable it"
    return [Problem("outlier", tuple(wrong.tolist()), message)]


def _chance(fixed: Points, moving: Points, suspects: NDArray[np.intp]) -> float:
    """Return how likely it is that any as many pairs deviate so much from the rest by chance.

    F test of the drop in squared error of the affine fit, with Bonferroni's factor for the choice.
    """
    rest = np.setdiff1d(np.arange(len(fixed)), suspects)
    every, without = (
        float(
            (residuals(fit_affine(fixed[part], moving[part]), fixed[part], moving[part]) ** 2).sum()
        )
        for part in (np.arange(len(fixed)), rest)
    )
    gained, left = 2 * len(suspects), 2 * len(rest) - 6
    if left <= 0 or every <= without:
        return 1.0
    ratio = ((every - without) / gained) / max(without / left, 1e-12)
    return float(scipy.special.fdtrc(gained, left, ratio)) * math.comb(len(fixed), len(suspects))


def _triples(count: int) -> list[NDArray[np.intp]]:
    """Return all sets of three, or a fixed random choice of them."""
    if count <= 15:
        return [np.array(three) for three in combinations(range(count), 3)]
    random = np.random.default_rng(count)
    return [random.choice(count, 3, replace=False) for _ in range(TRIALS)]


def _transform_problems(fixed: Points, moving: Points, size: Size) -> list[Problem]:
    """Find what the fitted transform does that no pair of sections does."""
    transform = choose_model(fixed, moving)(fixed, moving)
    everything = tuple(range(len(fixed)))
    problems = []
    if turn(fit_affine(fixed, moving)(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))) < 0:
        message = "one section is mirrored: mounted face-down, or pairs are mixed up"
        problems.append(Problem("mirrored", everything, message))
    stretch = _stretch(transform, size)
    if stretch > STRETCH:
        how = (
            "turns part of the slide over"
            if np.isinf(stretch)
            else f"stretches it {stretch:.1f}-fold"
        )
        message = (
            f"the transform fitted to these pairs {how} somewhere on the slide, as no two sections "
            "do; a pair is mis-clicked, or the points cover too little of the tissue"
        )
        problems.append(Problem("distorted", everything, message))
    return problems


def _stretch(transform: Projective, size: Size) -> float:
    """Return the largest over the smallest local scale on a slide; infinite where it turns over."""
    box = Box.of(size)
    corners = mesh(np.array([box.x, box.right], float), np.array([box.y, box.bottom], float))
    weights = corners @ transform.matrix[2, :2] + transform.matrix[2, 2]
    if weights.min() <= 0 < weights.max() or weights.max() <= 0:
        return float("inf")
    step = size.diagonal * 1e-4
    columns = [
        (transform(corners + offset) - transform(corners - offset)) / (2 * step)
        for offset in (np.array([step, 0.0]), np.array([0.0, step]))
    ]
    scales = np.linalg.svd(np.stack(columns, axis=-1), compute_uv=False)
    return float(scales.max() / scales.min())
