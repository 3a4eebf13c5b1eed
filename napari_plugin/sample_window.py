"""The sample slides in a window: drawn on a thread on first use, and added when they are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from napari import Viewer, current_viewer
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_plugin.levels import read_ahead
from napari_plugin.parts import load_units
from napari_plugin.sample import sample_case, sample_pair
from napari_plugin.turns import Turns

POLL_MS = 200


def open_sample() -> list[Any]:
    """Return the sample slides, or nothing where the window adds them once they are there."""
    viewer = current_viewer()
    if viewer is None:
        return sample_pair()
    if not sample_case().is_complete():
        show_info("The sample slides are drawn, once: they will appear in about half a minute.")
    window = viewer.window._qt_window
    made = ThreadPoolExecutor(1, "sample slides").submit(_ready_pair)
    timer, turns = QTimer(window), Turns(window)

    def add() -> None:
        if made.done():
            timer.stop()
            turns.add(load_units, *(partial(_add, viewer, *layer) for layer in made.result()))

    timer.timeout.connect(add)
    timer.start(POLL_MS)
    return []


def _ready_pair() -> list[Any]:
    """Return the sample slides, read as far as they are seen at first."""
    layers = sample_pair()
    for levels, *_ in layers:
        read_ahead(levels)
    return layers


def _add(viewer: Viewer, data: Any, options: dict[str, Any], kind: str) -> None:
    getattr(viewer, f"add_{kind}")(data, **options)
