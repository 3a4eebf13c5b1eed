"""The sample slides in a window: drawn on a thread on first use, and added when they are there."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari import Viewer, current_viewer
from napari.utils.notifications import show_info

from napari_plugin.levels import read_ahead
from napari_plugin.parts import load_units
from napari_plugin.sample import sample_case, sample_pair
from napari_plugin.turns import Turns, on_thread


def open_sample() -> list[Any]:
    """Return the sample slides, or nothing where the window adds them once they are there."""
    viewer = current_viewer()
    if viewer is None:
        return sample_pair()
    if not sample_case().is_complete():
        show_info("The sample slides are drawn, once: they will appear in about half a minute.")
    made, turns = on_thread(_ready_pair), Turns(viewer.window._qt_window)
    turns.add(load_units, lambda: _add(viewer, turns, made.result()), after=made)
    return []


def _ready_pair() -> list[Any]:
    """Return the sample slides, read as far as they are seen at first."""
    layers = sample_pair()
    for levels, *_ in layers:
        read_ahead(levels)
    return layers


def _add(viewer: Viewer, turns: Turns, layers: list[Any]) -> None:
    """Add layers, each in its turn."""
    for data, options, kind in layers:
        turns.add(partial(getattr(viewer, f"add_{kind}"), data, **options))
