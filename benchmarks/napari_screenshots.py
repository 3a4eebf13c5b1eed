"""Pictures of the napari plugin: ``.ci/with-display python -m benchmarks.napari_screenshots``.

Makes a synthetic pair, registers it and cuts patches by the real commands (once, in ``--work``), then
takes the pictures of docs/napari.md from real windows: ``[--out docs/images] [--work FOLDER]``.
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
from PIL import Image

from benchmarks.slides import drawn_case
from registration.geometry import Size
from registration.landmarks.landmarks import Landmarks, read_landmarks, write_landmarks
from registration.synth import SynthCase, SynthSettings

SETTINGS = SynthSettings(size=Size(4096, 3584), seed=29, her2="3+", rotation_deg=16.0)
COMMAND = "import sys; from pipeline.cli.app import main; sys.exit(main())"
PICKS = 6
WRONG, WRONG_BY_PX = 4, (150.0, -110.0)
"""One of the six is clicked on a wrong cell, so that a picture shows what the picker says to it."""
PATCH_PX = 512
WINDOW = (1600, 950)
QUALITY = 86


def prepared(work: Path) -> tuple[SynthCase, Path]:
    """Return a synthetic pair and its registration with patches beside it, made on first use."""
    case = drawn_case(work / "pair", SETTINGS, name="case")
    run = work / "registered"
    if not (run / "registration.json").is_file():
        write_landmarks(work / "six.csv", six_pairs(case, wrong=False))
        words = ["register", str(case.he), str(case.ihc), "--landmarks", str(work / "six.csv")]
        command([*words, "--out", str(run), "--overwrite"])
    if not (work / "dataset" / "patches.csv").is_file():
        command(
            ["patch", str(run), "--out", str(work / "dataset"), "--size", str(PATCH_PX)], (0, 1)
        )
    return case, run


def command(words: list[str], allowed: tuple[int, ...] = (0,)) -> None:
    """Run ``bci-pipeline``."""
    code = subprocess.run([sys.executable, "-c", COMMAND, *words], check=False).returncode
    if code not in allowed:
        raise SystemExit(f"bci-pipeline {' '.join(words)} ended with {code}")


def six_pairs(case: SynthCase, *, wrong: bool) -> Landmarks:
    """Return six pairs spread over the tissue, clicked about as well as a person does."""
    exact = read_landmarks(case.truth)
    chosen = [0]
    while len(chosen) < PICKS:
        apart = np.linalg.norm(exact.he[:, None] - exact.he[chosen], axis=2).min(axis=1)
        chosen.append(int(np.argmax(apart)))
    noise = np.random.default_rng(7).normal(0, 3, (2, PICKS, 2))
    he, ihc = exact.he[chosen] + noise[0], exact.ihc[chosen] + noise[1]
    if wrong:
        ihc[WRONG] += WRONG_BY_PX
    return Landmarks.of(he, ihc)


def settle(viewer: Any, seconds: float = 1.0) -> None:
    """Let the window finish its layout and loading."""
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)
    for _ in range(2):  # a frame can be the one that asks for another level
        canvas.screenshot()
        QApplication.processEvents()


def picker_pictures(case: SynthCase, save: Callable[[Any, str], None]) -> None:
    """Take the pictures of the landmark picker."""
    from napari_plugin.launch import open_picker
    from napari_plugin.picker.request import PairRequest

    for left in (*Path().glob("picked.csv*"), *Path().glob(".picked.*")):
        left.unlink()
    viewer, widget = open_picker(PairRequest(case.he, case.ihc, "picked.csv"))
    viewer.window.resize(*WINDOW)
    settle(viewer)
    save(viewer, "empty")
    session = widget.session
    picks = six_pairs(case, wrong=True)
    for he, ihc in zip(picks.he.tolist(), picks.ihc.tolist(), strict=True):
        session.picker.click("he", tuple(he))
        session.picker.click("ihc", tuple(ihc))
    settle(viewer)
    save(viewer, "pairs")
    name = picks.names[WRONG]
    session.picker.move(name, "ihc", tuple((picks.ihc[WRONG] - WRONG_BY_PX).tolist()))
    session.go_to(name)
    viewer.scene.camera.zoom = 0.9
    session.preview.set_look("checkerboard")
    settle(viewer)
    session.preview.set_look()
    settle(viewer)
    save(viewer, "preview")
    session.preview.set_look("off")
    session.canvas.fit()
    widget.panel.run.out.set("registered/case")
    widget.panel.tabs.setCurrentIndex(1)
    settle(viewer)
    save(viewer, "register")
    viewer.close()


def review_picture(run: Path, dataset: Path, save: Callable[[Any, str], None]) -> None:
    """Take the picture of the review."""
    from napari_plugin.launch import open_review

    viewer, review = open_review(run)
    viewer.window.resize(*WINDOW)
    review.dataset.set(dataset)
    review.open_patches(dataset)
    settle(viewer)
    review.set_look("swipe", 0.5)
    settle(viewer)
    save(viewer, "review")
    viewer.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--work", type=Path, help="kept between calls; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out, work = options.out.resolve(), options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)  # pictures show short paths, of nobody's machine
        case, run = prepared(Path())

        def save(viewer: Any, name: str) -> None:
            out.mkdir(parents=True, exist_ok=True)
            path = out / f"napari-{name}.jpg"
            shot = viewer.screenshot(canvas_only=False, flash=False)
            Image.fromarray(shot[..., :3]).save(path, quality=QUALITY, optimize=True)
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB")

        picker_pictures(case, save)
        review_picture(run, Path("dataset"), save)


if __name__ == "__main__":
    main()
