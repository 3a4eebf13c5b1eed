"""Fixtures of the plugin's tests: a synthetic pair, and windows only where there is a display."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

from registration.geometry import Size
from registration.landmarks import Landmarks, read_landmarks
from registration.synth import SynthCase, SynthSettings, write_case

# Tests neither read nor write the napari settings of whoever runs them.
os.environ.setdefault("NAPARI_CONFIG", "")

NO_DISPLAY = (
    "no display: the tests of the napari window did not run. Install Xvfb and use "
    "`.ci/with-display python -m pytest`, as `make test` does"
)
NO_NAPARI = "napari is not installed: pip install 'bci-pipeline[napari]'"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that open a window where that cannot work, and say why."""
    missing_display = sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    for item in items:
        if item.get_closest_marker("gui") is None:
            continue
        if find_spec("napari") is None:
            item.add_marker(pytest.mark.skip(reason=NO_NAPARI))
        elif missing_display:
            item.add_marker(pytest.mark.skip(reason=NO_DISPLAY))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    """Two genuine NDPI slides, neither square nor of one size, the sections turned by 23 degrees."""
    settings = SynthSettings(size=Size(1280, 1024), seed=5, rotation_deg=23.0, truth_points=200)
    return write_case(tmp_path_factory.mktemp("pair"), settings, name="p1")


@pytest.fixture(scope="session")
def exact(pair: SynthCase) -> Landmarks:
    """Two hundred exact pairs in the tissue of ``pair``."""
    return read_landmarks(pair.truth)
