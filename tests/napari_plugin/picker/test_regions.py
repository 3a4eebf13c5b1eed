"""Outlines that a person draws, as files that ``register --pieces`` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_plugin.picker.regions import Region, RegionFiles, Regions
from registration.pieces.drawn import read_drawn

SQUARE = np.array([[100.0, 50.0], [300.0, 50.0], [300.0, 220.0], [100.0, 220.0]])
ORIGINS = {"he": (7, 11), "ihc": (0, 0)}


def test_outlines_lie_beside_the_landmarks_as_register_reads_them(tmp_path: Path) -> None:
    files = RegionFiles(tmp_path / "case_landmarks.csv", ORIGINS)
    assert files.argument(files.read()) is None
    drawn = [Region("exclude", SQUARE), Region("piece 2", SQUARE + 400)]

    files.store(Regions().changed("he", (), drawn))

    path = tmp_path / "case_landmarks_he.geojson"
    assert files.argument(files.read()) == f"{path},"
    read = read_drawn(path, ORIGINS["he"])
    np.testing.assert_allclose(read.left_out[0][0][:4], SQUARE)
    np.testing.assert_allclose(read.pieces["piece 2"][0][0][:4], SQUARE + 400)
    assert [one.kind for one in files.read().he] == ["exclude", "piece 2"]
    assert files.read().ihc == ()


def test_the_last_outline_removed_leaves_no_file(tmp_path: Path) -> None:
    files = RegionFiles(tmp_path / "pairs.csv", ORIGINS)
    region = Region("control", SQUARE)
    files.store(Regions(ihc=(region,)))

    files.store(Regions(ihc=(region,)).changed("ihc", [region]))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["exclude", "control", "piece 1"])
def test_what_was_read_is_written_unchanged(tmp_path: Path, kind: str) -> None:
    files = RegionFiles(tmp_path / "pairs.csv", ORIGINS)
    files.store(Regions(he=(Region(kind, SQUARE),)))
    before = (tmp_path / "pairs_he.geojson").read_bytes()

    files.store(files.read())

    assert (tmp_path / "pairs_he.geojson").read_bytes() == before
