"""Maps of a registration over the fixed slide: displacement, change of area, residual shift."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.report.drawing import (
    Legend,
    backdrop,
    colour_of,
    coloured,
    laid_over,
    legend,
)
from registration.files.pictures import jpeg_uri
from registration.geometry import Box, Image, Points, axis_positions, from_level0, look_up, mesh
from registration.pair import SlidePair
from registration.residual_map import ResidualMap
from registration.result import Registration
from registration.tissue import TissueMap
from registration.transforms import jacobian_determinant

MAP_PX = 720
FIELD_NODES = 240
ARROWS_ALONG = 18
ARROW_SHARE = 0.9
"""The 95th percentile of the arrows fills this share of the distance between two of them."""

LEAST_CHANGE = 0.1
"""The scale of area changes reaches at least a tenth, so that noise does not look like strain."""

FOLD_COLOUR = (214, 0, 186)
OVER_TISSUE, OVER_GLASS = 0.75, 0.1
EDGE_PX = 3.0
"""Colours fade over this width at the edge of the tissue."""

SHORTEST_ARROW = 0.12
"""Of the usual arrow: shorter ones are only a head, and are left out."""

DOT_LIMIT = 2500


@dataclass(frozen=True, slots=True)
class Line:
    """A line in percent of the map's width and height."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Dot:
    """A marked point in percent of the map's width and height."""

    x: float
    y: float
    colour: str
    title: str
    hollow: bool = False


@dataclass(frozen=True, eq=False)
class MapFigure:
    """A picture of the slide with something drawn on it."""

    image: Image
    legend: Legend | None
    arrows: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    note: str = ""

    @property
    def picture(self) -> str:
        """The picture as a ``data:`` address."""
        return jpeg_uri(self.image)

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.image.shape[0])


@dataclass(frozen=True, eq=False)
class Ground:
    """What every map is drawn on."""

    image: Image
    """Pale grey picture of the fixed slide."""
    tissue: NDArray[np.bool_]
    """``(h, w)`` of the picture."""
    downsample: float

    @classmethod
    def of(cls, pair: SlidePair, tissue: TissueMap) -> Ground:
        """Read a small picture of the fixed slide."""
        thumbnail, downsample = pair.fixed_slide.thumbnail(MAP_PX)
        size = Box.of(pair.fixed_slide.size)
        height, width = thumbnail.shape[:2]
        mask = tissue.on(size, Box(0, 0, width, height).size)
        return cls(backdrop(thumbnail), mask, downsample)

    @property
    def opacity(self) -> NDArray[np.float32]:
        """Colours are strong on tissue and weak on glass."""
        opacity = np.where(self.tissue, OVER_TISSUE, OVER_GLASS).astype(np.float32)
        return np.asarray(cv2.GaussianBlur(opacity, (0, 0), EDGE_PX))

    def percent(self, points: Points) -> Points:
        """Return level-0 points in percent of the picture's width and height."""
        height, width = self.image.shape[:2]
        scale = 100 / (self.downsample * np.array([width, height], np.float64))
        return np.asarray((points + 0.5) * scale)


@dataclass(frozen=True, eq=False)
class SampledField:
    """The non-rigid displacement on a grid of the fixed slide."""

    xs: NDArray[np.float64]
    ys: NDArray[np.float64]
    shift_px: NDArray[np.float64]
    """``(len(ys), len(xs), 2)`` in level-0 pixels."""
    step: float

    @classmethod
    def of(cls, registration: Registration) -> SampledField:
        """Evaluate the first step of the chain, which is the non-rigid one."""
        size = registration.fixed.size
        step = max(1.0, max(size.width, size.height) / FIELD_NODES)
        xs, ys = (
            axis_positions(0, math.ceil(side / step), step) for side in (size.width, size.height)
        )
        mapped = registration.chain.steps[0].on_grid(xs, ys)
        return cls(xs, ys, mapped - mesh(xs, ys).reshape(mapped.shape), step)

    def on(self, values: NDArray[np.float64], ground: Ground) -> NDArray[np.float64]:
        """Return grid values at the pixels of the picture."""
        height, width = ground.image.shape[:2]
        scale = ground.downsample / self.step
        # Both grids start at the slide's corner: pixel x of the picture lies at node
        # (x + 0.5) * scale - 0.5.
        matrix = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
        return np.asarray(
            cv2.warpAffine(
                values,
                matrix,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


def displacement_map(registration: Registration, field: SampledField, ground: Ground) -> MapFigure:
    """Draw how far, and from where, the non-rigid step moved the tissue."""
    mpp = registration.fixed.mpp
    length_um = field.on(np.hypot(*np.moveaxis(field.shift_px, -1, 0)) * mpp, ground)
    shown = length_um[ground.tissue] if ground.tissue.any() else length_um
    highest = _round_up(float(shown.max()))
    image = laid_over(ground.image, coloured(length_um, 0, highest, "amount"), ground.opacity)
    arrows, factor = _arrows(field, ground)
    scale = legend(0, highest, "µm", "amount", 1 if highest < 20 else 0)
    return MapFigure(image, scale, arrows=arrows, note=_times(factor))


def folding_map(field: SampledField, ground: Ground, in_pieces: bool = False) -> MapFigure:
    """Draw by how much the non-rigid step changes areas, and where it folds."""
    jacobian = field.on(jacobian_determinant(field.shift_px, field.step), ground)
    if in_pieces:  # between pieces the field jumps, where there is nothing but glass
        jacobian = np.where(ground.tissue, jacobian, 1.0)
    change = np.log2(np.maximum(jacobian, 2.0**-8))
    reach = max(math.log2(1 + LEAST_CHANGE), float(np.percentile(np.abs(change), 99.5)))
    image = laid_over(ground.image, coloured(change, -reach, reach, "change"), ground.opacity)
    image[jacobian <= 0] = FOLD_COLOUR
    scale = legend(-reach, reach, "area", "change")
    ends = [f"{100 * (2**value - 1):+.0f} %".replace("-", "−") for value in (-reach, reach)]
    return MapFigure(image, Legend(scale.gradient, ends[0], "no change", ends[1], "area"))


def residual_figure(residual: ResidualMap, ground: Ground) -> MapFigure:
    """Draw the shift that is left at every place that was matched."""
    step = math.ceil(len(residual.points) / DOT_LIMIT)
    points = ground.percent(residual.points[::step])
    shift = np.hypot(*residual.shift_um[::step].T)
    matched = residual.matched[::step]
    largest = float(np.percentile(shift[matched], 98)) if matched.any() else 1.0
    highest = _round_up(max(largest, 1.0))
    dots = [
        Dot(
            float(point[0]),
            float(point[1]),
            colour_of(float(value), 0, highest, "amount") if found else "none",
            f"{value:.1f} µm" if found else "no match better than chance",
            not found,
        )
        for point, value, found in zip(points, shift, matched, strict=True)
    ]
    scale = legend(0, highest, "µm", "amount", 1 if highest < 20 else 0)
    return MapFigure(ground.image, scale, dots=tuple(dots))


def landmark_figure(points: Points, names: list[str], ground: Ground) -> MapFigure:
    """Draw where landmarks lie on the fixed slide."""
    dots = [
        Dot(float(x), float(y), "", name)
        for (x, y), name in zip(ground.percent(points), names, strict=True)
    ]
    return MapFigure(ground.image, None, dots=tuple(dots))


def _arrows(field: SampledField, ground: Ground) -> tuple[tuple[Line, ...], float]:
    """Return arrows from where tissue lay to where it lies now, and by how much they are drawn out.

    The field says where to read: what is seen at ``p`` came from ``p + u(p)``.
    """
    longest = max(len(field.xs), len(field.ys))
    every = max(1, longest // ARROWS_ALONG)
    rows, columns = slice(every // 2, None, every), slice(every // 2, None, every)
    heads = mesh(field.xs[columns], field.ys[rows])
    shift = field.shift_px[rows, columns].reshape(-1, 2)
    on_tissue = look_up(ground.tissue, from_level0(heads, ground.downsample))
    heads, shift = heads[on_tissue], shift[on_tissue]
    if not len(heads) or not np.any(shift):
        return (), 1.0
    length = np.hypot(*shift.T)
    usual = float(np.percentile(length, 95))
    factor = _round_down(ARROW_SHARE * every * field.step / max(usual, 1e-9))
    heads, shift = (part[length > SHORTEST_ARROW * usual] for part in (heads, shift))
    tails, heads = ground.percent(heads + factor * shift), ground.percent(heads)
    lines = [
        Line(*(round(float(value), 2) for value in (*tail, *head)))
        for tail, head in zip(tails, heads, strict=True)
    ]
    return tuple(lines), factor


def _times(factor: float) -> str:
    """Say how arrows are drawn."""
    if factor == 1:
        return "Arrows are drawn to scale."
    if factor > 1:
        return f"Arrows are drawn {factor:g} times as long as the shift is."
    return f"Arrows are drawn at {factor:g} of their true length."


def _round_down(value: float) -> float:
    """Return the largest 1, 1.5, 2, ... times a power of ten that is not above ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    step = max(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8) if step * power <= value * 1.000001)
    return float(f"{step * power:.3g}")


def _round_up(value: float) -> float:
    """Return the smallest 1, 2, 3, 5 or 7 times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    step = min(step for step in (1, 2, 3, 5, 7, 10) if step * power >= value * 0.999999)
    return float(f"{step * power:.3g}")
