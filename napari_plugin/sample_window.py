"""The sample slides in a window: drawn on a thread on first use, and added when they are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from napari import current_viewer
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_plugin.sample import sample_case, sample_pair, sample_slides

POLL_MS = 200


def open_sample() -> list[Any]:
    """Return the sample slides, or nothing where the window adds them once they are drawn."""
    viewer = current_viewer()
    if viewer is None or sample_case().is_complete():
        return sample_pair()
    show_info("The sample slides are drawn, once: they will appear in about half a minute.")
    made = ThreadPoolExecutor(1, "sample slides").submit(sample_slides)
    timer = QTimer(viewer.window._qt_window)

    def add() -> None:
        if made.done():
            timer.stop()
            made.result()
            for data, options, kind in sample_pair():
                getattr(viewer, f"add_{kind}")(data, **options)

    timer.timeout.connect(add)
    timer.start(POLL_MS)
    return []
