"""The part of the review that acts: reject a place, an area or a piece; a comment; a pair to be picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_plugin.review.model import Review
from napari_plugin.widgets import Line, StillComboBox, button, quietly
from registration.result import ReviewNotes

REJECT_TIP = "Patches that touch the flagged place chosen above are left out of datasets"
DRAW_TIP = "Click the corners of an area on the slide, then press Enter; its patches are left out"
PART_TIP = "Patches that touch this piece or block are left out of datasets"
HERE_TIP = "Back to the picker, with the place in the middle of this view"


class Acting(QWidget):
    """Fields and buttons that change a review; ``acted`` is called after each change.

    ``act`` takes up what was drawn and typed, runs a change and says what goes wrong; ``typed``
    takes up what was typed.
    """

    def __init__(
        self,
        act: Callable[[Callable[[Review], None]], None],
        typed: Callable[[], object],
        reject_flag: Callable[[], object],
        draw: Callable[[], object],
        pick_here: Callable[[], object],
    ) -> None:
        super().__init__()
        self._act = act
        self._shown = "", ""
        self.comment, self.initials = Line(), Line()
        self.comment.setPlaceholderText("comment")
        self.initials.setPlaceholderText("initials")
        self.initials.setMaximumWidth(60)
        self.parts, self.rejected = StillComboBox(), StillComboBox()
        for line in (self.comment, self.initials):
            line.editingFinished.connect(typed)
        self.pick_here = button("Pick a pair here", pick_here, HERE_TIP)
        self.reject_part = button("Reject it", self._reject_part, PART_TIP)
        self.take_back = button("Take back", self._take_back)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        reject = button("Reject this place", reject_flag, REJECT_TIP)
        for widgets in (
            (reject, button("Reject an area …", draw, DRAW_TIP)),
            (self.parts, self.reject_part, self.pick_here),
            (QLabel("Rejected:"), self.rejected, self.take_back),
            (self.comment, self.initials),
        ):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget)
            layout.addLayout(row)

    def show_review(self, review: Review | None, can_pick: bool) -> None:
        """Show the state of a review, or none."""
        self.setEnabled(review is not None)
        self.pick_here.setEnabled(can_pick)
        notes = ReviewNotes() if review is None else review.notes
        if review is None or not self._is_edited:  # what is being typed stays
            for line, text in ((self.comment, notes.comment), (self.initials, notes.initials)):
                with quietly(line):
                    line.setText(text)
        self._shown = notes.comment, notes.initials
        _fill(self.parts, [] if review is None else list(review.parts))
        _fill(self.rejected, [] if review is None else list(review.rejected_names))
        self.reject_part.setEnabled(self.parts.count() > 0)
        self.take_back.setEnabled(self.rejected.count() > 0)

    def take_up(self, review: Review) -> None:
        """Keep what was typed so far: no button takes the keyboard away from a field."""
        if self._is_edited:
            review.say(self.comment.text(), self.initials.text())

    @property
    def _is_edited(self) -> bool:
        return (self.comment.text(), self.initials.text()) != self._shown

    def _reject_part(self) -> None:
        name = self.parts.currentText()
        self._act(lambda review: review.reject_part(name))

    def _take_back(self) -> None:
        name = self.rejected.currentText()
        self._act(lambda review: review.take_back(name))


def _fill(choice: Any, texts: list[str]) -> None:
    """Offer these texts; the chosen one stays chosen where it is still there."""
    if [choice.itemText(index) for index in range(choice.count())] == texts:
        return
    before = choice.currentText()
    choice.clear()
    choice.addItems(texts)
    choice.setCurrentText(before)
