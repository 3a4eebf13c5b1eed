"""One person's walk by mouse and keys: from six pairs with a wrong click to the next case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from registration.geometry import Size, farthest_first
from registration.landmarks.landmarks import Landmarks, read_landmarks
from registration.result import Registration
from registration.synth import SynthCase, SynthSettings, write_case
from tests.napari_plugin.conftest import Hand

# Run by itself: after other windows napari may refuse to register its plugins again.
pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
WRONG, BESIDE_PX = 4, (130.0, -90.0)
"""The fifth pair is clicked 73 µm beside its place."""


@pytest.fixture(scope="module")
def next_case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    settings = SynthSettings(size=Size(1024, 896), seed=8, rotation_deg=-12.0)
    return write_case(tmp_path_factory.mktemp("next"), settings, name="p2")


def test_from_a_wrong_click_to_the_next_case(
    desk: Hand, pair: SynthCase, exact: Landmarks, next_case: SynthCase, tmp_path: Path
) -> None:
    file, panel_of = tmp_path / "pairs.csv", lambda: desk.widget.panel
    desk.open_pair(pair.he, pair.ihc, file)
    chosen = farthest_first(exact.he, 6, 0)

    for number, index in enumerate(chosen):
        astray = np.array(BESIDE_PX) if number == WRONG else np.zeros(2)
        desk.click("he", tuple(exact.he[index]))
        desk.wait_for(lambda: not desk.session.is_working)
        desk.click("ihc", tuple(exact.ihc[index] + astray))
    panel = panel_of()
    assert "not ready to register" in panel.progress.text()
    assert "Pair 5 does not agree" in panel.pairs.problems.text()
    assert panel.pairs.table.item(WRONG, 4).text() == "⚠ worst: look again"

    item = panel.pairs.table.visualItemRect(panel.pairs.table.item(WRONG, 0))
    double_click(panel.pairs.table.viewport(), item.center())  # goes there
    at = desk.on_canvas("ihc", desk.picks.pair("5").ihc)
    desk.drag(at, desk.on_canvas("ihc", tuple(exact.ihc[chosen[WRONG]])))
    assert panel.progress.text() == "6 pairs · ready to register"
    assert len(read_landmarks(file)) == 6

    click_tab(panel.tabs, 1)
    panel.run.out.line.clear()
    type_into(panel.run.out.line, str(tmp_path / "run"))
    panel.run.blocks.setCurrentText("1x1")  # an eighth of the work
    panel.run.image.setChecked(False)
    desk.push("Register")
    desk.wait_for(lambda: panel.run.job is None)
    assert "Registered" in panel.run.status.text()
    run = Registration.load(tmp_path / "run")
    assert np.median(np.hypot(*(run.chain(exact.ihc) - exact.he).T)) < 3

    desk.push("Review the result")
    height, width = desk.viewer.canvas.size
    middle = np.array([width // 2, height // 2])
    desk.drag(*(tuple((middle + at).tolist()) for at in ((30, 30), (60, 50))))  # pans, no pair
    desk.push("Reject an area")
    for corner in ((-80, -80), (60, -70), (20, 90)):
        desk.press(tuple((middle + corner).tolist()))
    desk.key("Return")
    desk.wait_for(lambda: bool(Registration.load(tmp_path / "run").notes.rejected))
    desk.push("Accept")
    judged = Registration.load(tmp_path / "run")
    assert (judged.review, len(judged.notes.rejected)) == ("accepted", 1)
    review = panel._reviewing
    desk.viewer.window.remove_dock_widget(review)

    desk.open_pair(next_case.he, next_case.ihc, tmp_path / "next.csv")
    assert desk.picks.pairs == ()
    assert desk.widget.panel.headline.text() == "Click a point on the H&E slide"
    truth = read_landmarks(next_case.truth)
    desk.click("he", tuple(truth.he[0]))
    desk.click("ihc", tuple(truth.ihc[0]))
    assert len(read_landmarks(tmp_path / "next.csv", minimum=0)) == 1
    assert len(read_landmarks(file)) == 6


def double_click(widget: object, at: object) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=at)
    QTest.mouseDClick(widget, Qt.MouseButton.LeftButton, pos=at)


def click_tab(tabs: object, index: int) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    bar = tabs.tabBar()  # type: ignore[attr-defined]
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(index).center())


def type_into(line: object, text: str) -> None:
    from qtpy.QtTest import QTest

    QTest.keyClicks(line, text)
