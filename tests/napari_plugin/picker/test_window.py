"""A person's whole way in a real window: pick, correct, save, reopen, preview, register, review."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from napari_plugin.jobs import STAGES, JobProgress
from registration.geometry import Box
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.result import Registration
from registration.slides.slide import open_slide
from registration.synth import SynthCase, load_truth
from tests.patience import lives, wait_for

pytestmark = [pytest.mark.gui, pytest.mark.timeout(1800)]  # on a machine that may be busy


def spread(exact: Landmarks, count: int) -> list[int]:
    """Return indices of points far from each other."""
    chosen = [0]
    while len(chosen) < count:
        distance = np.linalg.norm(exact.he[:, None] - exact.he[chosen][None], axis=2).min(axis=1)
        chosen.append(int(np.argmax(distance)))
    return chosen


def pick(window: Any, exact: Landmarks, indices: list[int]) -> np.ndarray:
    """Click pairs; return the places truly clicked, ``(N, 2 sides, 2)``."""
    clicked = []
    for index in indices:
        he = window.click("he", tuple(exact.he[index]))
        window.wait_for(lambda: not window.session.is_working)
        clicked.append((he, window.click("ihc", tuple(exact.ihc[index]))))
    return np.array(clicked)


def stored(window: Any) -> Landmarks:
    return read_landmarks(window.session.picker.journal.path, minimum=0)


@pytest.mark.slow
def test_from_six_clicked_pairs_to_a_judged_registration(
    hand: Callable[..., Any],
    pair: SynthCase,
    exact: Landmarks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    window = hand(pair.he, pair.ihc)
    session = window.session

    # Six pairs. After the third the IHC view turns with the H&E view, and places are proposed.
    clicked = pick(window, exact, spread(exact, 6))
    assert window.widget.panel.progress.text() == "6 pairs · ready to register"
    np.testing.assert_allclose(stored(window).he, clicked[:, 0], atol=1e-3)
    np.testing.assert_allclose(stored(window).ihc, clicked[:, 1], atol=1e-3)
    assert window.widget.panel.pairs.table.rowCount() == 6
    middle = exact.ihc[spread(exact, 7)[-1]]
    across = np.array(window.on_canvas("ihc", middle)) - window.on_canvas(
        "he", pair_of(pair, middle)
    )
    assert abs(across[1]) <= 6  # beside each other

    # Drag a point; undo, redo.
    begin = window.on_canvas("ihc", session.picker.picks.pair("2").ihc)
    end = (begin[0] - 31, begin[1] + 24)
    aim = window.level0("ihc", end)
    window.drag(begin, end)
    np.testing.assert_allclose(stored(window).ihc[1], aim, atol=0.05)
    window.key("Z", ctrl=True)
    np.testing.assert_allclose(stored(window).ihc[1], clicked[1, 1], atol=1e-3)
    window.key("Z", ctrl=True, shift=True)
    np.testing.assert_allclose(stored(window).ihc[1], aim, atol=0.05)
    window.key("Z", ctrl=True)

    # Delete, undo; switch off and on.
    session.picker.select("4")
    window.key("Delete")
    assert stored(window).names == ("1", "2", "3", "5", "6")
    window.key("Z", ctrl=True)
    session.picker.select("5")
    window.key("E")
    assert stored(window).enabled.tolist() == [True] * 4 + [False, True]
    window.key("E")

    # Preview every way, and while a point moves.
    plain = window.session.canvas.images["ihc"].data[0][:, :].copy()
    for mode in ("blend", "checkerboard", "swipe"):
        window.key("V")
        assert session.preview.look.mode == mode
        assert (window.session.canvas.images["ihc"].data[0][:, :] != plain).any()
    before = window.session.canvas.images["ihc"].data[0][:, :].copy()
    session.picker.move("3", "ihc", tuple(np.array(session.picker.picks.pair("3").ihc) + 60.0))
    assert (window.session.canvas.images["ihc"].data[0][:, :] != before).any()
    session.picker.undo()
    window.key("V")
    np.testing.assert_array_equal(window.session.canvas.images["ihc"].data[0][:, :], plain)

    # Close the slides, open them again: all is there.
    window.widget.close_session()
    assert len(window.viewer.layers) == 0
    window.widget.open_panel.submit()
    window.wait(0.2)
    np.testing.assert_allclose(stored(window).he, clicked[:, 0], atol=1e-3)

    # Register in a process of its own, then review and judge.
    run = window.widget.panel.run
    run.out.set(tmp_path / "run")
    run.blocks.setCurrentText("1x1")  # an eighth of the work
    run.image.setChecked(False)
    register(window)
    assert "Registered" in run.status.text(), run.status.text()
    opened: list[str] = []
    monkeypatch.setattr(
        "napari_plugin.picker.run_panel.QDesktopServices.openUrl",
        lambda url: opened.append(url.toLocalFile()),
    )
    assert run.report.isVisibleTo(run)
    run.report.click()
    assert opened == [str(tmp_path / "run" / "report.html")]
    registered = Registration.load(tmp_path / "run")
    assert registered.start.source == "landmarks"
    errors = np.hypot(*(registered.chain(exact.ihc) - exact.he).T)
    assert np.median(errors) < 2.5
    review_and_judge(window, tmp_path / "run")


def pair_of(case: SynthCase, ihc: np.ndarray) -> tuple[float, float]:
    """Return the exact H&E partner of an IHC point."""
    x, y = load_truth(case.folder)(ihc[None])[0]
    return float(x), float(y)


def register(window: Any) -> None:
    """Press the button and wait for the end; the window answers keys and clicks meanwhile."""
    run = window.widget.panel.run
    picker = window.session.picker
    run.start.click()
    heard: list[JobProgress] = []
    hears = run.job.news
    run.job.news = lambda: [heard.append(news) or news for news in hears()]
    shown, answered = set(), 0
    while run.job is not None:
        before = picker.picks.selected
        window.key("Down")
        answered += picker.picks.selected != before
        if run.job is not None:  # else the result is told
            shown.add(run.status.text().split(":")[0])
    assert "quality" in {news.stage for news in heard}
    assert shown <= {"Starting …", *STAGES}
    # Were the work done in this process, there would be one answer, at the end.
    assert answered > 5


def settle(window: Any, review: Any) -> None:
    """Wait until the layers of a review have come, or gone: one in each turn."""
    while not review.is_settled:
        window.wait(0.1)


def review_and_judge(window: Any, folder: Path) -> None:
    """Open the review from the picker, look at the maps, judge."""
    from napari_plugin.review.widget import ReviewWidget

    window.widget.panel.run.review.click()
    window.wait(0.2)
    [review] = window.viewer.window._qt_window.findChildren(ReviewWidget)
    settle(window, review)
    names = [layer.name for layer in window.viewer.layers if layer.visible]
    assert names == ["H&E over IHC", "blocks"]
    for box in review.maps.boxes.values():
        box.setChecked(True)
    review.control.choice.setCurrentIndex(2)
    assert review.slides.look.mode == "swipe"
    window.wait(0.1)
    review.judge("needs landmarks")
    assert Registration.load(folder).review == "needs landmarks"
    review.close_review()
    settle(window, review)
    assert window.viewer.canvas.grid.enabled
    assert [layer.name for layer in window.viewer.layers] == [
        "H&E",
        "H&E points",
        "IHC",
        "IHC points",
    ]
    window.viewer.window.remove_dock_widget(review)


@pytest.mark.slow
def test_proposed_places_and_suggestions_are_accepted_moved_or_rejected(
    hand: Callable[..., Any], pair: SynthCase, exact: Landmarks
) -> None:
    window = hand(pair.he, pair.ihc)
    session = window.session
    pick(window, exact, spread(exact, 3))
    inside = int(np.hypot(*(exact.he - exact.he.mean(axis=0)).T).argmin())

    window.click("he", tuple(exact.he[inside]))
    window.wait_for(lambda: bool(window.picks.proposals))
    place = window.picks.pair("4")
    assert place.proposal == "place"
    assert np.hypot(*(np.array(place.ihc) - exact.ihc[inside])) < 25
    assert len(stored(window)) == 3  # not yet a pair
    window.key("Return")
    assert stored(window).names[-1] == "4"

    window.key("G")
    window.wait_for(lambda: session.suggesting is None)
    suggested = [one.name for one in window.picks.proposals]
    assert len(suggested) >= 4
    assert window.picks.selected == suggested[0]
    window.key("Return")  # accept the first
    window.key("Delete")  # reject the second
    window.key("A", shift=True)  # and all others
    assert stored(window).names == ("1", "2", "3", "4", suggested[0])
    he, ihc = stored(window).he[-1], stored(window).ihc[-1]
    assert np.hypot(*(load_truth(pair.folder)(ihc[None])[0] - he)) < 15


@pytest.mark.slow
def test_panning_places_no_point_and_dragging_a_point_does_not_pan(
    hand: Callable[..., Any], pair: SynthCase, exact: Landmarks
) -> None:
    window = hand(pair.he, pair.ihc)
    camera = window.viewer.scene.camera
    middle = window.on_canvas("he", (600.0, 500.0))

    before = camera.center
    window.drag(middle, (middle[0] + 60, middle[1] + 10))
    assert camera.center != before
    assert window.picks.pairs == ()

    window.click("he", (600.0, 500.0))
    before = camera.center
    window.drag(window.on_canvas("he", (600.0, 500.0)), middle)
    assert camera.center == before
    assert camera.mouse_pan
    assert len(window.picks.pairs) == 1


@pytest.mark.slow
def test_a_point_dropped_beside_the_slide_goes_back(
    hand: Callable[..., Any], pair: SynthCase
) -> None:
    window = hand(pair.he, pair.ihc)
    clicked = window.click("he", (640.0, 40.0))
    begin = window.on_canvas("he", (640.0, 40.0))

    window.drag(begin, (begin[0], 5))

    assert window.session.picker.picks.pair("1").he == pytest.approx(clicked)
    drawn = window.session.canvas.points["he"].data[0][::-1]
    assert tuple(drawn) == pytest.approx(clicked)
    assert "beside" in window.widget.panel.message.text()


@pytest.mark.slow
def test_a_cancelled_registration_ends_and_says_so(
    hand: Callable[..., Any], pair: SynthCase, tmp_path: Path
) -> None:
    window = hand(pair.he, pair.ihc)
    run = window.widget.panel.run
    run.out.set(tmp_path / "run")
    run.start.click()
    window.wait_for(lambda: " of " in run.status.text())  # the first sign of progress
    process = psutil.Process(run.job.pid)

    run.cancel.click()
    assert (run.status.text(), run.cancel.isEnabled()) == ("Cancelling …", False)
    window.wait_for(lambda: run.job is None)

    assert run.status.text().startswith("Cancelled")
    assert (run.start.isEnabled(), run.cancel.isEnabled()) == (True, False)
    assert not process.is_running()
    assert not (tmp_path / "run" / "registration.json").exists()


def delete_what_is_due() -> None:
    """Do what Qt's event loop does next: delete the widgets that were told to go."""
    from qtpy.QtCore import QCoreApplication, QEvent

    for _ in range(3):  # a widget, then what was connected to it, which PyQt deletes in its turn
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QCoreApplication.processEvents()


@pytest.mark.slow
def test_nothing_is_left_when_the_window_closes(
    hand: Callable[..., Any], pair: SynthCase, exact: Landmarks, tmp_path: Path
) -> None:
    children = set(psutil.Process().children(recursive=True))
    window = hand(pair.he, pair.ihc)
    viewer = window.viewer
    drags, keys = len(viewer.mouse_drag_callbacks) - 2, ["Enter", "J", "Delete"]
    clicked = pick(window, exact, spread(exact, 4))
    window.widget.panel.run.out.set(tmp_path / "run")
    window.widget.panel.run.start.click()
    window.key("G")  # two processes at work
    window.wait_for(lambda: len(psutil.Process().children(recursive=True)) >= len(children) + 2)
    window.click("he", tuple(exact.he[9]))
    session = weakref.ref(window.session)
    job = window.widget.panel.run.job

    viewer.close()
    del window
    delete_what_is_due()
    gc.collect()

    assert session() is None
    assert not job.is_running
    left = set(psutil.Process().children(recursive=True)) - children
    wait_for(lambda: not any(map(lives, left)), "no process is left")
    assert not [one for one in threading.enumerate() if "place proposals" in one.name]
    assert len(viewer.mouse_drag_callbacks) == drags
    assert not [key for key in viewer.keymap if str(key) in keys]
    landmarks = read_landmarks(tmp_path / "pairs.csv")
    np.testing.assert_allclose(landmarks.he, clicked[:, 0], atol=1e-3)
    assert (tmp_path / ".pairs.recovery.json").exists()  # the half picked fifth pair


def is_gone(callback: Any) -> bool:
    """Return whether a callback is a method of an object that is no more; napari keeps it weakly."""
    return isinstance(callback, tuple) and callback[0]() is None


def connections(viewer: Any) -> dict[str, int]:
    """Count who listens to a viewer: live callbacks of every event, keys and the mouse."""
    gc.collect()
    counts = {"keys": len(viewer.keymap), "mouse": len(viewer.mouse_drag_callbacks)}
    models = {
        "viewer": viewer,
        "camera": viewer.scene.camera,
        "canvas": viewer.canvas,
        "grid": viewer.canvas.grid,
        "layers": viewer.layers,
        "selection": viewer.layers.selection,
        "cursor": viewer.cursor,
        "dims": viewer.dims,
    }
    for name, model in models.items():
        for kind, emitter in model.events.emitters.items():
            alive = [one for one in emitter.callbacks if not is_gone(one)]
            counts[f"{name} {kind}"] = len(alive)
    return counts


@pytest.mark.slow
def test_closing_the_slides_leaves_nothing_connected(
    hand: Callable[..., Any], pair: SynthCase
) -> None:
    window = hand(pair.he, pair.ihc)
    window.widget.close_session()
    before = connections(window.viewer)

    window.widget.open_panel.submit()
    while_open = connections(window.viewer)
    window.widget.close_session()

    assert connections(window.viewer) == before
    assert while_open["keys"] > before["keys"]
    assert while_open["mouse"] > before["mouse"]
    assert while_open["camera zoom"] > before["camera zoom"]


@pytest.mark.slow
def test_closing_the_dock_ends_the_session_and_hiding_it_does_not(
    hand: Callable[..., Any], pair: SynthCase
) -> None:
    window = hand(pair.he, pair.ihc)
    dock = window.widget.parent()

    dock.hide()
    window.wait()
    assert window.session is not None
    dock.show()
    window.viewer.window.remove_dock_widget(window.widget)
    window.wait()

    assert window.session is None
    assert len(window.viewer.layers) == 0
    window.widget.deleteLater()


def test_a_slide_that_cannot_be_opened_is_told_in_the_form(
    hand: Callable[..., Any], pair: SynthCase
) -> None:
    window = hand(pair.he, pair.folder / "p1_hic.ndpi")

    message = window.widget.open_panel.message.text()

    assert window.session is None
    assert "not found" in message
    assert "p1_ihc.ndpi" in message
    assert len(window.viewer.layers) == 0


def test_slides_without_um_per_pixel_get_a_form_that_asks(
    hand: Callable[..., Any], pair: SynthCase, tmp_path: Path
) -> None:
    from qtpy.QtTest import QTest

    images = []
    for side, path in (("he", pair.he), ("ihc", pair.ihc)):
        with open_slide(path) as slide:
            images.append(tmp_path / f"{side}.png")
            Image.fromarray(slide.read(Box.of(slide.size))).save(images[-1])
    window = hand(*images)
    assert window.session is None
    form = window.widget.open_panel
    assert "µm" in form.message.text()
    assert (form.he.text, form.ihc.text) == tuple(map(str, images))

    for field in (form.mpp_he, form.mpp_ihc):
        QTest.keyClicks(field, "0.46")
    window.push("Open both slides")
    assert window.session is not None
    assert window.session.picker.frames["ihc"].mpp == 0.46
