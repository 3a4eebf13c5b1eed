"""The table of pairs with its buttons, and what is odd about them, in words."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QBrush, QColor, QFont
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.picker.assessment import Assessment
from napari_plugin.picker.doubt import FEWEST_PAIRS
from napari_plugin.picker.marks import OFF_COLOR, color_of
from napari_plugin.picker.picks import PickedPair
from napari_plugin.picker.session import Session
from napari_plugin.widgets import alarm_color, button, quietly

NAME, USE, FIT, LEFT_OUT, STATE = range(5)
HEADERS = {
    NAME: ("Pair", "Double-click a row to go there"),
    USE: ("Use", "Pairs without a tick are kept, and left out of the fit"),
    FIT: ("Off by", "Distance from the fit of all pairs, in µm of the H&E slide"),
    LEFT_OUT: (
        "Off if left out",
        "How far the fit of all other pairs puts it from where you clicked (from five pairs on)",
    ),
    STATE: ("", ""),
}


ALARM = "⚠ "
"""Shows what the red letters say where a selected row has colours of its own."""
PROPOSED = {
    "place": "proposed",
    "guess": f"{ALARM}guess, no match",
    "pair": "suggested",
    "unconfirmed": f"{ALARM}not confirmed",
}
MATCH_TIP = "Move the IHC point of the selected pair to where the two images match best"
ADVICE = (
    "Choose places that you can find again on both slides, such as a vessel, a duct or a corner of "
    "the tissue, spread over the whole section."
)


class PairsPanel(QWidget):
    """Shows a session's pairs and lets them be chosen, switched off, deleted."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.table = _table()
        self.problems = QLabel()
        self.problems.setWordWrap(True)
        self.problems.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.problems)
        layout.addLayout(self._buttons())
        self.table.itemSelectionChanged.connect(self._row_selected)
        self.table.itemChanged.connect(self._use_changed)
        self.table.itemDoubleClicked.connect(lambda _: session.go_to())

    def refresh(self) -> None:
        """Show the model's state."""
        picker = self._session.picker
        picks, found = picker.picks, picker.assessment
        with quietly(self.table):
            self.table.setRowCount(len(picks.pairs))
            for row, pair in enumerate(picks.pairs):
                self._fill(row, pair, found)
                if pair.name == picks.selected:
                    self.table.selectRow(row)
            if picks.current is None:
                self.table.clearSelection()
        said = found.problems if picks.pairs else (ADVICE,)
        self.problems.setText("\n".join(f"• {one}" for one in said))
        self.problems.setVisible(bool(said))
        self.undo.setEnabled(picker.can_undo)
        self.redo.setEnabled(picker.can_redo)
        waiting = bool(picks.proposals)
        for widget in (self.accept, self.accept_all, self.reject_all):
            widget.setEnabled(waiting)
        for widget in (self.go, self.delete, self.match):
            widget.setEnabled(picks.current is not None)
        self.suggest.setEnabled(self._session.suggesting is None)
        self.suggest.setText(
            "Suggest pairs (G)" if self._session.suggesting is None else "Looking for pairs …"
        )

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Alarm in a red that the other theme can show."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self.refresh()

    def _buttons(self) -> QGridLayout:
        session, picker = self._session, self._session.picker
        self.undo = button("Undo (Ctrl+Z)", picker.undo)
        self.redo = button("Redo (Ctrl+Shift+Z)", picker.redo)
        self.go = button("Go to pair (J)", session.go_to)
        self.delete = button("Delete pair (Del)", session.delete)
        self.match = button("Match here (M)", session.match_here, MATCH_TIP)
        self.marks = button("Marks on/off (H)", session.toggle_marks)
        self.suggest = button("Suggest pairs (G)", session.suggest)
        self.accept = button("Accept (Enter)", session.accept)
        self.accept_all = button("Accept all (A)", picker.accept_all)
        self.reject_all = button("Reject all (Shift+A)", picker.reject_suggestions)
        places = (
            (self.go, self.delete),
            (self.undo, self.redo),
            (self.suggest, self.accept),
            (self.accept_all, self.reject_all),
            (self.match, self.marks),
        )
        grid = QGridLayout()
        for row, widgets in enumerate(places):
            for column, widget in enumerate(widgets):
                grid.addWidget(widget, row, column)
        return grid

    def _fill(self, row: int, pair: PickedPair, found: Assessment) -> None:
        """Write one pair into one row."""
        color = color_of(pair.name, row) if pair.enabled else OFF_COLOR
        name = self._item(row, NAME, pair.name)
        name.setData(Qt.ItemDataRole.DecorationRole, QColor(color))
        use = self._item(row, USE, "")
        if pair.is_whole and not pair.proposal:
            use.setFlags(use.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            state = Qt.CheckState.Checked if pair.enabled else Qt.CheckState.Unchecked
            use.setData(Qt.ItemDataRole.CheckStateRole, state)
        else:
            use.setData(Qt.ItemDataRole.CheckStateRole, None)
        off = found.residual_um.get(pair.name, found.aside_um.get(pair.name))
        tells = found.counted >= FEWEST_PAIRS or pair.name in found.aside_um
        self._item(row, FIT, _um(off) if tells else "–" if off is not None else "")
        self._item(row, LEFT_OUT, _um(found.left_out_um.get(pair.name)))
        state = self._item(row, STATE, _state(pair, found))
        state.setToolTip(pair.note)
        alarming = state.text().startswith(ALARM)
        state.setForeground(
            QBrush(alarm_color(self._session.canvas.viewer)) if alarming else QBrush()
        )
        bold = QFont(state.font())
        bold.setBold(alarming)
        state.setFont(bold)

    def _item(self, row: int, column: int, text: str) -> QTableWidgetItem:
        """Return the item of a cell, made on first use, showing ``text``."""
        item = self.table.item(row, column)
        if item is None:
            item = QTableWidgetItem()
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            self.table.setItem(row, column, item)
        item.setText(text)
        return item

    def _row_selected(self) -> None:
        rows = {index.row() for index in self.table.selectedIndexes()}
        pairs = self._session.picker.picks.pairs
        if len(rows) == 1 and (row := rows.pop()) < len(pairs):
            self._session.picker.select(pairs[row].name)

    def _use_changed(self, item: QTableWidgetItem) -> None:
        if item.column() != USE:
            return
        pair = self._session.picker.picks.pairs[item.row()]
        if (item.checkState() == Qt.CheckState.Checked) != pair.enabled:
            self._session.picker.toggle(pair.name)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(HEADERS))
    for column, (title, tip) in HEADERS.items():
        item = QTableWidgetItem(title)
        item.setToolTip(tip)
        table.setHorizontalHeaderItem(column, item)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(STATE, QHeaderView.ResizeMode.Stretch)
    table.verticalHeader().hide()
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setMinimumHeight(208)  # the six pairs that are advised
    return table


def _um(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} µm"


def _state(pair: PickedPair, found: Assessment) -> str:
    """Return what is to be said of one pair."""
    if not pair.is_whole:
        return "IHC place?"
    if pair.proposal:
        return PROPOSED[pair.proposal]
    if not pair.enabled:
        return "not used"
    if pair.name in found.doubtful:
        return f"{ALARM}worst: look again" if pair.name == found.worst else f"{ALARM}look again"
    if pair.name == found.worst:
        return "worst"
    return f"{ALARM}look again" if pair.name in found.names_at_fault else ""
