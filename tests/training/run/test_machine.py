"""What a run asks of its machine before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.models.trainable import COMPILERS
from training.run.machine import MOST_GRAPHS, compiling_pays, fitted
from training.settings.sources import resolve

WritePairs = Callable[..., Path]


@pytest.mark.parametrize(
    ("given", "crop", "side", "said"),
    [
        ({"model": "cyclegan"}, 32, 32, 1),  # its own 512 px are more than the images have
        ({"model": "cyclegan", "crop": 16}, 16, 16, 0),
        ({"model": "cyclegan", "crop": 0}, 0, 48, 0),
        ({"model": "pix2pix"}, 0, 48, 0),
        ({"model": "pix2pix", "crop": 24}, 24, 24, 0),
    ],
)
def test_crops_fit_the_images(
    tmp_path: Path,
    write_pairs: WritePairs,
    given: dict[str, object],
    crop: int,
    side: int,
    said: int,
) -> None:
    dataset = open_dataset(write_pairs(tmp_path, 3, 32, 48))
    notes: list[str] = []

    config, side_px = fitted(resolve(given, environment={}), dataset, notes.append)

    assert (config.crop, side_px, len(notes)) == (crop, side, said)


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("Cannot find a working triton installation.")

    monkeypatch.setitem(COMPILERS, "cpu", broken)
    fabric = make_fabric(resolve({"device": "cpu"}, environment={}))
    notes: list[str] = []

    assert not compiling_pays(fabric, 1, notes.append)
    assert len(notes) == 1
    assert "working triton" in notes[0]
    assert "--set compile=false" in notes[0]


def test_many_sizes_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMPILERS, "cpu", "eager")
    fabric = make_fabric(resolve({"device": "cpu"}, environment={}))
    notes: list[str] = []

    assert compiling_pays(fabric, MOST_GRAPHS, notes.append)
    assert notes == []
    assert not compiling_pays(fabric, MOST_GRAPHS + 1, notes.append)
    assert "--crop makes them one size" in notes[0]
