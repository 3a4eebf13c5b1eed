"""How quick the landmark picker is: ``.ci/with-display python -m benchmarks.napari_picker``.

Opens a synthetic pair in a real napari window, in a new process each time, and measures with the
clock: ``[--size 20480] [--repeats 3] [--work FOLDER] [--json FILE]``. The pair is made once per
``--work`` folder. A frame is timed with reading it back from the canvas, which on Xvfb is software
rendering: an upper bound for a screen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.slides import drawn_case
from registration.files.storage import write_json
from registration.synth import SynthCase, SynthSettings

PLACES = 8
"""Places that are zoomed in to, each for the first time."""
PAN_FRAMES, PAN_PX = 120, 24
WANDER = 150
"""Further places seen at level 0, to see whether memory stays bounded."""
WINDOW = (1500, 900)
ROWS = {
    "import_s": "import napari and the plugin (s)",
    "import_pandas_s": "import pandas, as napari does later (s)",
    "window_s": "empty napari window (s)",
    "open_s": "open the pair in it (s)",
    "first_pixels_s": "from the request to both slides on screen (s)",
    "level0_median_s": "zoom in until level 0 is on screen, median (s)",
    "level0_worst_s": "zoom in until level 0 is on screen, worst (s)",
    "pan_median_ms": "frame while panning at level 0, median (ms)",
    "pan_p95_ms": "frame while panning at level 0, 95 % (ms)",
    "memory_window_mib": "memory with an empty window (MiB)",
    "memory_open_mib": "memory with both slides (MiB)",
    "memory_half_mib": f"memory after {WANDER // 2} places at level 0 (MiB)",
    "memory_end_mib": f"memory after {WANDER} places at level 0 (MiB)",
}


def measure(he: Path, ihc: Path) -> dict[str, float]:
    """Return the figures of one window; called in a process of its own."""
    begin = time.perf_counter()
    from napari import Viewer

    from napari_plugin.picker.request import PairRequest
    from napari_plugin.picker.widget import PickerWidget

    found = {"import_s": time.perf_counter() - begin}
    begin = time.perf_counter()
    import pandas  # noqa: F401 - napari itself does so with its first points layer

    found["import_pandas_s"] = time.perf_counter() - begin
    begin = time.perf_counter()
    viewer = Viewer(show=True)
    viewer.window.resize(*WINDOW)
    draw(viewer)
    found["window_s"] = time.perf_counter() - begin
    found["memory_window_mib"] = memory_mib()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        widget = PickerWidget(viewer, PairRequest(he, ihc, str(Path(folder) / "pairs.csv")))
        viewer.window.add_dock_widget(widget, name="Landmark picker", area="right")
        found["open_s"] = time.perf_counter() - begin
        draw(viewer)
        found["first_pixels_s"] = time.perf_counter() - begin
        found["memory_open_mib"] = memory_mib()
        for _ in range(5):
            draw(viewer)
        images = widget.session.canvas.images.values()
        found |= zooming(viewer, images) | panning(viewer) | wandering(viewer, images)
        viewer.close()
    return found


def draw(viewer: Any) -> None:
    """Let the window work and draw one frame to the end."""
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    viewer.window._qt_viewer.canvas.screenshot()


def memory_mib() -> float:
    """Return the resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


def places(reach_um: float, count: int) -> Iterator[tuple[float, float, float]]:
    """Yield camera centres that fill a square around the middle of the slides."""
    for index in range(count):  # Halton's sequence: spread, and never twice the same
        x, y = (van_der_corput(index + 1, base) - 0.5 for base in (2, 3))
        yield 0.0, 2 * reach_um * y, 2 * reach_um * x


def van_der_corput(index: int, base: int) -> float:
    """Return an element of van der Corput's sequence, in 0 to 1."""
    value, share = 0.0, 1.0
    while index:
        share /= base
        index, digit = divmod(index, base)
        value += digit * share
    return value


def reach_um(images: Any) -> float:
    """Return half the side of a square that lies on both slides."""
    sides = [min(image.data[0].shape[:2]) * image.affine.affine_matrix[0, 0] for image in images]
    return float(min(sides)) * 0.35


def zooming(viewer: Any, images: Any) -> dict[str, float]:
    """Zoom in from the whole slide to level 0 at places not seen before."""
    camera, taken = viewer.scene.camera, []
    for center in places(reach_um(images), PLACES):
        viewer.fit_to_view()
        draw(viewer)
        begin = time.perf_counter()
        camera.center, camera.zoom = center, close_up(images)
        draw(viewer)
        while any(image.data_level for image in images):
            draw(viewer)
        draw(viewer)
        taken.append(time.perf_counter() - begin)
    return {"level0_median_s": statistics.median(taken), "level0_worst_s": max(taken)}


def close_up(images: Any) -> float:
    """Return the zoom (screen pixels per µm) at which a level-0 pixel is a screen pixel."""
    return max(1 / float(image.affine.affine_matrix[0, 0]) for image in images)


def panning(viewer: Any) -> dict[str, float]:
    """Move both views frame by frame."""
    camera, taken = viewer.scene.camera, []
    step = PAN_PX / camera.zoom
    for _ in range(PAN_FRAMES):
        begin = time.perf_counter()
        depth, row, column = camera.center
        camera.center = depth, row + step / 3, column + step
        draw(viewer)
        taken.append(1000 * (time.perf_counter() - begin))
    taken.sort()
    return {"pan_median_ms": statistics.median(taken), "pan_p95_ms": taken[int(0.95 * len(taken))]}


def wandering(viewer: Any, images: Any) -> dict[str, float]:
    """Look at many places at level 0."""
    found = {}
    for index, center in enumerate(places(reach_um(images), WANDER), start=1):
        viewer.scene.camera.center = center
        draw(viewer)
        if index == WANDER // 2:
            found["memory_half_mib"] = memory_mib()
    return found | {"memory_end_mib": memory_mib()}


def repeated(case: SynthCase, repeats: int) -> list[dict[str, float]]:
    """Measure in new processes."""
    words = [
        sys.executable,
        "-m",
        "benchmarks.napari_picker",
        "--pair",
        str(case.he),
        str(case.ihc),
    ]
    environment = {**os.environ, "NAPARI_CONFIG": ""}
    runs = []
    for _ in range(repeats):
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def main() -> None:
    """Measure and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20480)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="kept between calls; default: a temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pair", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pair:
        print(json.dumps(measure(*options.pair)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)) / f"pair_{options.size}"
        settings = SynthSettings(size=options.size, seed=1)
        runs = repeated(drawn_case(folder, settings, name="pair"), options.repeats)
    table = {name: statistics.median(run[name] for run in runs) for name in ROWS}
    print(f"pair of {options.size} px slides, median of {options.repeats} windows")
    for name, text in ROWS.items():
        print(f"{text:55s}{table[name]:10.{0 if name.endswith(('mib', 'ms')) else 2}f}")
    if options.json:
        write_json(options.json, {"size_px": options.size, "median": table, "runs": runs})


if __name__ == "__main__":
    main()
