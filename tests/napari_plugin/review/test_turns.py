"""A review comes and goes layer by layer, so that the window answers meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gui


def test_each_layer_has_a_turn_of_its_own(make_napari_viewer: Any, qtbot: Any, run: Path) -> None:
    from napari_plugin.review.widget import ReviewWidget

    viewer = make_napari_viewer()
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review")

    review.open(run)
    assert [layer.name for layer in viewer.layers] == ["H&E over IHC"]
    qtbot.waitUntil(lambda: review.is_settled, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["H&E over IHC", "blocks"]
    assert review.flags.count() == 1
    assert [layer.get_status((0, 0)) for layer in viewer.layers] == ["", ""]

    review.open(run)  # the one before is hidden at once, and removed in its turn
    assert [layer.name for layer in viewer.layers if layer.visible] == ["H&E over IHC"]
    review.close_review()
    assert not any(layer.visible for layer in viewer.layers)
    qtbot.waitUntil(lambda: review.is_settled, timeout=60_000)
    assert len(viewer.layers) == 0
