"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real slides, landmarks and patches; they are never part of this repository."""
    if not REAL_DATA.is_dir():
        pytest.skip("real slides are not at hand: no shared/data folder beside the checkout")
    return REAL_DATA
