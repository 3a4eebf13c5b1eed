"""What a run asks of its machine before it begins: memory, a compiler, settings that fit the images."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from registration.files.memory import usable_memory
from training.data.pairs import PairDataset, of_stain
from training.devices import PRECISIONS, Note
from training.memory import demand
from training.models.pix2pix import generator_spec
from training.models.trainable import COMPILERS
from training.probes import compiling_fails
from training.settings.config import TrainConfig
from training.settings.recipes import MODEL_SETTINGS

MOST_GRAPHS = 4
"""Of more different image sizes than this none is compiled."""


def fitted(config: TrainConfig, dataset: PairDataset, note: Note) -> tuple[TrainConfig, int]:
    """Return the settings fitted to a dataset's images, and the side of what a step sees.

    The crop that a model has by itself gives way to smaller images.
    """
    pairs = dataset.select("train")
    usual = MODEL_SETTINGS.get(config.model, {}).get("crop")
    if not pairs or (config.crop and config.crop != usual):
        return config, config.crop
    if not config.crop:
        # Images of several sizes go one by one; in larger batches all are as large as the first.
        return config, max(max(p.he.size) for p in (pairs if config.batch == 1 else pairs[:1]))
    smallest = min(min(pair.he.size) for pair in pairs)
    if smallest >= config.crop:
        return config, config.crop
    multiple = generator_spec(config).multiple_px
    crop = max(smallest // multiple * multiple, multiple)
    note(f"{config.model}: crops of {crop} px, the smallest image, instead of {config.crop}")
    return config.model_copy(update={"crop": crop}), crop


def with_stain(dataset: PairDataset, config: TrainConfig) -> tuple[PairDataset, TrainConfig]:
    """Return the pairs of the stains that are trained, and the settings with their names.

    Raises :class:`training.errors.DataError` for stains that the dataset does not have, and
    :class:`registration.errors.SettingsError` for a model that makes one only.
    """
    dataset, stain = of_stain(dataset, config.stain)
    if stain == config.stain:
        return dataset, config
    return dataset, TrainConfig.of({**config.as_dict(), "stain": stain})


def check_memory(
    config: TrainConfig, side_px: int, device: torch.device, half: bool, note: Note
) -> None:
    """Say where memory is tight; raises :class:`training.errors.MemoryFullError` where it is short.

    Of a machine without a GPU all memory counts, also what other programs hold at the moment.
    """
    if not side_px:
        return
    config = as_run(config, device)
    if device.type == "cuda":
        found = demand(config, side_px, half, torch.cuda.mem_get_info(device)[0])
    else:
        found = demand(config, side_px, half, usable_memory(), "are in this machine")
    if found:
        note(found)


def as_run(config: TrainConfig, device: torch.device) -> TrainConfig:
    """Return the settings as they take effect: where no compiler is used, nothing is compiled."""
    return config if device.type in COMPILERS else config.model_copy(update={"compile": False})


def half_precision(fabric: Fabric) -> bool:
    """Return whether activations have 16 bits."""
    return str(fabric.strategy.precision.precision) != PRECISIONS["32"]


def compiling_pays(fabric: Fabric, sizes: int, note: Note) -> bool:
    """Return whether networks can be compiled and are worth it; says why not."""
    backend = COMPILERS.get(fabric.device.type)
    if backend is None:
        return False
    if sizes > MOST_GRAPHS:
        note(
            f"images of {sizes} sizes: networks are not compiled, which would take a minute for each; "
            "--crop makes them one size"
        )
        return False
    why = compiling_fails(fabric.device, backend)
    if why:
        note(
            f"warning: networks cannot be compiled here and run about a third slower: {why}. Triton, "
            "a C compiler and Python's headers are needed; --set compile=false does without"
        )
    return not why
