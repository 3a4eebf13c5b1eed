"""The plugin as napari's own menu opens it."""

from __future__ import annotations

from typing import Any

import pytest

from napari_plugin.picker.widget import PickerWidget
from napari_plugin.review.widget import ReviewWidget
from tests.napari_plugin.conftest import open_from_menu


@pytest.mark.parametrize(
    ("entry", "kind"), [("Landmark picker", PickerWidget), ("Registration review", ReviewWidget)]
)
def test_a_menu_entry_opens_its_widget(
    make_napari_viewer: Any, entry: str, kind: type[PickerWidget | ReviewWidget]
) -> None:
    viewer = make_napari_viewer()
    assert isinstance(open_from_menu(viewer, entry), kind)
