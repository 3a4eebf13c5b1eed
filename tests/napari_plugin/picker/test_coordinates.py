"""Coordinates are level-0 pixels of the slide, whatever the zoom, rotation and flip of its view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_plugin.picker.canvas import CELL_GAP_PX
from registration.synth import SynthCase

pytestmark = pytest.mark.gui

HE_MARK, IHC_MARK = (817.0, 233.0), (402.0, 611.0)
RED, GREEN = (255, 0, 0), (0, 255, 0)
HALF = 6
"""Marks are squares of 13 px, so that their centre is a pixel."""


@pytest.fixture
def marked(tmp_path: Path) -> tuple[Path, Path]:
    """Two grey slides of different sizes, each with one coloured square."""
    paths = []
    for name, (width, height), (x, y), color in (
        ("he", (1500, 1000), HE_MARK, RED),
        ("ihc", (1100, 1300), IHC_MARK, GREEN),
    ):
        noise = np.random.default_rng(1).integers(110, 140, (height, width, 1), np.uint8)
        image = np.repeat(noise, 3, axis=2)
        column, row = int(x), int(y)
        image[row - HALF : row + HALF + 1, column - HALF : column + HALF + 1] = color
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(image).save(paths[-1])
    return paths[0], paths[1]


def seen(hand: Any, color: tuple[int, int, int]) -> tuple[int, int]:
    """Find the centre of a colour on the screen, in canvas pixels, as a person's eye does."""
    pixels = np.asarray(_rgb(hand.redraw()), int)
    other = [channel for channel in range(3) if not color[channel]]
    strong = pixels[..., color.index(255)] - pixels[..., other].max(axis=2)
    rows, columns = np.nonzero(strong > 90)
    assert len(rows), "the mark is not on the screen"
    weight = strong[rows, columns]
    ratio = hand.canvas.devicePixelRatioF()
    x = float((columns * weight).sum() / weight.sum() / ratio)
    y = float((rows * weight).sum() / weight.sum() / ratio)
    return round(x), round(y)


def _rgb(image: Any) -> np.ndarray:
    """Return the pixels of a QImage."""
    from qtpy.QtGui import QImage

    image = image.convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    if hasattr(bits, "setsize"):
        bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


EDGES = (700, 430, 2280, 1380)
"""First column and row of black, and first after it, on a slide whose sides no level divides."""


@pytest.fixture
def edged(tmp_path: Path) -> tuple[Path, Path]:
    """Two white slides with a black rectangle that reaches almost to the far corner."""
    left, top, right, bottom = EDGES
    image = np.full((1409, 2309, 3), 255, np.uint8)
    image[top:bottom, left:right] = 0
    for name in ("he.png", "ihc.png"):
        Image.fromarray(image).save(tmp_path / name)
        image[0, 0] = 0  # one slide twice is no pair
    return tmp_path / "he.png", tmp_path / "ihc.png"


@pytest.mark.slow
def test_edges_are_drawn_where_they_lie_on_every_level(
    hand: Callable[..., Any], edged: tuple[Path, Path]
) -> None:
    window = hand(*edged, mpp_he=0.5, mpp_ihc=0.5)
    session, camera = window.session, window.viewer.scene.camera
    height, width = window.viewer.canvas.size
    middle_y, middle_x = height / 2, (width - CELL_GAP_PX) / 4
    levels = set()

    for per_screen_px in (0.95, 2.05, 4.1):  # a level's pixel to a pixel of the screen
        for place, edge in enumerate(EDGES):
            point = np.array([1500.0, 1000.0])
            point[place % 2] = edge - 0.5
            x, y = session.views.he([point])[0].tolist()
            camera.center, camera.zoom = (0.0, y, x), 1 / (per_screen_px * 0.5)
            window.redraw()
            white = _rgb(window.redraw())[..., 1] / 255
            levels.add(session.canvas.images["he"].data_level)
            line = white[int(middle_y)] if place % 2 == 0 else white[:, int(middle_x)]
            at = (middle_x, middle_y)[place % 2]
            begin, end = int(at) - 6, int(at) + 6
            dark = float((1 - line[begin:end]).sum())
            drawn = end - dark if place < 2 else begin + dark

            where = f"{per_screen_px} slide pixels per screen pixel, edge {place}"
            assert abs(drawn - at) < 0.15, where
    assert levels == {0, 1, 2}


VIEWS = {
    "upright": lambda session: None,
    "H&E turned, IHC flipped": lambda session: (session.turn("he", 37), session.flip("ihc")),
    "H&E flipped and turned, IHC turned over": lambda session: (
        session.flip("he"),
        session.turn("he", 90),
        session.turn("ihc", -118),
    ),
    "each at its own zoom": lambda session: (
        session.zoom("he", 1.25),
        session.zoom("ihc", 0.8),
        session.turn("ihc", 5),
    ),
}


@pytest.mark.slow
def test_a_click_on_a_mark_is_the_pixel_of_the_mark(
    hand: Callable[..., Any], marked: tuple[Path, Path]
) -> None:
    window = hand(*marked, mpp_he=0.5, mpp_ihc=0.4)
    session = window.session

    for name, change in VIEWS.items():
        session.upright()
        session.views = session.views.brought_together(HE_MARK, IHC_MARK)
        x, y = session.views.he([HE_MARK])[0].tolist()
        session.canvas.look_at((x, y), closer=False)
        change(session)
        for zoom in (2.0, 3.5, 9.0):  # screen pixels per µm: 0.8 and more per pixel of a slide
            window.viewer.scene.camera.zoom = zoom
            window.press(seen(window, RED))
            window.press(seen(window, GREEN))

            pair = window.picks.pairs[-1]
            where = f"{name}, zoom {zoom}"
            # A click falls on whole screen pixels, the larger of which are 1.6 of the slide's.
            allowed = max(1.0, 0.6 / (zoom * 0.4 * 0.8))
            for found, true in ((pair.he, HE_MARK), (pair.ihc, IHC_MARK)):
                assert found is not None, where
                off = np.array(found) - true
                assert np.abs(off).max() <= allowed, where
            session.picker.delete()


@pytest.mark.slow
def test_a_click_is_the_pixel_drawn_under_it_on_every_level(
    hand: Callable[..., Any], pair: SynthCase
) -> None:
    window = hand(pair.he, pair.ihc)
    session, camera = window.session, window.viewer.scene.camera
    height, width = window.viewer.canvas.size
    pixels = {"he": (width // 4 + 5, height // 2 - 4), "ihc": (3 * width // 4 - 6, height // 2 + 7)}
    levels = set()

    for name, change in VIEWS.items():
        session.upright()
        change(session)
        for zoom in (0.06, 0.31, 1.0, 4.3):
            camera.center, camera.zoom = (0.0, 12.0, -31.0), zoom
            window.redraw()
            levels.add(session.canvas.images["he"].data_level)
            drawn = [window.level0(side, pixel) for side, pixel in pixels.items()]
            for pixel in pixels.values():
                window.press(pixel)

            found = window.picks.pairs[-1]
            np.testing.assert_allclose(
                [found.he, found.ihc], drawn, atol=0.05, err_msg=f"{name}, zoom {zoom}"
            )
            session.picker.delete()
    assert levels == {0, 1}
