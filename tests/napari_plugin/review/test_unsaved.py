"""What a person says in a review is never lost, also where the run cannot take it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_plugin.review.model import Review
from registration.errors import RunError
from registration.result import Registration, ReviewNotes, write_review
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.gui

COMMENT = "fold in the corner"


@pytest.fixture
def shown(make_napari_viewer: Any, run: Path) -> Iterator[Any]:
    """A run that is open for review in a real window."""
    from napari_plugin.review.widget import ReviewWidget

    viewer = make_napari_viewer(show=True)
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Registration review")
    review.open(run)
    yield review
    review._turns.finish()


def push(review: Any, text: str) -> None:
    """Click a button of the panel with the mouse."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QPushButton

    [button] = [one for one in review.findChildren(QPushButton) if one.text() == text]
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def typed(review: Any) -> None:
    """Type a comment, and leave the keyboard where it is."""
    from qtpy.QtTest import QTest

    review.acting.comment.setFocus()
    QTest.keyClicks(review.acting.comment, COMMENT)


def judged(review: Any) -> None:
    push(review, "Accept")


def closed(review: Any) -> None:
    review.close_review()


def rejected(review: Any) -> None:
    review.flags.setCurrentRow(0)
    push(review, "Reject this place")


def drawn(review: Any) -> None:
    push(review, "Reject an area …")


@pytest.mark.parametrize("then", [judged, closed, rejected, drawn])
def test_a_comment_that_is_being_typed_is_kept(
    shown: Any, run: Path, then: Callable[[Any], None]
) -> None:
    shown._turns.finish()
    typed(shown)
    shown.set_look(share=0.3)  # whatever is shown anew meanwhile
    assert shown.acting.comment.text() == COMMENT

    then(shown)

    assert Registration.load(run).notes.comment == COMMENT


def test_what_a_run_cannot_take_is_said_and_written_elsewhere(
    shown: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown._turns.finish()
    shutil.move(run, tmp_path / "gone")
    run.touch()

    typed(shown)
    judged(shown)
    rejected(shown)

    assert "NOT SAVED" in shown.judged.text()
    assert "accepted" in shown.judged.text()
    assert shown.message.text()
    assert shown.acting.rejected.count() == 1
    shown.close_review()
    path = tmp_path / f"{run.name}_review.json"
    assert str(path) in shown.message.text()
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert (kept["run"], kept["review"]) == (str(run), "accepted")
    assert kept["notes"]["comment"] == COMMENT
    assert [area["name"] for area in kept["notes"]["rejected"]] == ["block 1-2"]


@pytest.fixture
def unsaved(shown: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same window after a run was judged while it was gone; it is closed, and the run is back."""
    monkeypatch.chdir(tmp_path)
    shown._turns.finish()
    shutil.move(run, tmp_path / "gone")
    typed(shown)
    judged(shown)
    shown.close_review()
    shutil.move(tmp_path / "gone", run)
    return shown


def test_what_was_written_elsewhere_is_entered_when_the_run_is_opened_again(
    unsaved: Any, run: Path, tmp_path: Path
) -> None:
    assert (tmp_path / "run_review.json").is_file()

    unsaved.open(run)

    assert "is in it now" in unsaved.message.text()
    assert (Registration.load(run).review, Registration.load(run).notes.comment) == (
        "accepted",
        COMMENT,
    )
    assert "accepted" in unsaved.judged.text()
    assert not (tmp_path / "run_review.json").exists()


def test_what_was_written_elsewhere_stays_there_when_the_run_was_judged_since(
    unsaved: Any, run: Path, tmp_path: Path
) -> None:
    write_review(run, "rejected", ReviewNotes("by somebody else"))

    unsaved.open(run)

    assert str(tmp_path / "run_review.json") in unsaved.message.text()
    assert (tmp_path / "run_review.json").is_file()
    assert Registration.load(run).review == "rejected"


def test_a_run_that_stays_read_only_has_one_file_with_the_last_word(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run_review_of_another.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr("napari_plugin.review.model.write_review", refuse)
        for judgement in ("accepted", "rejected"):
            review = Review.open(run)
            review.take_up_kept()
            with pytest.raises(RunError, match="read-only"):
                review.judge(judgement)
            assert "run_review.json" in review.close()

    assert len(list(tmp_path.glob("run_review*"))) == 2
    review = Review.open(run)
    review.take_up_kept()
    review.close()
    assert Registration.load(run).review == "rejected"
    assert len(list(tmp_path.glob("run_review*"))) == 1


def refuse(*_: object) -> None:
    raise OSError("the folder is read-only")


def test_a_run_that_comes_back_takes_what_was_said_meanwhile(
    shown: Any, run: Path, tmp_path: Path
) -> None:
    shown._turns.finish()
    shutil.move(run, tmp_path / "gone")
    judged(shown)
    assert "NOT SAVED" in shown.judged.text()
    shutil.move(tmp_path / "gone", run)

    shown.close_review()

    assert shown.message.text() == ""
    assert Registration.load(run).review == "accepted"


def test_what_somebody_else_said_of_a_run_stays(
    shown: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = ReviewNotes("seen by me", "CD")
    write_review(run, "rejected", theirs)

    judged(shown)

    assert "meanwhile" in shown.message.text()
    shown.close_review()
    assert (Registration.load(run).review, Registration.load(run).notes) == ("rejected", theirs)
    path = tmp_path / f"{run.name}_review.json"
    assert json.loads(path.read_text(encoding="utf-8"))["review"] == "accepted"


@pytest.mark.slow
@pytest.mark.parametrize("side", ["he", "ihc"])
def test_a_slide_that_vanishes_is_said_and_shown_again(
    shown: Any, run: Path, qtbot: Any, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_plugin.levels.CACHE_BYTES", 1)  # a small slide is kept whole
    shown.open(run)
    shown._turns.finish()
    slide = getattr(shown.review.pair, side)
    away = slide.path.rename(slide.path.with_suffix(".away"))
    try:
        slide.close()  # by which OpenSlide forgets what it decoded
        shown._viewer.scene.camera.zoom *= 8  # what is seen whole, napari keeps
        qtbot.waitUntil(lambda: slide.path.name in shown.message.text(), timeout=1000 * PATIENCE_S)
        judged(shown)
        assert Registration.load(run).review == "accepted"
    finally:
        away.rename(slide.path)
    qtbot.waitUntil(lambda: slide.path.name not in shown.message.text(), timeout=1000 * PATIENCE_S)
