"""What a run asks of its machine before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.errors import MemoryFullError
from training.models.trainable import COMPILERS
from training.run import loop, machine
from training.run.machine import MOST_GRAPHS, check_memory, compiling_pays, fitted
from training.settings.config import TrainConfig
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


@pytest.mark.parametrize(("free_gib", "said"), [(80, 0), (7.2, 1)])
def test_memory_of_the_card_is_compared_with_what_a_step_needs(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, said: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free_gib * 2**30), 0))
    notes: list[str] = []

    check_memory(TrainConfig(), 1024, torch.device("cuda"), True, notes.append)

    assert len(notes) == said
    with pytest.raises(MemoryFullError, match=r"needs about"):
        check_memory(TrainConfig(), 4096, torch.device("cuda"), True, notes.append)


@pytest.mark.parametrize(("gib", "said"), [(80, 0), (16, 1)])
def test_memory_of_a_machine_without_a_gpu_is_compared_too(
    monkeypatch: pytest.MonkeyPatch, gib: int, said: int
) -> None:
    monkeypatch.setattr(machine, "usable_memory", lambda: gib * 2**30)
    cpu, notes = torch.device("cpu"), list[str]()

    check_memory(TrainConfig(), 1024, cpu, False, notes.append)

    assert len(notes) == said
    assert all("needs about 16.4 GiB and 16.0 GiB are in this machine" in note for note in notes)
    monkeypatch.setattr(machine, "usable_memory", lambda: 8 * 2**30)
    with pytest.raises(
        MemoryFullError, match=r"8\.0 GiB are in this machine\. Give --set recompute"
    ):
        check_memory(TrainConfig(), 1024, cpu, False, notes.append)


def test_nothing_is_decoded_for_a_run_that_does_not_fit(
    tmp_path: Path, write_pairs: WritePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object) -> None:
        raise MemoryFullError("needs more")

    monkeypatch.setattr(loop, "check_memory", short)
    dataset = open_dataset(write_pairs(tmp_path / "data"))

    with pytest.raises(MemoryFullError, match="needs more"):
        loop.train(
            TrainConfig(device="cpu"), dataset, tmp_path / "run", cache_parent=tmp_path / "c"
        )

    assert not (tmp_path / "c").exists()


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
