"""Single channels to register on, and where the tissue is.

Optical density is Beer-Lambert's, ``-ln(I / I0)``. Stain separation is that of Ruifrok and
Johnston, "Quantification of histochemical staining by color deconvolution" (2001), with their
published hematoxylin, eosin and DAB vectors, in the units of :func:`skimage.color.rgb2hed`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Image

Plane = NDArray[np.float32]
"""``(height, width)`` single channel."""

Mask = NDArray[np.bool_]
"""``(height, width)`` truth values."""

Channel = Literal["hematoxylin", "darkness", "grey", "red", "green", "blue", "saturation"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)

HED_VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Rows: optical density of hematoxylin, eosin and DAB in red, green and blue (2001, section 2)."""

DARKEST = 1e-6
"""Transmission that stands for black; also the base of ``rgb2hed``'s logarithm."""

MASK_MPP = 4.0
"""Tissue is found at this resolution: cells blur into tissue, sensor noise averages out."""

ROWS_AT_ONCE = 1024
TISSUE_DENSITY = (0.03, 0.06)
"""Otsu's threshold is clipped to this range: below is noise, above loses faint IHC tissue."""

SMALLEST_TISSUE_UM2 = 25.0**2
CLOSING_UM = 25.0
TEXTURE_UM = 12.0
PEN_CORE_UM = 20.0
PEN_MARGIN_UM = 40.0
SMALLEST_STROKE_UM2 = 120.0**2
REGION_UM = 100.0
COLOURLESS = 0.08
BACKGROUND_SIDE = 96
BACKGROUND_ROUNDS = 20
NEAR_GLASS = (0.1, 0.015)
"""Optical density up to which a pixel may be glass, from the first round to the last."""

DARKEST_GLASS = 180.0
NEUTRAL_GLASS = 0.94
"""Bounds of the background, so that a picture without any glass does not take tissue for it."""

TISSUE_TEXTURE = 0.015


def extract_channel(image: Image, channel: Channel) -> Plane:
    """Return one channel of an ``(h, w, 3)`` uint8 RGB image as float32 ``(h, w)``.

    ``hematoxylin`` is ``rgb2hed(image)[..., 0]``; ``darkness`` the mean optical density against
    pure white; ``saturation`` the largest minus the smallest colour; ``grey`` ITU-R 601 luma;
    ``red``, ``green`` and ``blue`` the colours themselves (0 to 255). Raises :class:`ValueError`
    for a name that is none of :data:`CHANNELS`.
    """
    if channel not in CHANNELS:
        raise ValueError(f"unknown channel {channel!r}: choose one of {', '.join(CHANNELS)}")
    if channel in ("hematoxylin", "darkness"):
        return _summed_table(image, channel)
    if channel == "grey":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    if channel == "saturation":
        red, green, blue = cv2.split(image)
        largest = cv2.max(cv2.max(red, green), blue)
        return np.asarray(largest - cv2.min(cv2.min(red, green), blue), np.float32)
    return np.asarray(image[..., ("red", "green", "blue").index(channel)], np.float32)


def tissue_mask(image: Image, mpp: float) -> Mask:
    """Return where an RGB image of ``mpp`` µm/px shows tissue: ``(h, w)`` truth values.

    Tissue absorbs more than the glass around it, or is rougher than it, and has the colour of a
    mixture of hematoxylin, eosin and DAB. Pen marks lie outside that cone of colours, dirt and the
    rims of bubbles are grey; uneven illumination is taken out by a smooth background; pixels that
    the scanner never reached are pure white.
    """
    scale = min(1.0, mpp / MASK_MPP)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small_mpp = mpp * image.shape[1] / size[0]
    empty = _unscanned(small)
    density = _density(small, _background(small, empty), empty)
    blur = max(0.5, MASK_MPP / small_mpp)
    density = np.stack([cv2.GaussianBlur(plane, (0, 0), blur) for plane in density])
    mean = density.mean(axis=0)
    mask = mean > _threshold(mean[~empty])
    mask |= _texture(mean, TEXTURE_UM / small_mpp) > TISSUE_TEXTURE
    mask &= ~_pen(density, mean, small_mpp)
    mask &= ~_grey(density, mask, REGION_UM / small_mpp)
    mask = _cleaned(mask, small_mpp)
    full = cv2.resize(mask.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(full, bool)


def disc(radius: float) -> NDArray[np.uint8]:
    """Return a round structuring element of at least 3 pixels across."""
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def quadratic_basis(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the six monomials up to degree two on a grid over -1 .. 1: ``(h * w, 6)``."""
    ys, xs = (np.linspace(-1, 1, count) for count in shape)
    y, x = (axis.ravel() for axis in np.meshgrid(ys, xs, indexing="ij"))
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)


def optical_densities() -> NDArray[np.float64]:
    """Return the optical density of each 8-bit value against white, ``(256,)``; 0 counts as 1."""
    return -np.log(np.maximum(np.arange(256) / 255.0, 1 / 255))


@cache
def _table(channel: Literal["hematoxylin", "darkness"]) -> NDArray[np.float32]:
    """Return what each 8-bit red, green and blue adds to a channel: ``(1, 256, 3)``."""
    if channel == "darkness":
        weights, density = np.full(3, 1 / 3), optical_densities()
    else:
        weights = np.linalg.inv(HED_VECTORS)[:, 0]
        transmission = np.maximum(np.arange(256) / 255.0, DARKEST)
        density = np.log(transmission) / math.log(DARKEST)
    return np.asarray(density[None, :, None] * weights, np.float32)


def _summed_table(image: Image, channel: Literal["hematoxylin", "darkness"]) -> Plane:
    """Look every colour up and add the three, some rows at a time to stay small in memory."""
    plane = np.empty(image.shape[:2], np.float32)
    for row in range(0, len(plane), ROWS_AT_ONCE):
        rows = slice(row, row + ROWS_AT_ONCE)
        looked_up = cv2.LUT(np.ascontiguousarray(image[rows]), _table(channel))
        plane[rows] = cv2.transform(looked_up, np.ones((1, 3), np.float32))
    return np.maximum(plane, 0, out=plane)


def _density(image: Image, background: NDArray[np.float32], empty: Mask) -> NDArray[np.float32]:
    """Return ``-ln(I / I0)`` per colour, at least 0, and 0 where ``empty``: ``(3, h, w)``."""
    transmission = np.maximum(image, 1) / background
    density = np.maximum(-np.log(transmission), 0.0)
    density[empty] = 0
    return np.ascontiguousarray(np.moveaxis(density, 2, 0), np.float32)


def _unscanned(image: Image) -> Mask:
    """Return the pure white pixels, if glass elsewhere is darker than that."""
    red, green, blue = cv2.split(image)
    darkest = cv2.min(cv2.min(red, green), blue)
    white = np.asarray(darkest >= 254)
    glass = darkest[~white]
    if glass.size > 0.02 * white.size and np.percentile(glass, 99) < 251:
        return white
    return np.zeros_like(white)


def _background(image: Image, ignored: Mask) -> NDArray[np.float32]:
    """Return the brightness of bare glass, a quadratic surface per colour: ``(h, w, 3)``.

    The surface is the upper envelope of the image: least squares in which whatever is darker than
    the surface loses weight, round by round.
    """
    height, width = image.shape[:2]
    size = (min(width, BACKGROUND_SIDE), min(height, BACKGROUND_SIDE))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    used = cv2.resize(ignored.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) == 0
    if not used.any():  # what was scanned is too thin for the small picture
        used[:] = True
    basis = quadratic_basis((size[1], size[0]))
    log_light = np.log(np.maximum(small, 1.0))
    inside = basis[used.ravel()]
    surface = np.empty((size[1], size[0], 3), np.float32)
    for k in range(3):
        fitted = basis @ _upper_envelope(inside, log_light[..., k][used])
        surface[..., k] = np.exp(fitted).reshape(surface.shape[:2])
    surface = np.clip(surface, DARKEST_GLASS, 255.0)
    surface = np.maximum(surface, NEUTRAL_GLASS * surface.max(axis=2, keepdims=True))
    return np.asarray(cv2.resize(surface, (width, height)), np.float32)


def _upper_envelope(basis: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coefficients of the surface along the upper edge of ``values``."""
    brightest = np.percentile(values, 95)
    flat = np.array([brightest, 0, 0, 0, 0, 0], np.float64)
    ridge = np.diag([0.0, 1, 1, 1, 1, 1]) * 1e-3 * len(values)
    coefficients = flat.copy()
    for near in np.geomspace(*NEAR_GLASS, BACKGROUND_ROUNDS):
        residual = values - basis @ coefficients
        weights = np.where(residual > 0, 1.0, np.exp(-((residual / near) ** 2)))
        weighted = basis * weights[:, None]
        coefficients[:] = np.linalg.solve(
            weighted.T @ basis + ridge, weighted.T @ values + ridge @ flat
        )
    return coefficients


def _threshold(density: NDArray[np.float32]) -> float:
    """Return the mean optical density above which a pixel is no bare glass."""
    if not density.size:
        return TISSUE_DENSITY[0]
    levels = np.clip(density * 255, 0, 255).astype(np.uint8)
    otsu, _ = cv2.threshold(levels.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(np.clip(otsu / 255, *TISSUE_DENSITY))


def _texture(plane: Plane, radius: float) -> Plane:
    """Return the standard deviation within ``radius`` pixels."""
    side = (2 * round(radius) + 1,) * 2
    mean = cv2.boxFilter(plane, -1, side)
    variance = cv2.boxFilter(plane * plane, -1, side) - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)), np.float32)


def _pen(density: NDArray[np.float32], mean: Plane, mpp: float) -> Mask:
    """Return strokes whose colour no mixture of hematoxylin, eosin and DAB has, and their edges.

    In such mixtures green is absorbed about as much as red or more, and red at least a third as
    much as blue; a black pen absorbs all three alike, and nearly everything. Red blood cells come
    close to red ink, but not in strokes of a pen's width.
    """
    red, green, blue = density
    largest = density.max(axis=0)
    colour = (green < 0.72 * red) | (green < 0.5 * blue) | (red < 0.15 * blue)
    black = (mean > 1.0) & (largest - density.min(axis=0) < 0.2 * largest)
    stroke = (((mean > 0.15) & colour) | black).astype(np.uint8)
    stroke = cv2.morphologyEx(stroke, cv2.MORPH_OPEN, disc(PEN_CORE_UM / mpp))
    stroke = _without_specks(stroke > 0, SMALLEST_STROKE_UM2 / mpp**2)
    return np.asarray(cv2.dilate(stroke.astype(np.uint8), disc(PEN_MARGIN_UM / mpp)), bool)


def _grey(density: NDArray[np.float32], mask: Mask, radius: float) -> Mask:
    """Return the pixels whose surroundings hardly have a colour: dirt, bubble rims, shadows.

    Colour is judged pixel by pixel and then averaged: blue nuclei among brown membranes are grey
    on average, and are tissue.
    """
    side = (2 * round(radius / 2) + 1,) * 2
    largest = density.max(axis=0) * mask
    spread = largest - density.min(axis=0) * mask
    return np.asarray(
        cv2.boxFilter(spread, -1, side) < COLOURLESS * cv2.boxFilter(largest, -1, side)
    )


def _cleaned(mask: Mask, mpp: float) -> Mask:
    """Close gaps between cells and drop what is too small to be tissue."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc(CLOSING_UM / mpp))
    return _without_specks(closed > 0, SMALLEST_TISSUE_UM2 / mpp**2)


def _without_specks(mask: Mask, smallest_px: float) -> Mask:
    """Return the mask without connected parts of fewer than ``smallest_px`` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest_px
    keep[0] = False
    return np.asarray(keep[labels])
