"""A review comes and goes layer by layer, so that the window answers meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from registration.result import Registration
from registration.slides.slide import Slide
from tests.napari_plugin.review.test_model import PATCHES
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.gui


def test_each_layer_has_a_turn_of_its_own(make_napari_viewer: Any, qtbot: Any, run: Path) -> None:
    from napari_plugin.review.widget import ReviewWidget

    viewer = make_napari_viewer()
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review")

    added: list[str] = []
    viewer.layers.events.inserted.connect(lambda event: added.append(event.value.name))

    review.open(run)
    assert added == []
    qtbot.waitUntil(lambda: bool(added), timeout=1000 * PATIENCE_S)
    assert added[0] == "H&E over IHC"
    qtbot.waitUntil(lambda: review.is_settled, timeout=1000 * PATIENCE_S)
    assert [layer.name for layer in viewer.layers] == ["H&E over IHC", "blocks"]
    assert review.flags.count() == 1
    assert [layer.get_status((0, 0)) for layer in viewer.layers] == ["", ""]

    review.open(run)  # the one before is hidden at once, and removed in its turn
    assert not any(layer.visible for layer in viewer.layers)
    qtbot.waitUntil(lambda: review.is_settled, timeout=1000 * PATIENCE_S)
    assert [layer.name for layer in viewer.layers] == ["H&E over IHC", "blocks"]
    review.close_review()
    assert not any(layer.visible for layer in viewer.layers)
    qtbot.waitUntil(lambda: review.is_settled, timeout=1000 * PATIENCE_S)
    assert len(viewer.layers) == 0


def test_what_is_seen_first_is_read_on_a_thread_and_the_view_stays(
    make_napari_viewer: Any, qtbot: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_plugin.review.widget import ReviewWidget

    readers, read = [], Slide.read_scaled

    def noting(slide: Slide, *where: Any) -> Any:
        readers.append(threading.current_thread())
        return read(slide, *where)

    monkeypatch.setattr(Slide, "read_scaled", noting)
    viewer = make_napari_viewer(show=True)
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review")
    review.open(run)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0.0, 120.0, 130.0), 3.0
    qtbot.waitUntil(lambda: review.is_settled, timeout=1000 * PATIENCE_S)

    assert readers
    assert threading.main_thread() not in readers
    assert tuple(viewer.scene.camera.center) == (0.0, 120.0, 130.0)
    assert viewer.scene.camera.zoom == 3.0


def test_patches_asked_for_at_once_lie_above_the_slides(
    make_napari_viewer: Any, qtbot: Any, run: Path, tmp_path: Path
) -> None:
    from napari_plugin.review.widget import ReviewWidget

    found = Registration.load(run)
    (tmp_path / "patches.csv").write_text(PATCHES.format(he=found.he.hash, ihc=found.ihc.hash))
    viewer = make_napari_viewer()
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review")
    review.open(run)
    review.open_patches(tmp_path)
    qtbot.waitUntil(lambda: review.is_settled, timeout=1000 * PATIENCE_S)
    assert [layer.name for layer in viewer.layers] == [
        *("H&E over IHC", "blocks", "patches: residual shift (µm)")
    ]


def test_a_review_that_is_closed_while_it_is_read_leaves_nothing(
    make_napari_viewer: Any, qtbot: Any, run: Path
) -> None:
    from napari_plugin.review.widget import ReviewWidget

    viewer = make_napari_viewer()
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review")
    review.open(run)
    review.close_review()
    qtbot.waitUntil(lambda: review.is_settled, timeout=1000 * PATIENCE_S)
    assert len(viewer.layers) == 0
