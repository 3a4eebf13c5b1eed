"""Outlines that a person draws, as files that ``register --pieces`` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_plugin.picker.regions import Region, Regions
from registration.pieces.drawn import read_drawn

SQUARE = np.array([[100.0, 50.0], [300.0, 50.0], [300.0, 220.0], [100.0, 220.0]])
ORIGINS = {"he": (7, 11), "ihc": (0, 0)}


def test_outlines_lie_beside_the_landmarks_as_register_reads_them(tmp_path: Path) -> None:
    landmarks = tmp_path / "case_landmarks.csv"
    regions = Regions(landmarks, ORIGINS)
    assert regions.argument is None

    regions.add("he", Region("exclude", SQUARE))
    regions.add("he", Region("piece 2", SQUARE + 400))

    path = tmp_path / "case_landmarks_he.geojson"
    assert regions.argument == f"{path},"
    drawn = read_drawn(path, ORIGINS["he"])
    np.testing.assert_allclose(drawn.left_out[0][:4], SQUARE)
    np.testing.assert_allclose(drawn.pieces["piece 2"][0][:4], SQUARE + 400)
    again = Regions(landmarks, ORIGINS)
    assert [one.kind for one in again.on("he")] == ["exclude", "piece 2"]
    assert again.on("ihc") == ()


def test_the_last_outline_removed_leaves_no_file(tmp_path: Path) -> None:
    regions = Regions(tmp_path / "pairs.csv", ORIGINS)
    regions.add("ihc", Region("control", SQUARE))

    regions.remove("ihc", 0)

    assert regions.argument is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["exclude", "control", "piece 1"])
def test_what_was_read_is_written_unchanged(tmp_path: Path, kind: str) -> None:
    Regions(tmp_path / "pairs.csv", ORIGINS).add("he", Region(kind, SQUARE))
    before = (tmp_path / "pairs_he.geojson").read_bytes()

    again = Regions(tmp_path / "pairs.csv", ORIGINS)
    again.add("he", Region("exclude", SQUARE))
    again.remove("he", 1)

    assert (tmp_path / "pairs_he.geojson").read_bytes() == before
