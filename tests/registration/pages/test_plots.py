"""Plots: what they show, that equal values give equal bytes, and that names are only text."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from registration.pages.plots import (
    Curve,
    Limit,
    curve_plot,
    histogram,
    interval_plot,
    range_plot,
    shift_edges,
)

LINKS = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


def texts(svg: str) -> list[str]:
    """The words of a plot; raises where it is no well-formed XML."""
    root = ET.fromstring(str(svg).replace("<svg ", f"<svg {LINKS} ", 1))
    return ["".join(part.itertext()) for part in root.iter("text")]


def every_plot() -> list[str]:
    line = Curve("loss", [1, 2, 3], [3.0, math.nan, 1.0])
    drawn = curve_plot("curves", [line], ("step", "value"), Limit(2.0, "limit"))
    assert drawn is not None
    return [
        drawn,
        histogram("bars", {"kept": [1, 2, 80]}, "µm", shift_edges([1, 2, 80], 10), Limit(10, "l")),
        interval_plot("means", {"all": [(1, 0, 2), (math.nan, 0, 0)], "3+": [(2, math.nan, 3)]}),
        range_plot("errors", {"before": (90, 200, 400), "after": (0.2, 0.5, 0.0)}, "µm"),
    ]


def test_equal_values_give_equal_bytes_without_a_date() -> None:
    first, second = every_plot(), every_plot()

    assert first == second
    assert not any(re.search(r"20\d\d-|<metadata|<style|font-family|https?:", svg) for svg in first)


def test_colours_are_those_of_the_page() -> None:
    for svg in every_plot():
        assert "var(--" in svg
        assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#\w+', "", svg))


def test_ids_of_two_plots_of_one_page_differ() -> None:
    ids = [re.findall(r' id="([^"]*)"', svg) for svg in every_plot()]

    flat = [name for names in ids for name in names]
    assert len(flat) == len(set(flat))


@pytest.mark.parametrize("name", ["_hidden", "$x^2$", "<b>&", 'a"b', "$", "ß µ 細胞"])
def test_names_are_text_and_nothing_else(name: str) -> None:
    svg = curve_plot(name, [Curve(name, [0, 1], [1, 2])], (name, name), Limit(1.5, name))

    assert svg is not None
    found = texts(svg)
    assert f"{name} 2" in found
    assert found.count(name) == 3


def test_long_curves_are_means_of_neighbours() -> None:
    xs = np.arange(1000.0)

    points = Curve("a", xs.tolist(), (2 * xs).tolist()).points()

    assert len(points) == 200
    assert points[0] == (2.0, 4.0)
    assert all(y == pytest.approx(2 * x) for x, y in points)
    assert curve_plot("t", [Curve("a", [1], [math.nan])], ("x", "y")) is None


def test_one_point_is_drawn_on_axes_without_negative_numbers() -> None:
    svg = curve_plot("rate", [Curve("lr", [4], [0.0])], ("epoch", ""))

    assert svg is not None
    numbers = [text for text in texts(svg) if re.fullmatch(r"[−\d.]+", text)]
    assert "4" in numbers
    assert not any(text.startswith("−") or text == "3.6" for text in numbers)


def test_histograms_reach_past_the_limit_and_not_far_past_the_values() -> None:
    assert shift_edges([0.5] * 100, 10.0)[-1] == 15.0
    assert shift_edges([30.0] * 100, 10.0)[-1] == 30.0
    assert shift_edges([500.0] * 100, 10.0)[-1] == 64.0
    assert shift_edges([], 10.0)[-1] == 15.0
    assert shift_edges([1.0], 0.0)[-1] == 1.0
