"""What takes long to import, by when it is needed: to be imported on a thread, so that nobody waits."""

from __future__ import annotations

from importlib import import_module
from threading import Thread

FIRST = ("napari.viewer", "napari.layers", "pandas", "napari_plugin.launch", "napari.window")
"""What every window needs; it makes nothing of Qt when it is imported."""
LATER = ("scipy.optimize", "scipy.interpolate", "napari_plugin.review.widget")
"""What nobody needs before the fourth pair, the bent preview and the first review."""


def load_first() -> None:
    """Import what a window needs, while no other thread makes layers."""
    for name in FIRST:
        import_module(name)
    load_units()


def load_later() -> None:
    """Import what will be needed when somebody has worked for a while."""
    for name in LATER:
        import_module(name)


def load_units() -> None:
    """Let pint read its table of units, which every layer needs; two threads must not do that at once."""
    import_module("pint").get_application_registry().parse_units("um")


def load_tables_soon() -> None:
    """Begin to import what layers of points and shapes need, on a thread."""
    Thread(target=import_module, args=("pandas",), daemon=True).start()
