"""How soon the picker's window shows something, and for how long it ever does not answer.

``.ci/with-display python -m benchmarks.napari_responds [--size 20480] [--work FOLDER] [--json FILE]``
starts ``bci-pipeline pick`` as a person does and looks at the screen: until anything is on it, until
both slides are on the opening screen, and until they are in the window. Then it opens the sample
slides, a review of a drawn pair, closes it, and tells for how long the window was not able to answer
meanwhile, and how much of that its thread computed: on a busy machine the rest is waiting for others.
First napari adds a picture and outlines with names by itself, with none of our code: that is when a
display driver translates napari's shaders, once per machine where it keeps them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageGrab

from benchmarks.napari_screenshots import prepared
from benchmarks.slides import drawn_case
from registration.files.storage import write_json
from registration.synth import SynthCase, SynthSettings

LOOK_EVERY_S = 0.1
GIVE_UP_S = 120.0
STAINED, STAINED_SHARE = 8, 0.05
"""A pixel whose colours differ by so much is tissue; so much of a half shows that its slide is there."""
EVERY_PX = 4
"""So sparsely the screen is looked at: looking must not slow down what it waits for."""
WINDOW = (slice(100, 800), (slice(60, 400), slice(560, 960)))
OPENING = (slice(380, 630), (slice(470, 770), slice(830, 1130)))
"""Rows and columns of the screen, of 1600 x 1000, in the middle of the H&E and of the IHC slide."""
ROWS = {
    "something_s": "bci-pipeline pick: something on the screen (s)",
    "opening_s": "bci-pipeline pick: both slides on the opening screen (s)",
    "both_slides_s": "bci-pipeline pick: both slides in the window (s)",
    "napari_picture_s": "longest freeze while napari alone shows its first picture (s)",
    "napari_outlines_s": "longest freeze while napari alone shows its first outlines (s)",
    "sample_s": "longest freeze while the sample slides are drawn and opened (s)",
    "open_review_s": "longest freeze while a review opens (s)",
    "swipe_s": "longest freeze while the look changes (s)",
    "close_review_s": "longest freeze while it closes (s)",
    "open_again_s": "longest freeze while it opens again, napari's own parts loaded (s)",
}


def starting(case: SynthCase) -> dict[str, float]:
    """Start the command and look at the screen."""
    from qtpy.QtWidgets import QApplication

    _staying = QApplication([])  # a virtual display starts anew when its last client leaves
    words = [sys.executable, "-m", "pipeline.cli", "pick", str(case.he), str(case.ihc)]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        started = subprocess.Popen([*words, "--landmarks", str(Path(folder) / "pairs.csv")])
        try:
            something = _seconds_until(lambda screen: bool(screen.max() > 0), begun)
            opening = _seconds_until(lambda screen: _slides_in(OPENING, screen), begun)
            both = _seconds_until(lambda screen: _slides_in(WINDOW, screen), begun)
        finally:
            started.terminate()
            started.wait()
    return {"something_s": something, "opening_s": opening, "both_slides_s": both}


def _seconds_until(is_so: Callable[[np.ndarray], bool], begun: float) -> float:
    while time.perf_counter() - begun < GIVE_UP_S:
        if is_so(_screen()):
            return time.perf_counter() - begun
        time.sleep(LOOK_EVERY_S)
    raise SystemExit("the window did not come")


def _slides_in(place: tuple[slice, tuple[slice, slice]], screen: np.ndarray) -> bool:
    rows, cells = place
    looked_at = [screen[rows, columns][::EVERY_PX, ::EVERY_PX].astype(int) for columns in cells]
    return all((np.ptp(one, axis=2) > STAINED).mean() > STAINED_SHARE for one in looked_at)


def _screen() -> np.ndarray:
    """Return what is on the screen, ``(h, w, 3)``."""
    return np.asarray(ImageGrab.grab(xdisplay=os.environ["DISPLAY"]))[..., :3]


class Heartbeat:
    """Notes the longest time in which the window's own loop did not get its turn.

    With it goes how much of that time the window's thread computed.
    """

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self._timer = QTimer()
        self._timer.setInterval(10)
        self._timer.timeout.connect(self._beat)
        self._last = self._now()
        self.longest = (0.0, 0.0)
        self._timer.start()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()

    def _beat(self) -> None:
        now, last = self._now(), self._last
        self.longest = max(self.longest, (now[0] - last[0], now[1] - last[1]))
        self._last = now

    def during(self, act: Callable[[], object], ready: Callable[[], bool]) -> tuple[float, float]:
        """Return the longest freeze while something is done and until it is ready, and a second more."""
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QApplication

        self.longest, self._last = (0.0, 0.0), self._now()
        QTimer.singleShot(0, act)
        QApplication.processEvents()
        until = time.perf_counter() + GIVE_UP_S
        while not ready() and time.perf_counter() < until:
            QApplication.processEvents()
            time.sleep(0.002)
        until = time.perf_counter() + 1
        while time.perf_counter() < until:
            QApplication.processEvents()
            time.sleep(0.002)
        return self.longest


def freezing(run: Path, work: Path) -> dict[str, tuple[float, float]]:
    """Do what once froze the window, after napari alone did the like."""
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=work)  # as on the first day
    from napari_plugin.launch import open_review
    from napari_plugin.sample_window import open_sample

    viewer, review = open_review(None)
    heart = Heartbeat()
    heart.during(lambda: None, lambda: True)
    picture, outline = np.zeros((512, 512, 3), np.uint8), [[0, 0], [0, 400], [400, 400], [400, 0]]
    named = {"string": "{name}", "size": 10}
    alone = {
        "napari_picture_s": heart.during(lambda: viewer.add_image(picture), lambda: True),
        "napari_outlines_s": heart.during(
            lambda: viewer.add_shapes([outline], features={"name": ["1-1"]}, text=named),
            lambda: True,
        ),
    }
    heart.during(viewer.layers.clear, lambda: True)
    found = alone | {
        "sample_s": heart.during(open_sample, lambda: len(viewer.layers) == 2),
        "open_review_s": heart.during(
            lambda: review.open(run), lambda: review.slides.layer is not None and review.is_settled
        ),
        "swipe_s": heart.during(lambda: review.set_look("swipe", 0.5), lambda: True),
        "close_review_s": heart.during(
            review.close_review, lambda: review.review is None and review.is_settled
        ),
        "open_again_s": heart.during(
            lambda: review.open(run), lambda: review.slides.layer is not None and review.is_settled
        ),
    }
    viewer.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20480)
    parser.add_argument("--work", type=Path, help="kept between calls; default: a temporary folder")
    parser.add_argument("--json", type=Path)
    options: Any = parser.parse_args()
    os.environ.setdefault("NAPARI_CONFIG", "")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        settings = SynthSettings(size=options.size, seed=1)
        case = drawn_case(work / f"pair_{options.size}", settings, name="pair")
        soon, freezes = starting(case), freezing(prepared(work)[1], work)
    for name, text in ROWS.items():
        if name in soon:
            print(f"{text:71s}{soon[name]:6.2f}")
        else:
            longest, computing = freezes[name]
            print(f"{text:71s}{longest:6.2f}, computing {computing:.2f}")
    if options.json:
        write_json(options.json, {"size_px": options.size, **soon, **freezes})


if __name__ == "__main__":
    main()
