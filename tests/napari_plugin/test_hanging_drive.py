"""A drive that does not answer neither stops the window nor loses anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import numpy as np
import pytest

from napari_plugin import kept
from napari_plugin.picker.journal import Journal
from registration.landmarks.landmarks import Landmarks, read_landmarks, write_landmarks
from registration.result import Registration
from registration.synth import SynthCase
from tests.napari_plugin.conftest import Hand
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(1800)]


class Share:
    """Files whose operations hang as long as ``answers`` is not set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.answers = Event()
        self.answers.set()
        self._patch = patch

    def holds(self, name: str) -> None:
        """Let a function, by its full name, hang with the drive."""
        from importlib import import_module

        module, function = name.rsplit(".", 1)
        real = getattr(import_module(module), function)

        def slow(*given: Any) -> Any:
            assert self.answers.is_set() or current_thread() is not main_thread()
            assert self.answers.wait(PATIENCE_S)
            return real(*given)

        self._patch.setattr(name, slow)


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    """Landmark files and run folders on a drive that can hang."""
    made = Share(monkeypatch)
    monkeypatch.setattr(kept, "WAIT_S", 0.1)
    for name in (
        "napari_plugin.picker.journal.write_landmarks",
        "napari_plugin.picker.regions.write_geojson",
        "napari_plugin.review.model.write_review",
    ):
        made.holds(name)
    yield made
    made.answers.set()


@pytest.fixture
def picking(
    desk: Hand, pair: SynthCase, exact: Landmarks, tmp_path: Path, share: Share
) -> Iterator[Hand]:
    path = tmp_path / "six.csv"
    write_landmarks(path, exact.take(np.arange(6)))
    desk.open_pair(pair.he, pair.ihc, path)
    yield desk
    share.answers.set()
    if desk.widget.panel is not None:
        desk.widget.close_session()


def pick(hand: Hand, exact: Landmarks, index: int) -> None:
    hand.click("he", tuple(exact.he[index]))
    hand.wait_for(lambda: not hand.session.is_working)
    hand.click("ihc", tuple(exact.ihc[index]))


def test_pairs_are_picked_on_and_written_as_soon_as_the_drive_answers(
    picking: Hand, exact: Landmarks, tmp_path: Path, share: Share
) -> None:
    share.answers.clear()

    pick(picking, exact, 60)
    pick(picking, exact, 90)
    panel = picking.widget.panel
    assert "does not answer" in panel.message.text()
    picking.push("Brush")
    picking.drag(*(picking.on_canvas("he", one) for one in ((300.0, 300.0), (700.0, 420.0))))
    picking.key("Escape")

    assert panel.file.text().startswith("NOT SAVED")
    assert len(read_landmarks(tmp_path / "six.csv")) == 6
    share.answers.set()
    picking.wait_for(lambda: panel.file.text().startswith("Saved"))
    assert panel.message.text() == ""
    assert len(read_landmarks(tmp_path / "six.csv")) == 8
    assert (tmp_path / "six_he.geojson").exists()


def test_pairs_go_to_another_drive_with_save_as(
    picking: Hand, exact: Landmarks, tmp_path: Path, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LAST_WAIT_S", 0.1)
    share.answers.clear()
    pick(picking, exact, 60)
    monkeypatch.setattr(kept, "WAIT_S", PATIENCE_S)
    picker, path = picking.session.picker, tmp_path / "elsewhere.csv"
    monkeypatch.setattr("napari_plugin.picker.journal.write_landmarks", write_landmarks)

    picker.save_as(Journal(path, slides=picker.journal.slides))

    assert picker.is_saved
    assert len(read_landmarks(path)) == 7


def test_closing_writes_pairs_elsewhere(
    picking: Hand, exact: Landmarks, tmp_path: Path, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kept, "LAST_WAIT_S", 5.0)  # for the drive, and for the folder elsewhere
    share.answers.clear()
    pick(picking, exact, 60)
    monkeypatch.setattr("napari_plugin.picker.journal.write_landmarks", write_landmarks)
    path = tmp_path / "six_2.csv"

    picking.push("Close slides")

    assert str(path) in picking.widget.open_panel.message.text()
    assert len(read_landmarks(path)) == 7


def judged(hand: Hand) -> None:
    hand.push("Accept")


def commented(hand: Hand) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    comment = hand.widget.panel._reviewing.acting.comment
    QTest.keyClicks(comment, "fold")
    QTest.keyClick(comment, Qt.Key.Key_Return)


@pytest.mark.parametrize("act", [judged, commented])
def test_a_run_takes_what_is_said_of_it_as_soon_as_its_drive_answers(
    picking: Hand, run: Path, share: Share, act: Callable[[Hand], None]
) -> None:
    picking.widget.panel.run.out.set(run)
    picking.widget.panel.tabs.setCurrentIndex(1)
    picking.push("Review the earlier run")
    review = picking.widget.panel._reviewing
    picking.wait_for(lambda: review.is_settled)
    share.answers.clear()

    act(picking)

    assert "does not answer" in review.message.text()
    assert "NOT SAVED" in review.judged.text()
    share.answers.set()
    picking.wait_for(lambda: "NOT SAVED" not in review.judged.text())
    found = Registration.load(run)
    assert (found.review, found.notes.comment) in (("accepted", ""), (None, "fold"))
    assert review.message.text() == ""
    picking.viewer.window.remove_dock_widget(review)


def test_a_run_folder_that_hangs_is_none(
    picking: Hand, exact: Landmarks, run: Path, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.is_file

    def slow(path: Path) -> bool:
        if path.parent == run:
            assert current_thread() is not main_thread()
            assert share.answers.wait(PATIENCE_S)
        return real(path)

    monkeypatch.setattr(Path, "is_file", slow)
    share.answers.clear()
    panel = picking.widget.panel.run

    panel.out.set(run)

    assert not panel.review.isEnabled()
    share.answers.set()
    picking.wait_for(lambda: panel.review.isEnabled())
