"""How a call shows its progress: bars in a notebook and on a terminal, else plain lines."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.cli.progress import progress_on_stderr
from registration.execution import Progress, no_progress

ShowProgress = bool | Progress
"""``True`` shows progress, ``False`` does not, a function is called with stage, done and total."""


@contextmanager
def reporting(progress: ShowProgress) -> Iterator[Progress]:
    """Give the function that a stage reports to."""
    if callable(progress):
        yield progress
    elif not progress:
        yield no_progress
    elif in_notebook():
        yield NotebookBars(_shown_html)
    else:
        with progress_on_stderr() as report:
            yield report


class NotebookBars:
    """One bar per stage in the output of a notebook's cell, without any widget."""

    def __init__(self, display: Callable[[str], Any]) -> None:
        self._stages: dict[str, tuple[int, int]] = {}
        self._show = display("")

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage."""
        self._stages[stage] = done, total
        self._show(self.page())

    def page(self) -> str:
        """Return all bars as HTML."""
        rows = (
            f"<tr><td>{html.escape(stage)}</td><td><progress value='{done}' max='{max(total, 1)}'>"
            f"</progress></td><td>{done}/{total}</td></tr>"
            for stage, (done, total) in self._stages.items()
        )
        return f"<table>{''.join(rows)}</table>"


def in_notebook() -> bool:
    """Return whether a notebook's kernel runs this."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _shown_html(page: str) -> Callable[[str], None]:
    """Show HTML in the output of a cell, and return what replaces it."""
    from IPython.display import HTML, display  # there where a notebook is

    shown = display(HTML(page), display_id=True)

    def replace(newer: str) -> None:
        shown.update(HTML(newer))

    return replace
