"""How the two slides are shown: turned, flipped, enlarged, following, and laid over each other."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.look_control import LookControl
from napari_plugin.picker.session import TURN_DEG, ZOOM_STEP, Session
from napari_plugin.views import SIDES, STAIN, Side
from napari_plugin.widgets import button, quietly, row_of, tick

BENT_TIP = (
    "From six pairs on: bends the H&E slide as a thin plate, so that all pairs meet; "
    "what register begins with is straight"
)


class ComparePanel(QWidget):
    """The views of a picking session and its preview."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.follow = tick("IHC view follows the H&&E view (L)", session.set_following)
        preview = session.preview
        self.look = LookControl(with_off=True, set_look=preview.set_look, set_tone=preview.set_tone)
        self.whole = tick("in the whole window (X)", preview.set_filling)
        self.bends = tick("bent through the pairs (P)", preview.set_bending, BENT_TIP)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._turning())
        layout.addWidget(self.follow)
        layout.addWidget(QLabel("Preview (V): H&E over IHC; colours (S)"))
        layout.addWidget(self.look)
        layout.addLayout(row_of(self.whole, self.bends))
        layout.addWidget(self.hint)

    def refresh(self) -> None:
        """Show the session's state."""
        session, preview = self._session, self._session.preview
        for box, checked in (
            (self.follow, session.views.follows),
            (self.whole, preview.fills_window),
            (self.bends, preview.bends),
        ):
            with quietly(box):
                box.setChecked(checked)
        self.bends.setEnabled(preview.can_bend)
        shown = preview.is_possible or preview.look.mode != "off"
        self.look.show_look(preview.look, preview.tone, enabled=shown)
        self.hint.setText(self._hint())
        self.hint.setVisible(bool(self.hint.text()))

    def _hint(self) -> str:
        session = self._session
        if not session.preview.is_possible:
            return "The preview needs four pairs."
        if session.views.follows and session.picker.assessment.follow is None:
            return "The IHC view cannot follow: the pairs lie on one line or contradict each other."
        return ""

    def _turning(self) -> QGridLayout:
        """Return the buttons of both views, a row each."""
        grid = QGridLayout()
        for row, side in enumerate(SIDES):
            grid.addWidget(QLabel(STAIN[side]), row, 0)
            for column, made in enumerate(self._buttons(side), start=1):
                made.setMaximumWidth(46)
                grid.addWidget(made, row, column)
        whole = button("Both upright (U)", self._session.upright)
        grid.addWidget(whole, 0, 7, 2, 1)
        return grid

    def _buttons(self, side: Side) -> list[QWidget]:
        session, stain = self._session, STAIN[side]
        keys = {"he": "R/Shift+R F C Shift+C", "ihc": "T/Shift+T Shift+F B Shift+B"}[side].split(
            " "
        )
        return [
            button("↺", lambda: session.turn(side, -TURN_DEG), f"Turn {stain} left ({keys[0]})"),
            button("↻", lambda: session.turn(side, TURN_DEG), f"Turn {stain} right ({keys[0]})"),
            button("90°", lambda: session.turn(side, 90), f"Turn {stain} by a quarter"),
            button("⇋", lambda: session.flip(side), f"Flip {stain} ({keys[1]})"),
            button("+", lambda: session.zoom(side, ZOOM_STEP), f"Enlarge {stain} ({keys[2]})"),
            button("−", lambda: session.zoom(side, 1 / ZOOM_STEP), f"Shrink {stain} ({keys[3]})"),
        ]
