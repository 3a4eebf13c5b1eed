"""The curves of the training report, as plain geometry; the template turns them into SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 26
SMOOTHED_FROM = 200
"""Curves of more points than this are drawn as means of neighbours."""


@dataclass(frozen=True)
class Line:
    """One curve: its name, its points as SVG text, its last value."""

    name: str
    points: str
    last: float


@dataclass(frozen=True)
class Plot:
    """Curves over a common axis, in pixels."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_name: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def draw_plot(
    title: str, x_name: str, xs: Sequence[float], curves: Mapping[str, Sequence[float]]
) -> Plot | None:
    """Lay out curves over ``xs``; ``None`` when there is no finite value to draw."""
    shown = {
        name: _thinned([(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)])
        for name, ys in curves.items()
    }
    shown = {name: points for name, points in shown.items() if points}
    if not shown:
        return None
    x_low, x_high = _range([x for points in shown.values() for x, _ in points], 0.0)
    y_low, y_high = _range([y for points in shown.values() for _, y in points], 0.05)

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - x_low) / (x_high - x_low)

    def down(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (y_high - y) / (y_high - y_low)

    lines = tuple(
        Line(name, " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points), points[-1][1])
        for name, points in shown.items()
    )
    return Plot(
        title,
        lines,
        tuple((across(v), f"{v:g}") for v in round_numbers(x_low, x_high)),
        tuple((down(v), f"{v:g}") for v in round_numbers(y_low, y_high)),
        x_name,
    )


def round_numbers(low: float, high: float) -> list[float]:
    """Return three to seven round numbers within a range."""
    step = 10.0 ** math.floor(math.log10(high - low))
    for factor in (5.0, 2.0, 1.0, 0.5, 0.2):
        if (high - low) / (factor * step) >= 3:
            step *= factor
            break
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Return a range a little wider than the values, never empty."""
    low, high = min(values), max(values)
    if low == high:
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most some two hundred points, each the mean of its neighbours."""
    size = -(-len(points) // SMOOTHED_FROM)
    groups = [points[i : i + size] for i in range(0, len(points), size)] if size > 1 else []
    if not groups:
        return points
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]
