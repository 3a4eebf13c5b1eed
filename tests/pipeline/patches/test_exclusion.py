"""What a person paints over on a slide is in no patch, from ``register --pieces`` to the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.dataset.table import read_table
from registration.geometry import Size
from registration.landmarks.landmarks import read_landmarks
from registration.synth import SynthSettings, load_truth, write_case

PATCH = 256
HALF, EDGE, AWAY = 120, 16, 230
"""Half a side of what is painted over, and what its edge may be off by on the map of tissue;
how far it lies left and up, or right and down, of the middle of the tissue; px."""


@pytest.mark.slow
def test_no_patch_touches_what_is_painted_over_on_either_slide(tmp_path: Path) -> None:
    settings = SynthSettings(size=Size(1920, 1792), seed=21, rotation_deg=15.0, picks=8)
    case = write_case(tmp_path / "slides", settings, name="p1")
    truth = read_landmarks(case.truth)
    on_he, on_ihc = np.median(truth.he, axis=0) - AWAY, np.median(truth.ihc, axis=0) + AWAY
    drawn = [paint(tmp_path / f"{name}.geojson", at) for name, at in (("a", on_he), ("b", on_ihc))]

    run, dataset = tmp_path / "run", tmp_path / "dataset"
    words = ["--landmarks", case.landmarks, "--blocks", "2x2", "--format", "none", "--workers", "1"]
    pieces = ["--pieces", ",".join(map(str, drawn))]
    command("register", case.he, case.ihc, *words, *pieces, "--out", run)
    command("patch", run, "--out", dataset, "--size", PATCH, "--workers", "1")

    to_he = load_truth(case.folder)
    kept = {True: 0, False: 0}
    for row in read_table(dataset):
        places = np.array([row.x, row.y]) + np.stack(np.mgrid[0:PATCH:8, 0:PATCH:8], -1).reshape(
            -1, 2
        )
        touched = covers(on_he, to_he(places)) or covers(on_ihc, places)
        kept[touched] += row.kept
    assert kept[False] >= 5
    assert kept[True] == 0


def paint(path: Path, middle: NDArray[np.float64]) -> Path:
    ring = middle + HALF * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    painted = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [(ring + 0.5).tolist()]},
        "properties": {"classification": {"name": "exclude"}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [painted]}))
    return path


def covers(middle: NDArray[np.float64], places: NDArray[np.float64]) -> bool:
    return bool((np.abs(places - middle).max(axis=1) < HALF - EDGE).any())


def command(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (0, 1), result.output
