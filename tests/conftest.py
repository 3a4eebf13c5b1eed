"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from benchmarks.browser import Browser

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real slides, landmarks and patches; they are never part of this repository."""
    if not REAL_DATA.is_dir():
        pytest.skip("real slides are not at hand: no shared/data folder beside the checkout")
    return REAL_DATA


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, one for all tests of pages."""
    # Needs dask's web sockets, which a machine that only trains does without.
    from benchmarks.browser import Browser, find_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on this machine to open pages in (.ci/system-packages gui)")
    with Browser() as opened:
        yield opened
