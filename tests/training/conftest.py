"""Toy pairs and small settings for the training tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.models.generators import GENERATORS
from training.settings.config import TrainConfig

WritePairs = Callable[..., Path]
SmallConfig = Callable[..., TrainConfig]
SHALLOW = {
    "resnet_9blocks": {"blocks": 1},
    "unet_256": {"downs": 5},
    "cyclegan": {"blocks": 1},
    "pix2pixhd": {"blocks": 1, "downs": 2},
}


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Let every test draw the same images and weights in each run, whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def write_pairs() -> WritePairs:
    """Write pairs in BCI's layout: smooth noise, and its inverse with rotated channels as IHC."""

    def write(root: Path, count: int = 6, height: int = 32, width: int = 48) -> Path:
        for i in range(count):
            random = np.random.default_rng(i)
            coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            he = np.asarray(image)
            for domain, pixels in (("HE", he), ("IHC", 255 - he[..., [1, 2, 0]])):
                folder = root / domain / "train"
                folder.mkdir(parents=True, exist_ok=True)
                level = f"{i % 4}+" if i % 4 else "0"
                Image.fromarray(pixels).save(folder / f"{i:05d}_train_{level}.png")
        return root

    return write


@pytest.fixture(scope="session")
def write_stains() -> WritePairs:
    """Write pairs of two stains in the layout ``multi``: H&E inverted, and its channels rotated."""

    def write(root: Path, count: int = 6, side: int = 32) -> Path:
        for i in range(count):
            coarse = np.random.default_rng(i).integers(
                0, 256, (side // 8,) * 2 + (3,), dtype=np.uint8
            )
            image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
            he = np.asarray(image)
            split = "test" if i % 3 == 2 else "train"
            for folder, pixels in (("HE", he), ("HER2", 255 - he), ("KI67", he[..., [1, 2, 0]])):
                path = root / folder / split / f"{i:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        return root

    return write


@pytest.fixture(scope="session")
def small_config() -> SmallConfig:
    """Settings of a run that takes a second or two."""

    def make(**changes: object) -> TrainConfig:
        settings: dict[str, object] = {
            "ngf": 2,
            "ndf": 2,
            "crop": 32,
            "epochs": (2, 2),
            "validate_every": 2,
            "val_fraction": 0.3,
            "ema": 0.9,
            "recalibrate": 2,
            "augment": "dihedral",
            "tensorboard": False,
            "device": "cpu",
        }
        return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def shallow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One residual block, five U-Net levels: compiling nine alike takes long and finds no more."""
    for kind, changes in SHALLOW.items():
        monkeypatch.setitem(GENERATORS, kind, replace(GENERATORS[kind], **changes))
