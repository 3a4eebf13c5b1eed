"""A run goes on with the pairs it was begun with; what differs is named. Pixels are decoded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.data.holdout import GRADES
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.errors import CheckpointError
from training.run.history import Listener
from training.run.loop import train
from training.run.machine import with_stain
from training.run.preparation import prepare, trainable_pairs
from training.settings.config import TrainConfig

WritePairs = Callable[..., Path]
SmallConfig = Callable[..., TrainConfig]


def other_pairs(root: Path, *, what: str) -> None:
    """Change a dataset of BCI's layout: a pair gone, a pair added, another image of the same name."""
    for domain in ("HE", "IHC"):
        paths = sorted((root / domain / "train").iterdir())
        if what == "gone":
            paths[1].unlink()
        elif what == "new":
            paths[0].rename(paths[0].with_name("99999_train_0.png"))
        else:
            Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(paths[2])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("gone", r"1 are missing \(train/00001_train_1\+\)"),
        ("new", r"1 are missing \(train/00000_train_0\); 1 are new \(train/99999_train_0\)"),
        ("changed", r"1 have other pixels \(train/00002_train_2\+\)"),
    ],
)
def test_resuming_with_other_pairs_is_refused(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, what: str, said: str
) -> None:
    root = write_pairs(tmp_path / "data", 6)
    config = small_config(epochs=(1, 0), val_fraction=0.0)
    train(config, open_dataset(root), tmp_path / "run")
    other_pairs(root, what=what)

    with pytest.raises(CheckpointError, match=f"was trained on other pairs: {said}"):
        train(config, open_dataset(root), tmp_path / "run", resume=True)


@pytest.mark.parametrize("suffix", [".bmp", ".tif"])
def test_other_pixels_in_a_file_of_the_same_size_are_noticed(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, suffix: str
) -> None:
    root = write_pairs(tmp_path / "data", 4)
    for path in sorted(root.glob("*/train/*.png")):
        Image.open(path).save(path.with_suffix(suffix))
        path.unlink()
    config = small_config(epochs=(1, 0), val_fraction=0.0)
    train(config, open_dataset(root), tmp_path / "run")
    changed = next((root / "IHC" / "train").glob("00002*"))
    size = changed.stat().st_size
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(changed)
    assert changed.stat().st_size == size

    with pytest.raises(CheckpointError, match=r"1 have other pixels \(train/00002_train_2\+\)"):
        train(config, open_dataset(root), tmp_path / "run", resume=True)


def test_the_same_pixels_in_other_files_are_the_same_pairs(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    root = write_pairs(tmp_path / "data", 4)
    train(small_config(epochs=(1, 0)), open_dataset(root), tmp_path / "run")
    for path in sorted(root.glob("*/train/*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()

    longer = small_config(epochs=(2, 0))
    assert train(longer, open_dataset(root), tmp_path / "run", resume=True).epochs == 2


@pytest.mark.parametrize(
    ("column", "settings", "refused"),
    [
        ("shift_px", {"confidence": True}, True),
        ("null_percentile", {"confidence": True}, True),
        ("grade", {"confidence": True, "grade_weights": True}, True),
        ("grade", {"confidence": True}, False),
        ("shift_px", {"confidence": False}, False),
        ("patient", {"confidence": True}, False),
    ],
)
def test_resuming_with_other_weights_of_pairs_is_refused(
    tmp_path: Path,
    write_pairs: WritePairs,
    small_config: SmallConfig,
    column: str,
    settings: dict[str, Any],
    refused: bool,
) -> None:
    root = write_pairs(tmp_path / "data", 4)
    names = sorted(path.stem for path in (root / "HE" / "train").iterdir())
    columns = ("name", "shift_px", "null_percentile", "grade", "patient")
    rows = {name: [name, "2", "90", "gold", "a"] for name in names}

    def write_table(order: list[str]) -> None:
        lines = [",".join(row) for row in (columns, *(rows[name] for name in order))]
        (root / "patches.csv").write_text("\n".join(lines))

    def config(epochs: int) -> TrainConfig:
        return small_config(epochs=(epochs, 0), val_fraction=0.0, **settings)

    write_table(names)
    train(config(1), open_dataset(root), tmp_path / "run")
    write_table(names[::-1])
    assert train(config(2), open_dataset(root), tmp_path / "run", resume=True).epochs == 2
    changed = {"shift_px": "9", "null_percentile": "70", "grade": "bronze", "patient": "b"}
    rows[names[1]][columns.index(column)] = changed[column]
    write_table(names)

    if refused:
        said = r"1 have other figures of their alignment \(train/00001_train_1\+\)"
        with pytest.raises(CheckpointError, match=said):
            train(config(3), open_dataset(root), tmp_path / "run", resume=True)
    else:
        assert train(config(3), open_dataset(root), tmp_path / "run", resume=True).epochs == 3


def test_resuming_with_pairs_that_were_held_out_is_refused(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    root = write_pairs(tmp_path / "data", 6)
    config = small_config(epochs=(1, 0), val_fraction=0.34)
    train(config, open_dataset(root), tmp_path / "run")
    paths = sorted((root / "HE" / "train").iterdir())
    # Each patient has one of the two pairs that were held out, so that one of them is trained on.
    rows = [f"{path.stem},{'ab'[number // 2 % 2]}" for number, path in enumerate(paths)]
    (root / "patches.csv").write_text("\n".join(["name,patient", *rows]))

    with pytest.raises(CheckpointError, match="were held out and would be trained on"):
        train(config, open_dataset(root), tmp_path / "run", resume=True)


def test_pixels_are_decoded_once_whatever_the_seed(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig
) -> None:
    dataset = open_dataset(write_pairs(tmp_path / "data", 6))
    found = []
    for seed, share in ((0, 0.3), (1, 0.3), (1, 0.5), (1, 0.0)):
        config = small_config(seed=seed, val_fraction=share)
        data = prepare(config, dataset, make_fabric(config), Listener(), tmp_path / "cache")
        found.append((data.train, data.held_out))
        assert sorted(data.train + data.held_out) == list(range(6))
        names = [dataset.pairs[place].name for place in data.train]
        assert [data.cache.names[place] for place in data.train] == names

    assert len(set(found)) == 4
    assert len(list((tmp_path / "cache").glob("*/index.json"))) == 1


@pytest.mark.parametrize("least", ["silver", "gold"])
def test_pixels_are_decoded_once_whatever_the_grade(
    tmp_path: Path, write_pairs: WritePairs, small_config: SmallConfig, least: str
) -> None:
    root = write_pairs(tmp_path / "data", 6)
    grades = {
        path.stem: GRADES[n % 3] for n, path in enumerate(sorted((root / "HE/train").iterdir()))
    }
    rows = [f"{name},{grade}" for name, grade in grades.items()]
    (root / "patches.csv").write_text("\n".join(["name,grade", *rows]))

    for grade in (least, "bronze"):
        config = small_config(grade=grade, val_fraction=0.0)
        data = prepare(config, open_dataset(root), make_fabric(config), Listener())
        good = GRADES[GRADES.index(grade) :]
        kept = [name for name, found in grades.items() if found in good]
        assert [data.cache.names[place] for place in data.train] == kept

    assert len(list(root.glob(".bci-pipeline-cache/*/index.json"))) == 1


@pytest.mark.parametrize("first", ["all", "HER2,KI67"])
def test_one_stain_is_read_from_the_pixels_of_all(
    tmp_path: Path, write_stains: WritePairs, small_config: SmallConfig, first: str
) -> None:
    root = write_stains(tmp_path / "data", 6)

    for stain in (first, "HER2", "KI67"):
        dataset, config = with_stain(open_dataset(root), small_config(stain=stain))
        data = prepare(config, dataset, make_fabric(config), Listener())
        for place, pair in enumerate(trainable_pairs(dataset)):
            assert np.array_equal(data.cache.pair(place), np.stack(pair.read()))

    assert len(list(root.glob(".bci-pipeline-cache/*/index.json"))) == 1
