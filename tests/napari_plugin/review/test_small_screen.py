"""The review on a small screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.gui, pytest.mark.slow]

LONG = "an area with 33.5 % (limit 20 %) of the tissue has no match that most agree on; " * 4


def test_nothing_is_pressed_together_on_a_small_screen(
    make_napari_viewer: Any, run: Path, qtbot: Any
) -> None:
    from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QScrollArea

    from napari_plugin.review.widget import ReviewWidget

    viewer = make_napari_viewer(show=True)
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review", area="right")
    review.open(run)
    review._turns.finish()
    review.verdict.setText(LONG)
    viewer.window.resize(1272, 764)
    qtbot.waitUntil(lambda: viewer.window._qt_window.height() <= 764)
    qtbot.wait(200)

    [area] = [one for one in review.children() if isinstance(one, QScrollArea)]
    assert area.horizontalScrollBar().maximum() == 0
    for kind in (QCheckBox, QPushButton, QLabel):
        for one in review.findChildren(kind):
            if one.isVisible() and one.text():
                assert one.height() >= one.minimumSizeHint().height(), one.text()
