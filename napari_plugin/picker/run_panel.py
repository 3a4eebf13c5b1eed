"""Registration from the window: settings, the same as a command line, progress, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari.utils import progress
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.jobs import (
    DEFAULT_BLOCKS,
    Job,
    JobProgress,
    RunRequest,
    time_left,
    way_gone,
)
from napari_plugin.kept import Patient
from napari_plugin.picker.session import Session
from napari_plugin.widgets import PathField, ReadOnlyText, StillComboBox, button
from registration.result import RECORD_NAME, REPORT_NAME

RECIPES = {"best result": "default", "the paper's steps": "paper"}
BLOCKS = (DEFAULT_BLOCKS, "3x3", "2x2", "1x1", "6x6", "8x8")
BAR_STEPS = 1000
CLOSING_S = 2.0
"""How long a registration may take to put its things away when the window closes; it goes on later."""
REPLACE_HINT = "tick “replace an earlier run in this folder”"
UNSAVED = (
    "Not started: pairs or outlines are not saved. Choose another file with “Save as …” first."
)
OUTCOMES = {
    0: "Registered.",
    1: "Not trustworthy: see the reasons above. Add or correct pairs, then register again.",
    2: "Not registered.",
}


class RunPanel(QWidget):
    """Starts ``bci-pipeline register`` in a process of its own, and follows it."""

    def __init__(self, session: Session, review: Callable[[Path], object]) -> None:
        super().__init__()
        self._session = session
        self._review = review
        self.job: Job | None = None
        self._begun = 0.0
        self._request: RunRequest | None = None
        self._has_result = False
        """Whether what lies in the run folder was made from here."""
        self._activity: progress | None = None
        self._disk = Patient()
        self.recipe = StillComboBox()
        self.recipe.addItems(list(RECIPES))
        self.blocks = StillComboBox()
        self.blocks.addItems(BLOCKS)
        self.out = PathField("run folder", folder=True)
        # The file of landmarks tells cases and stains apart.
        name = session.picker.journal.path.stem.removesuffix("_landmarks")
        self.out.set(Path.cwd() / "registered" / name)
        self.image = QCheckBox("write the registered slide")
        self.image.setChecked(True)
        self.overwrite = QCheckBox("replace an earlier run in this folder")
        self.command = ReadOnlyText()
        self.command.setFixedHeight(84)
        self.start = button("Register", self.run)
        self.cancel = button("Cancel", self._cancel)
        self.review = button("Review the result", self._open_review)
        self.bar = QProgressBar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.report = button("Open the report", self._open_report)
        self.doubt = QLabel()
        self.doubt.setWordWrap(True)
        self._lay_out()
        for choice in (self.recipe, self.blocks):
            choice.currentIndexChanged.connect(lambda _: self.refresh())
        self.out.line.textChanged.connect(lambda _: self.refresh())
        self.image.toggled.connect(lambda _: self.refresh())
        self.overwrite.toggled.connect(lambda _: self.refresh())

    @property
    def request(self) -> RunRequest:
        """The registration that the button starts."""
        return replace(
            self._session.run_request(Path(self.out.text or ".")),
            recipe=RECIPES[self.recipe.currentText()],
            blocks=self.blocks.currentText(),
            image=self.image.isChecked(),
            overwrite=self.overwrite.isChecked(),
        )

    def refresh(self) -> None:
        """Show the command and what can be done now."""
        request, running = self.request, self.job is not None
        if self.command.toPlainText() != request.shown:
            self.command.setPlainText(request.shown)
        self.start.setText("Register" if request.landmarks else "Register without landmarks")
        self.start.setEnabled(not running)
        self.cancel.setEnabled(self.job is not None and not self.job.was_cancelled)
        finished, reported = self._there(request.out)
        self.review.setEnabled(finished and not running)
        own = self._has_result and self._request is not None and self._request.out == request.out
        self.review.setText("Review the result" if own else "Review the earlier run")
        self.report.setVisible(reported and not running)
        assessed = self._session.picker.assessment
        odd = assessed.problems if request.landmarks else ()
        self.doubt.setText("\n".join(f"• {one}" for one in odd))
        self.doubt.setVisible(bool(odd))

    def _there(self, out: Path) -> tuple[bool, bool]:
        """Return whether a run folder holds a registration and a report, as far as its drive answers."""
        names = RECORD_NAME, REPORT_NAME
        try:
            record, report = self._disk.do(lambda: [(out / name).is_file() for name in names])
        except OSError:
            return False, False
        return record, report

    def run(self) -> None:
        """Start the registration."""
        if self.job is not None:
            return
        self._session.outlining.put_away()  # what is being drawn counts, too
        if not self._session.picker.is_saved:
            self.status.setText(UNSAVED)
            return
        self._request = self.request
        self._has_result = False
        self.job = Job(self._request.command)
        self._activity = progress(total=0, desc="registration")
        self._begun = time.monotonic()
        self.bar.setRange(0, 0)
        self.status.setText("Starting …")
        self.refresh()

    def poll(self) -> None:
        """Show what the process has said since the last call, and what a drive that hung holds."""
        if self._disk.came_back():
            self.refresh()
        if self.job is None:
            return
        for news in self.job.news():
            if not self.job.was_cancelled:
                self._show_progress(news.stage, news.done, news.total)
        if self.job.is_deaf:
            self.job.close(grace_s=0.0)
        if not self.job.is_running:
            self._ended(self.job)

    def close_job(self) -> None:
        """End a registration that still runs, with all its workers."""
        job, self.job = self.job, None
        if job is not None:
            job.close(CLOSING_S)
        self._close_activity()

    def _show_progress(self, stage: str, done: int, total: int) -> None:
        assert self._request is not None
        gone = way_gone(JobProgress(stage, done, total), self._request.image)
        left = time_left(gone, time.monotonic() - self._begun)
        self.bar.setRange(0, BAR_STEPS)
        self.bar.setValue(max(self.bar.value(), round(gone * BAR_STEPS)))
        self.status.setText(f"{stage}: {done} of {total}{', ' if left else ''}{left}")
        if self._activity is not None:
            self._activity.set_description(stage)
            self._activity.total = BAR_STEPS
            self._activity.n = self.bar.value()
            self._activity.refresh()

    def _ended(self, job: Job) -> None:
        """Say how it went."""
        job.news()
        self.job = None
        self._close_activity()
        code = job.exit_code
        self.bar.setRange(0, 1)
        self.bar.setValue(int(code in (0, 1)))
        if job.was_cancelled:
            text = "Cancelled; “Register” goes on where it stopped."
        else:
            said = [*job.output.splitlines(), *job.said]
            outcome = OUTCOMES.get(code if code is not None else -1, "It ended unexpectedly.")
            text = "\n".join([*said[-12:], outcome]).replace("give --overwrite", REPLACE_HINT)
            self._has_result = code in (0, 1)
        self.status.setText(text)
        self.refresh()

    def _cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()
            self.cancel.setEnabled(False)
            self.status.setText("Cancelling …")

    def _close_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    def _open_review(self) -> None:
        self._review(self.request.out)

    def _open_report(self) -> None:
        report = (self.request.out / REPORT_NAME).absolute()
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(report)))

    def _lay_out(self) -> None:
        form = QFormLayout()
        self.recipe.setToolTip(
            "The paper's steps are for comparison; the best result is the default"
        )
        self.blocks.setToolTip("Rows x columns that the non-rigid registration cuts the slide into")
        form.addRow("How", self.recipe)
        form.addRow("Blocks", self.blocks)
        form.addRow("Run folder", self.out)
        form.addRow("", self.image)
        form.addRow("", self.overwrite)
        buttons = QHBoxLayout()
        for widget in (self.start, self.cancel, self.review):
            buttons.addWidget(widget)
        copy = button(
            "Copy", lambda: QGuiApplication.clipboard().setText(self.command.toPlainText())
        )
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.doubt)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addWidget(self.report, alignment=Qt.AlignmentFlag.AlignLeft)
        layout.addStretch(1)
        layout.addWidget(QLabel("The same in a terminal:"))
        layout.addWidget(self.command)
        layout.addWidget(copy, alignment=Qt.AlignmentFlag.AlignRight)
