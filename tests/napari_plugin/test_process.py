"""The picker as a program: started by the command line, killed, closed, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from napari_plugin.picker.journal import Journal
from registration.synth import SynthCase
from tests.patience import PATIENCE_S

CLICKS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from napari_plugin import kept
from napari_plugin.launch import open_picker
from napari_plugin.picker.request import PairRequest

kept.WAIT_S = 300.0  # a busy disk may take longer than a window waits
he, ihc, landmarks = sys.argv[1:]
viewer, widget = open_picker(PairRequest(Path(he), Path(ihc), landmarks))
canvas = viewer.window._qt_viewer.canvas
QTest.qWaitForWindowExposed(viewer.window._qt_window, 300_000)
same, size = 0, None
while same < 4:  # the window has its final layout
    QTest.qWait(150)
    canvas.screenshot()
    same, size = (same + 1 if viewer.canvas.size == size else 0), viewer.canvas.size
height, width = size
for number, (dx, dy) in enumerate([(-40, -50), (45, -30), (20, 60)]):
    for cell in (1, 3)[: 1 if number == 2 else 2]:
        pixel = QPoint(cell * width // 4 + dx, height // 2 + dy)
        QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, pos=pixel)
    print(len(widget.session.picker.picks.pairs), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

REVIEWS = """
import os
import sys

import napari
from qtpy.QtWidgets import QApplication
from napari_plugin.__main__ import main
from napari_plugin.review.widget import ReviewWidget

def say():
    for widget in QApplication.allWidgets():
        if isinstance(widget, ReviewWidget):
            print(widget.review.headline, flush=True)
    os._exit(0)

napari.run = say
main(["review", sys.argv[1]])
"""

SHOWN_BEFORE_NAPARI_IS_LOADED = """
import os, sys
from napari_plugin import splash

splash.SHOWN_WITHIN_S = 300.0  # a busy display may take longer than a person waits
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "napari_plugin.loading":
            from qtpy.QtWidgets import QApplication, QSplashScreen
            shown = [w for w in QApplication.topLevelWidgets() if isinstance(w, QSplashScreen)]
            print([w.windowHandle().isExposed() for w in shown], "napari" in sys.modules, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
from napari_plugin.__main__ import main
main(["pick", *sys.argv[1:]])
"""


@pytest.mark.gui
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process the POSIX way")
def test_a_killed_window_loses_no_click(pair: SynthCase, tmp_path: Path) -> None:
    landmarks = tmp_path / "pairs.csv"

    done = subprocess.run(
        [sys.executable, "-c", CLICKS_AND_DIES, str(pair.he), str(pair.ihc), str(landmarks)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    picks = Journal(landmarks).restore().picks

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.split() == ["1", "2", "3"]
    assert [pair.name for pair in picks.pairs if pair.is_whole] == ["1", "2"]
    assert picks.half is not None


@pytest.mark.gui
@pytest.mark.slow
def test_a_missing_slide_ends_with_2_and_a_message(pair: SynthCase, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "napari_plugin", "pick", str(pair.he), str(tmp_path / "no.ndpi")],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 2
    assert "slide not found" in done.stderr


def test_without_a_display_the_command_says_so() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have a display")
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {key: value for key, value in os.environ.items() if key not in shown}

    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.app import main; main()", "pick", "a", "b"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )

    assert done.returncode == 2
    assert "no display" in done.stderr


@pytest.mark.gui
@pytest.mark.slow
def test_a_review_shows_the_run_that_it_is_given(run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REVIEWS, str(run)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "review: block 1-2 fell back"


@pytest.mark.gui
@pytest.mark.slow
def test_a_missing_run_ends_with_2_and_a_message(tmp_path: Path) -> None:
    review = [sys.executable, "-c", "from pipeline.cli.app import main; main()", "review"]
    done = subprocess.run(
        [*review, str(tmp_path / "nowhere")],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 2
    assert "nowhere" in done.stderr


@pytest.mark.gui
def test_something_is_on_the_screen_before_napari_is_loaded() -> None:
    words = [sys.executable, "-c", SHOWN_BEFORE_NAPARI_IS_LOADED, "slides/he.ndpi", "ihc.ndpi"]
    said = subprocess.run(
        words, check=True, capture_output=True, text=True, timeout=PATIENCE_S
    ).stdout
    assert said.split() == ["[True]", "False"]
