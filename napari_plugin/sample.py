"""Sample data: a synthetic pair of slides, made once and kept."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from napari import current_viewer
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_plugin.reader import slide_layer
from registration.geometry import Size
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings, write_case

SETTINGS = SynthSettings(size=Size(3072, 2304), seed=11, her2="2+", rotation_deg=14.0)
NAME = "sample"
POLL_MS = 200


def sample_pair() -> list[Any]:
    """Return an H&E and an IHC slide of consecutive synthetic sections.

    In a window they are drawn on a thread on first use, and added when they are there.
    """
    viewer = current_viewer()
    if viewer is None or _case().is_complete():
        return _layers()
    show_info("The sample slides are drawn, once: they will appear in about half a minute.")
    made = ThreadPoolExecutor(1, "sample slides").submit(sample_slides)
    timer = QTimer(viewer.window._qt_window)

    def add_when_there() -> None:
        if made.done():
            timer.stop()
            made.result()
            for data, options, kind in _layers():
                getattr(viewer, f"add_{kind}")(data, **options)

    timer.timeout.connect(add_when_there)
    timer.start(POLL_MS)
    return []


def _layers() -> list[Any]:
    he, ihc = sample_slides()
    return [slide_layer(open_slide(he), "sample H&E"), slide_layer(open_slide(ihc), "sample IHC")]


def _case() -> SynthCase:
    return SynthCase(NAME, SETTINGS, cache_folder() / "sample")


def sample_slides() -> tuple[Path, Path]:
    """Return the two NDPI files, written on first use (a few seconds)."""
    case = _case()
    if not case.is_complete():
        write_case(case.folder, SETTINGS, name=NAME)
    return case.he, case.ihc


def cache_folder() -> Path:
    """Return where this user's programs keep what they can make again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "bci-pipeline"
