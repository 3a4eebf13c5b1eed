"""Plots for pages, drawn by matplotlib as SVG that takes its colours and its font from the page.

The text stays text and colours are the page's variables: a plot is readable in dark and light, on
a phone and on paper. Equal values give equal bytes. matplotlib is imported when the first plot is
drawn, because that takes most of a second.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

WIDTH = 440
"""Units of a plot's width: near the pixels of a phone, where its text is then legible."""

SMOOTHED_FROM = 200
"""Curves of more points than this are drawn as means of neighbours."""

INK, SOFT, RULE, ACCENT, LOOK = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES = tuple(f"#{number:02x}{number:02x}{number:02x}" for number in range(6, 14))
"""Stand-ins, which become the variables of the page's style sheet."""

_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    RULE: "rule",
    ACCENT: "accent",
    LOOK: "look",
    **{colour: f"series{number}" for number, colour in enumerate(SERIES)},
}

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "legend.frameon": False,
    "legend.labelcolor": SOFT,
    "text.color": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Curve:
    """One line; points whose ``y`` is no finite number are left out."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int = 0
    dashed: bool = False

    def points(self) -> list[tuple[float, float]]:
        """Return at most some two hundred points, each the mean of its neighbours."""
        found = [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if math.isfinite(y)]
        size = max(1, math.ceil(len(found) / SMOOTHED_FROM))
        groups = [np.array(found[k : k + size]) for k in range(0, len(found), size)]
        return [(float(x), float(y)) for x, y in (group.mean(axis=0) for group in groups)]


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that matters on an axis."""

    value: float
    text: str


def curve_plot(
    label: str,
    curves: Sequence[Curve],
    axes: tuple[str, str],
    limit: Limit | None = None,
    legend: bool = True,
) -> Markup | None:
    """Draw curves from x = 0 on; ``None`` where none has a point. ``axes`` are the names of x and y.

    With a limit y begins at 0 too, and the limit is in sight: what is far below it looks so.
    """
    shown = [(curve, points) for curve in curves if (points := curve.points())]
    if not shown:
        return None

    def draw(figure: Any, plot: Any) -> None:
        for curve, points in shown:
            style: dict[str, Any] = {"color": SERIES[curve.series % len(SERIES)]}
            style |= {"linestyle": "--"} if curve.dashed else {}
            style |= {"marker": "o", "markersize": 4} if len(points) < 3 else {}
            plot.plot(*zip(*points, strict=True), **style)
        plot.set_xlim(left=0)
        if min(y for _, points in shown for _, y in points) >= 0:
            plot.set_ylim(bottom=max(0.0, plot.get_ylim()[0]))
        plot.set(xlabel=axes[0], ylabel=axes[1])
        plot.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        plot.yaxis.get_major_locator().set_params(nbins=5)
        plot.grid(axis="y")
        if limit is not None:
            plot.set_ylim(0, max(plot.get_ylim()[1], 1.15 * limit.value))
            plot.axhline(limit.value, color=LOOK, linestyle=":")
            _beside(plot, limit.text, (0, limit.value), plot.get_yaxis_transform())
        if legend:
            names = [f"{curve.name} {points[-1][1]:.4g}" for curve, points in shown]
            _legend(figure, plot.get_lines()[: len(shown)], names)

    return _svg(label, 230 + (22 * math.ceil(len(shown) / 2) if legend else 0), draw)


def histogram(
    label: str,
    values: Mapping[str, Sequence[float]],
    axis: str,
    edges: Sequence[float],
    limit: Limit | None = None,
) -> Markup:
    """Draw values in groups, stacked; what lies beyond the last edge counts in the last bin."""
    counts = {
        name: np.histogram(np.clip(group, edges[0], edges[-1]), edges)[0]
        for name, group in values.items()
    }

    def draw(figure: Any, plot: Any) -> None:
        below = np.zeros(len(edges) - 1)
        parts = []
        for (_, heights), colour in zip(counts.items(), (ACCENT, LOOK), strict=False):
            parts.append(
                plot.bar(edges[:-1], heights, np.diff(edges), below, align="edge", color=colour)
            )
            below += heights
        plot.set(xlabel=axis, ylabel="pairs", xlim=(edges[0], edges[-1]))
        plot.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        plot.grid(axis="y")
        if limit is not None and limit.value <= edges[-1]:
            plot.axvline(limit.value, color=INK, linestyle=":")
            _beside(plot, limit.text, (limit.value, 1), plot.get_xaxis_transform())
        _legend(figure, parts, list(counts))

    return _svg(label, 230, draw)


def interval_plot(label: str, groups: Mapping[str, Sequence[tuple[float, float, float]]]) -> Markup:
    """Draw ``(mean, low, high)`` of several series in one band per group; undefined ones are left out."""
    tallest = max(len(rows) for rows in groups.values())
    pitch = tallest + 1.5

    def draw(_: Any, plot: Any) -> None:
        for band, rows in enumerate(groups.values()):
            plot.axhspan(
                band * pitch - 1, band * pitch + tallest, color=RULE, alpha=0.3, linewidth=0
            )
            for series, (mean, low, high) in enumerate(rows):
                if math.isfinite(mean):
                    reach = [[_reach(mean - low)], [_reach(high - mean)]]
                    plot.errorbar(
                        [mean],
                        [band * pitch + series],
                        xerr=reach,
                        fmt="o",
                        markersize=6 if series == 0 else 4.5,
                        color=SERIES[series % len(SERIES)],
                    )
        middles = [band * pitch + (tallest - 1) / 2 for band in range(len(groups))]
        plot.set_yticks(middles, list(groups))
        plot.set_ylim(len(groups) * pitch - 1.5, -1.5)
        plot.tick_params(axis="y", length=0)
        plot.xaxis.get_major_locator().set_params(nbins=5)
        plot.grid(axis="x")

    return _svg(label, 60 + 11 * pitch * len(groups), draw)


def range_plot(label: str, rows: Mapping[str, tuple[float, float, float]], axis: str) -> Markup:
    """Draw median, 90th percentile and maximum of each row as one bar on a logarithmic axis."""
    low = 10 ** math.floor(math.log10(max(1e-3, min(row[0] for row in rows.values()))))

    def draw(_: Any, plot: Any) -> None:
        for place, row in enumerate(rows.values()):
            for value, opacity in zip(row[::-1], (0.25, 0.5, 1.0), strict=True):
                width = max(value, low * 1.02) - low
                plot.barh(place, width, left=low, color=ACCENT, alpha=opacity, height=0.55)
        plot.set_xscale("log")
        plot.set_xlim(left=low)
        plot.set_yticks(range(len(rows)), list(rows))
        plot.invert_yaxis()
        plot.xaxis.set_major_formatter("{x:g}")
        plot.set_xlabel(axis)
        plot.grid(axis="x")

    return _svg(label, 60 + 34 * len(rows), draw)


FARTHEST_UM = 64.0
"""No axis of shifts is longer, unless the limit is."""


def shift_edges(values: Sequence[float], limit: float) -> list[float]:
    """Return the edges of 30 bins from 0 to where 98 % of the values lie, past the limit in any case."""
    reach = max(1.5 * limit, float(np.percentile(values, 98)) if len(values) else 0.0, 1e-3)
    return [float(edge) for edge in np.linspace(0, min(reach, max(FARTHEST_UM, limit)), 31)]


def _svg(label: str, height: float, draw: Callable[[Any, Any], None]) -> Markup:
    """Return one plot as an SVG element with a text for those who do not see it."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Ids within a page must differ from plot to plot, and be the same every time. Warnings are of
    # letters that matplotlib's own font lacks, which the page's has, and of names that are long.
    with rc_context({**_STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        figure.patch.set_visible(False)
        FigureCanvasSVG(figure)
        draw(figure, figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return Markup(_of_the_page(out.getvalue(), label))


def _of_the_page(text: str, label: str) -> str:
    """Return matplotlib's file as an element of a page, with the page's colours and font."""
    inner = text[text.index(">", text.index("<svg")) + 1 :]
    box = re.search(r'viewBox="([^"]*)"', text)
    inner = re.sub(r"<(metadata|style).*?</\1>", "", inner, flags=re.DOTALL)
    inner = re.sub(r'<g id="[^"]*"', "<g", inner)
    inner = re.sub(r" font-family: [^;\"]*;?", "", inner)
    for colour, variable in _VARIABLES.items():
        inner = inner.replace(colour, f"var(--{variable})")
    opening = '<svg class="plot" viewBox="{}" role="img" aria-label="{}">'
    return opening.format(box[1] if box else "", escape(label)) + inner.strip()


def _legend(figure: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Name the lines or bars above the plot, also those whose names begin with an underscore."""
    figure.legend(handles, names, loc="outside upper left", ncols=2, handlelength=1.2, fontsize=11)


def _beside(plot: Any, text: str, at: tuple[float, float], transform: Any) -> None:
    plot.annotate(
        text, at, xycoords=transform, xytext=(5, 4), textcoords="offset points", fontsize=11
    )


def _reach(length: float) -> float:
    return max(length, 0.0) if math.isfinite(length) else 0.0
