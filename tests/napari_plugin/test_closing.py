"""What is kept when the dock or the window is closed in the middle of something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from registration.pieces.drawn import read_drawn
from registration.synth import SynthCase
from tests.napari_plugin.conftest import Hand

pytestmark = [pytest.mark.gui, pytest.mark.slow]

CORNERS = [(200.0, 150.0), (420.0, 160.0), (430.0, 380.0), (210.0, 400.0)]


@pytest.mark.parametrize("close", ["dock", "window"])
def test_an_outline_outlives_dock_and_window(
    hand: Callable[..., Hand],
    pair: SynthCase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    close: str,
) -> None:
    working = hand(pair.he, pair.ihc, tmp_path / "pairs.csv")
    working.outline(CORNERS)

    if close == "dock":
        working.viewer.window.remove_dock_widget(working.widget)
    else:
        working.viewer.close()

    [[ring]] = read_drawn(tmp_path / "pairs_he.geojson").left_out
    np.testing.assert_allclose(ring[: len(CORNERS)], CORNERS, atol=3)
    assert "kept as it stood" in caplog.text
