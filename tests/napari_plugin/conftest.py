"""Fixtures of the plugin's tests: a synthetic pair, and windows only where there is a display."""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registration.figures import Folding, Quality
from registration.geometry import Size
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.recipes import RegistrationSettings
from registration.result import (
    BlockRecord,
    Registration,
    SlideRecord,
    StartRecord,
    write_registration,
)
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings, load_truth, write_case
from registration.transforms import Chain, DisplacementField
from tests.patience import PATIENCE_S

# Tests neither read nor write the napari settings of whoever runs them.
os.environ.setdefault("NAPARI_CONFIG", "")

NO_DISPLAY = (
    "no display: the tests of the napari window did not run. Install Xvfb and use "
    "`.ci/with-display python -m pytest`, as `make test` does"
)
LEAST_TURNS = 5
NO_NAPARI = "napari is not installed: pip install -e '.[napari]'"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that open a window where that cannot work, and say why."""
    missing_display = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    for item in items:
        if item.get_closest_marker("gui") is None:
            continue
        if find_spec("napari") is None:
            item.add_marker(pytest.mark.skip(reason=NO_NAPARI))
        elif missing_display:
            item.add_marker(pytest.mark.skip(reason=NO_DISPLAY))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drive hangs, however busy the machine is."""
    for name in ("WAIT_S", "LAST_WAIT_S"):
        monkeypatch.setattr(f"napari_plugin.kept.{name}", PATIENCE_S)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    """Two genuine NDPI slides, neither square nor of one size, the sections turned by 23 degrees."""
    settings = SynthSettings(size=Size(1280, 1024), seed=5, rotation_deg=23.0, truth_points=200)
    return write_case(tmp_path_factory.mktemp("pair"), settings, name="p1")


@pytest.fixture(scope="session")
def exact(pair: SynthCase) -> Landmarks:
    """Two hundred exact pairs in the tissue of ``pair``."""
    return read_landmarks(pair.truth)


@pytest.fixture
def run(pair: SynthCase, tmp_path: Path) -> Path:
    """A run folder with the exact transform, one block fallen back, and no registered slide."""
    field, projective = load_truth(pair.folder).steps
    assert isinstance(field, DisplacementField)
    with open_slide(pair.he) as he, open_slide(pair.ihc) as ihc:
        records = SlideRecord.of(he), SlideRecord.of(ihc)
        size = ihc.size
    half = size.width // 2
    blocks = (
        BlockRecord("1-1", 0, 0, half, size.height, "registered", "", 0.5),
        BlockRecord("1-2", half, 0, size.width - half, size.height, "fallback", "it folds", 0.4),
    )
    registration = Registration(
        folder=tmp_path / "run",
        key="k",
        he=records[0],
        ihc=records[1],
        moving="he",
        settings=RegistrationSettings(rows=1, columns=2),
        start=StartRecord("landmarks", True, False, (), {}),
        chain=Chain((field, projective)),
        blocks=blocks,
        quality=Quality(Folding(0.9, 0.95, 1.05, 1.1, 0.0), None, None, 0.0, {}),
        verdict="review",
        reasons=("block 1-2 fell back",),
        image=None,
    )
    none = np.zeros((0, 2))
    write_registration(registration, Landmarks.of(none, none))
    return registration.folder


def menu_entries(menu: Any) -> dict[str, Any]:
    """Return the actions of a menu and of all below it, by their text without mnemonics."""
    menu.aboutToShow.emit()
    found = {}
    for action in menu.actions():
        below = action.menu()
        found |= menu_entries(below) if below is not None else {}
        found[action.text().replace("&", "")] = action
    return found


def open_from_menu(viewer: Any, entry: str) -> Any:
    """Choose an entry of napari's plugin menu and return the widget that it opened."""
    actions = menu_entries(viewer.window.plugins_menu)
    before = set(viewer.window.dock_widgets.values())
    next(action for text, action in actions.items() if text.startswith(entry)).trigger()
    [opened] = set(viewer.window.dock_widgets.values()) - before
    return opened


class Hand:
    """A person at the window: real mouse and key events on napari's canvas, nothing else."""

    def __init__(self, viewer: Any, widget: Any) -> None:
        self.viewer = viewer
        self.widget = widget

    @property
    def session(self) -> Any:
        """The open picking session."""
        return self.widget.session

    @property
    def picks(self) -> Any:
        """The pairs."""
        return self.session.picker.picks

    def open_pair(self, he: Path, ihc: Path, landmarks: Path) -> None:
        """Type the slides into the form and press its button; close the open pair first."""
        from qtpy.QtTest import QTest

        if self.session is not None:
            self.push("Close slides")
        form = self.widget.open_panel
        for field, text in ((form.he, he), (form.ihc, ihc), (form.landmarks, landmarks)):
            field.line.clear()
            QTest.keyClicks(field.line, str(text))
        self.push("Open both slides")
        if self.session is not None:
            self.settle()

    def push(self, text: str) -> None:
        """Click a button of the panel with the mouse."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QPushButton

        window = self.viewer.window._qt_window
        buttons = (one for one in window.findChildren(QPushButton) if one.isVisible())
        button = next(one for one in buttons if one.text().startswith(text))
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        self.wait()

    def wait(self, seconds: float = 0.05) -> None:
        """Let the window work: so long, and some turns of its loop where each of them takes long."""
        from qtpy.QtWidgets import QApplication

        until, turns = time.monotonic() + seconds, 0
        while time.monotonic() < until or turns < LEAST_TURNS:
            QApplication.processEvents()
            time.sleep(0.005)
            turns += 1

    def settle(self) -> None:
        """Wait until the window is there and has its final layout."""
        from qtpy.QtTest import QTest

        assert QTest.qWaitForWindowExposed(self.viewer.window._qt_window, 1000 * PATIENCE_S)
        size = None
        while size != self.viewer.canvas.size:
            size = self.viewer.canvas.size
            self.wait(0.3)

    def redraw(self) -> Any:
        """Draw the canvas until it is up to date, and return it as a QImage."""
        canvas = self.viewer.window._qt_viewer.canvas
        canvas.screenshot()  # a frame drawn now can be the one that asks for another level ...
        self.wait(0.05)
        return canvas.screenshot()  # ... which this one shows

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Let the window work until something is so."""
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until, "waited in vain"
            self.wait(0.03)

    def on_canvas(self, side: str, xy: tuple[float, float]) -> tuple[int, int]:
        """Return the canvas pixel at which napari draws a level-0 pixel of a slide.

        Asked of vispy's scene: from the texture that is on screen, through all its transforms.
        """
        x, y = self._to_canvas(side).map([*self._texture(side, xy), 0, 1])[:2]
        return math.floor(x), math.floor(y)

    def level0(self, side: str, pixel: tuple[int, int]) -> tuple[float, float]:
        """Return the level-0 place that is drawn at the middle of a canvas pixel."""
        x, y = self._to_canvas(side).imap([pixel[0] + 0.5, pixel[1] + 0.5, 0, 1])[:2]
        layer = self.session.canvas.images[side]
        downsample = layer.data[layer.data_level].downsample
        top, left = layer.corner_pixels[0]
        return (x + left) * downsample - 0.5, (y + top) * downsample - 0.5

    def press(self, pixel: tuple[int, int]) -> None:
        """Move the mouse to a canvas pixel, as people do, and click there."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        self._move(QPoint(*pixel), Qt.MouseButton.NoButton)
        self.wait()  # napari moves a corner that is being drawn along, if not at once
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=QPoint(*pixel))
        self.wait()

    def click(self, side: str, xy: tuple[float, float]) -> tuple[float, float]:
        """Click where a level-0 pixel is drawn; return the level-0 pixel truly clicked."""
        pixel = self.on_canvas(side, xy)
        clicked = self.level0(side, pixel)
        self.press(pixel)
        return clicked

    def outline(self, corners: Sequence[tuple[float, float]]) -> None:
        """Begin to outline a region of the H&E slide around (300, 280), and stop before the end."""
        self.session.show_place((300.0, 280.0))
        self.wait(0.2)
        self.push("Draw on H&&E")
        for corner in corners:
            self.press(self.on_canvas("he", corner))

    def drag(self, begin: tuple[int, int], end: tuple[int, int]) -> None:
        """Press, move in steps, release."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        button = Qt.MouseButton.LeftButton
        QTest.mousePress(self.canvas, button, pos=QPoint(*begin))
        for share in (0.25, 0.5, 0.75, 1.0):
            x, y = (round(a + share * (b - a)) for a, b in zip(begin, end, strict=True))
            self._move(QPoint(x, y), button)
            self.wait(0.02)
        QTest.mouseRelease(self.canvas, button, pos=QPoint(*end))
        self.wait()

    def key(self, name: str, *, ctrl: bool = False, shift: bool = False) -> None:
        """Press a key on the canvas."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        modifiers = Qt.KeyboardModifier.NoModifier
        if ctrl:
            modifiers |= Qt.KeyboardModifier.ControlModifier
        if shift:
            modifiers |= Qt.KeyboardModifier.ShiftModifier
        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{name}"), modifiers)
        self.wait()

    @property
    def canvas(self) -> Any:
        """The native widget that napari draws on."""
        return self.viewer.window._qt_viewer.canvas.native

    def _move(self, point: Any, button: Any) -> None:
        """Send a move with a button held or none.

        QTest's own moves the display's mouse, which tells another window where that lies on top,
        and leaves a held button out.
        """
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(point),
            QPointF(self.canvas.mapToGlobal(point)),
            Qt.MouseButton.NoButton,
            button,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas, event)

    def _to_canvas(self, side: str) -> Any:
        layer = self.session.canvas.images[side]
        visual = self.viewer.window._qt_viewer.canvas.layer_to_visual[layer]
        return visual.node.get_transform("visual", "canvas")

    def _texture(self, side: str, xy: tuple[float, float]) -> tuple[float, float]:
        """Return a level-0 pixel's place in the texture that is on screen."""
        layer = self.session.canvas.images[side]
        downsample = layer.data[layer.data_level].downsample
        top, left = layer.corner_pixels[0]
        return (xy[0] + 0.5) / downsample - left, (xy[1] + 0.5) / downsample - top


@contextmanager
def plugins_registered_once() -> Iterator[None]:
    """Keep napari from registering actions and plugins again, after its own fixture forgot that it had."""
    from napari._app_model import get_app_model

    with pytest.MonkeyPatch.context() as patch:
        if "bci-pipeline.read" in get_app_model().commands:
            patch.setattr("napari.plugins._initialize_plugins", lambda: None)
            patch.setattr("napari._qt.qt_main_window.init_qactions", lambda: None)
        yield


@pytest.fixture(scope="module")
def desk() -> Iterator[Hand]:
    """One real window for the tests of a module, its picker opened through napari's own menu."""
    from napari import Viewer
    from qtpy.QtWidgets import QApplication

    with plugins_registered_once():
        viewer = Viewer()
    viewer.window.resize(1400, 800)
    made = Hand(viewer, open_from_menu(viewer, "Landmark picker"))
    made.settle()
    yield made
    viewer.close()
    QApplication.processEvents()
    gc.collect()


@pytest.fixture
def hand(make_napari_viewer: Any, tmp_path: Path) -> Iterator[Callable[..., Hand]]:
    """Open a real window with the landmark picker and give a hand to work in it."""
    from qtpy.QtWidgets import QApplication

    viewers = []

    def opened(he: Path, ihc: Path, landmarks: Path | None = None, **request: Any) -> Hand:
        from napari_plugin.picker.request import PairRequest
        from napari_plugin.picker.widget import PickerWidget

        viewer = make_napari_viewer(show=True)
        viewers.append(viewer)
        viewer.window.resize(1400, 800)
        path = landmarks or tmp_path / "pairs.csv"
        widget = PickerWidget(viewer, PairRequest(he, ihc, str(path), **request))
        viewer.window.add_dock_widget(widget, name="Landmark picker", area="right")
        made = Hand(viewer, widget)
        made.settle()
        return made

    yield opened
    while viewers:  # no loop variable: it would keep the last viewer alive
        viewers.pop().close()
    QApplication.processEvents()  # PySide6 lets go of a closed window only then
    gc.collect()
