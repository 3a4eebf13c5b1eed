"""Progress as plain lines: every tenth and every minute, with the time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.cli import progress
from pipeline.cli.progress import plain_lines


def test_plain_lines_say_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    written = io.StringIO()
    report = plain_lines(Console(file=written, width=200), {"images": "scoring images"})

    for done in range(1, 41):
        now[0] += 30.0
        report("images", done, 1000)
    now[0] += 1.0
    report("images", 1000, 1000)

    lines = written.getvalue().splitlines()
    assert lines[:2] == ["scoring images: 1/1000", "scoring images: 3/1000, 8 h 18 min left"]
    assert len(lines) == 21, "every other image, a minute apart, and the last"
    assert lines[-1] == "scoring images: 1000/1000"
