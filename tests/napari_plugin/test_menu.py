"""The plugin as napari's own menu opens it."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtWidgets import QMenu

from napari_plugin.picker.widget import PickerWidget
from napari_plugin.review.widget import ReviewWidget


def entries(menu: QMenu) -> dict[str, Any]:
    """Return the actions of a menu and of all below it, by their text without mnemonics."""
    menu.aboutToShow.emit()
    found = {}
    for action in menu.actions():
        below = action.menu()
        found |= entries(below) if below is not None else {}
        found[action.text().replace("&", "")] = action
    return found


@pytest.mark.parametrize(
    ("entry", "kind"), [("Landmark picker", PickerWidget), ("Registration review", ReviewWidget)]
)
def test_a_menu_entry_opens_its_widget(
    make_napari_viewer: Any, entry: str, kind: type[PickerWidget | ReviewWidget]
) -> None:
    viewer = make_napari_viewer()
    actions = entries(viewer.window.plugins_menu)
    chosen = next(action for text, action in actions.items() if text.startswith(entry))

    chosen.trigger()

    opened = [dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, kind)]
    assert len(opened) == 1
