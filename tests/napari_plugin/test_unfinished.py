"""What a person has not finished is kept as it stands, whatever is done next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registration.landmarks.landmarks import Landmarks, write_landmarks
from registration.pieces.drawn import read_drawn
from registration.result import Registration
from registration.synth import SynthCase
from tests.napari_plugin.conftest import Hand

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(1800)]

CORNERS = [(200.0, 150.0), (420.0, 160.0), (430.0, 380.0), (210.0, 400.0)]
AROUND_PX = [(-60, -60), (60, -50), (50, 70), (-40, 60)]


@pytest.fixture
def picking(desk: Hand, pair: SynthCase, exact: Landmarks, tmp_path: Path) -> Iterator[Hand]:
    """Slides that are open with six pairs, in ``tmp_path``."""
    path = tmp_path / "six.csv"
    write_landmarks(path, exact.take(np.arange(6)))
    desk.open_pair(pair.he, pair.ihc, path)
    yield desk
    if desk.widget.panel is not None:
        desk.widget.close_session()


@pytest.fixture
def reviewing(picking: Hand, run: Path) -> Iterator[Hand]:
    """The same window with a run under review."""
    open_review(picking, run)
    review = picking.widget.panel._reviewing
    picking.wait_for(lambda: review.is_settled)
    yield picking
    if review.parent() is not None:
        picking.viewer.window.remove_dock_widget(review)


def open_review(hand: Hand, run: Path) -> None:
    hand.widget.panel.run.out.set(run)
    hand.widget.panel.tabs.setCurrentIndex(1)
    hand.push("Review the earlier run")


def area(hand: Hand, corners: int = len(AROUND_PX)) -> None:
    """Begin to outline an area of a review, and stop before the end."""
    hand.push("Reject an area")
    go_on(hand, 0, corners)


def go_on(hand: Hand, begin: int, end: int) -> None:
    height, width = hand.viewer.canvas.size
    for across, down in AROUND_PX[begin:end]:
        hand.press((width // 2 + across, height // 2 + down))


def left_out(tmp_path: Path) -> Any:
    """Return the one outline that is to be left out of the H&E slide."""
    [[ring]] = read_drawn(tmp_path / "six_he.geojson").left_out
    return ring


def slides_closed(hand: Hand, run: Path) -> None:
    hand.push("Close slides")
    assert "kept as it stood" in hand.widget.open_panel.message.text()


def reviewed(hand: Hand, run: Path) -> None:
    open_review(hand, run)
    hand.viewer.window.remove_dock_widget(hand.widget.panel._reviewing)


def registered(hand: Hand, run: Path) -> None:
    panel = hand.widget.panel
    panel.run.out.set(run.parent / "new")
    panel.tabs.setCurrentIndex(1)
    hand.push("Register")
    assert "six_he.geojson" in " ".join(panel.run.job.command)
    hand.push("Cancel")
    hand.wait_for(lambda: panel.run.job is None)


@pytest.mark.parametrize("then", [slides_closed, reviewed, registered])
def test_an_outline_that_is_being_drawn_is_kept(
    picking: Hand, run: Path, tmp_path: Path, then: Callable[[Hand, Path], None]
) -> None:
    picking.outline(CORNERS)

    then(picking, run)

    np.testing.assert_allclose(left_out(tmp_path)[: len(CORNERS)], CORNERS, atol=3)


def test_a_stroke_of_the_brush_is_kept_with_the_button_still_down(
    picking: Hand, tmp_path: Path
) -> None:
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    begin, end = (picking.on_canvas("he", one) for one in ((300.0, 300.0), (700.0, 420.0)))
    picking.push("Brush")
    QTest.mousePress(picking.canvas, Qt.MouseButton.LeftButton, pos=QPoint(*begin))
    picking._move(QPoint(*end), Qt.MouseButton.LeftButton)
    picking.wait()

    picking.push("Close slides")

    assert np.ptp(left_out(tmp_path)[:, 0]) > 400
    picking.drag(begin, end)  # lets the button go


def test_naparis_keys_take_no_outline_away(picking: Hand, tmp_path: Path) -> None:
    picking.outline(CORNERS[:2])
    for key in ("L", "R", "T", "5", "6", "Delete", "Backspace", "D", "A", "B"):
        picking.key(key)
    for corner in CORNERS[2:]:
        picking.press(picking.on_canvas("he", corner))
    picking.key("Return")

    picking.wait_for(lambda: picking.session.canvas.is_picking)
    np.testing.assert_allclose(left_out(tmp_path)[: len(CORNERS)], CORNERS, atol=3)


def test_pieces_that_are_found_meanwhile_take_no_outline_away(
    picking: Hand, tmp_path: Path
) -> None:
    def looking() -> Any:
        return picking.session.outlining._pieces

    picking.push("Show pieces")
    picking.outline(CORNERS[:2])
    picking.wait_for(lambda: not looking() or looking().done())
    picking.wait(0.3)
    for corner in CORNERS[2:]:
        picking.press(picking.on_canvas("he", corner))
    picking.key("Return")

    picking.wait_for(lambda: picking.session.picker.shows_found)
    np.testing.assert_allclose(left_out(tmp_path)[: len(CORNERS)], CORNERS, atol=3)


def test_drawing_ends_without_a_corner_too(picking: Hand, tmp_path: Path) -> None:
    picking.outline([])

    picking.key("Escape")

    assert picking.session.canvas.is_picking
    assert not (tmp_path / "six_he.geojson").exists()


def accepted(hand: Hand, run: Path) -> None:
    hand.push("Accept")
    assert Registration.load(run).review == "accepted"


def begun_anew(hand: Hand, run: Path) -> None:
    hand.push("Reject an area")


def hidden(hand: Hand, run: Path) -> None:
    hand.widget.panel._reviewing.parent().hide()  # the eye of its dock
    hand.wait(0.1)
    assert hand.session.canvas.is_picking


def opened_again(hand: Hand, run: Path) -> None:
    hand.push("Open")
    assert "as it stood" in hand.widget.panel._reviewing.message.text()


def dock_closed(hand: Hand, run: Path) -> None:
    hand.viewer.window.remove_dock_widget(hand.widget.panel._reviewing)


@pytest.mark.parametrize("then", [accepted, begun_anew, hidden, opened_again, dock_closed])
def test_an_area_that_is_being_drawn_is_kept(
    reviewing: Hand, run: Path, then: Callable[[Hand, Path], None]
) -> None:
    area(reviewing)

    then(reviewing, run)

    [rejected] = Registration.load(run).notes.rejected
    assert (rejected.name, len(rejected.outline)) == ("area 1", len(AROUND_PX))


def test_an_area_is_drawn_on_while_a_comment_is_typed(reviewing: Hand, run: Path) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    comment = reviewing.widget.panel._reviewing.acting.comment
    area(reviewing, corners=2)
    QTest.keyClicks(comment, "fold")
    QTest.keyClick(comment, Qt.Key.Key_Return)
    go_on(reviewing, 2, len(AROUND_PX))
    reviewing.key("Return")

    reviewing.wait_for(lambda: bool(Registration.load(run).notes.rejected))
    notes = Registration.load(run).notes
    assert (notes.comment, len(notes.rejected[0].outline)) == ("fold", len(AROUND_PX))


def test_an_area_of_two_corners_is_said_to_be_none(reviewing: Hand, run: Path) -> None:
    area(reviewing, corners=2)

    reviewing.key("Return")

    assert "three corners" in reviewing.widget.panel._reviewing.message.text()
    assert not Registration.load(run).notes.rejected


def test_keys_in_a_field_do_nothing_to_pairs(picking: Hand, exact: Landmarks) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    panel = picking.widget.panel
    picking.click("he", tuple(exact.he[60]))
    picking.wait_for(lambda: picking.picks.waiting_place is not None)
    before = picking.picks
    panel.tabs.setCurrentIndex(1)

    for field in (panel.run.out.line, panel.run.command):
        for key in (*("Return", "Enter", "Up", "Escape"), *("Delete", "Backspace", "E")):
            QTest.keyClick(field, getattr(Qt.Key, f"Key_{key}"))
            assert picking.picks == before, key
