"""What a run works on: pairs held out, pixels cached, batches ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from training.data.batches import Batches, Sampling
from training.data.cache import PixelCache, default_parent, open_cache
from training.data.confidence import scale_confidence
from training.data.holdout import hold_out
from training.data.images import to_network
from training.data.pairs import Dataset, Pair
from training.models.pix2pix import generator_spec
from training.run.history import Listener
from training.settings.config import TrainConfig

CALIBRATION_BATCH = 4


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything training reads."""

    cache: PixelCache
    batches: Batches
    held_out: tuple[int, ...]
    """Places in the cache of the pairs to validate on."""
    train_pairs: int
    """The first pairs of the cache are those to train on."""
    mpp: float | None
    source: str
    notes: tuple[str, ...]

    def about(self) -> dict[str, Any]:
        """Return what the run's record says of its data."""
        return {
            "dataset": self.source,
            "train_pairs": self.train_pairs,
            "held_out_pairs": len(self.held_out),
            "mpp": self.mpp,
            "notes": list(self.notes),
        }


def prepare(
    config: TrainConfig,
    dataset: Dataset,
    fabric: Fabric,
    listener: Listener,
    cache_parent: Path | None = None,
) -> Prepared:
    """Hold out pairs, decode what is not cached yet, and get batches ready.

    Raises :class:`training.errors.DataError` when the dataset cannot be trained on like this.
    """
    parts = hold_out(dataset, config.val_fraction, config.seed)
    weights, on_weights = _weights(config, parts.train, len(parts.validation))
    notes = (*dataset.notes, parts.note, *on_weights, *_on_model(config))
    for note in notes:
        listener.note(note)
    pairs = (*parts.train, *parts.validation)
    parent = cache_parent or default_parent(dataset.root)
    with fabric.rank_zero_first(local=True):
        cache = open_cache(pairs, parent, listener.decoding)
    batches = Batches(
        cache,
        range(len(parts.train)),
        Sampling(
            batch=config.batch,
            crop=config.crop or None,
            augment=config.augment,
            seed=config.seed,
            multiple=generator_spec(config).multiple_px,
            paired=config.model != "cyclegan",
        ),
        weights=weights,
        device=fabric.device,
        rank=(fabric.global_rank, fabric.world_size),
    )
    held_out = tuple(range(len(parts.train), len(pairs)))[: config.val_pairs]
    return Prepared(
        cache, batches, held_out, len(parts.train), dataset.mpp(), dataset.source, notes
    )


def calibration_images(data: Prepared, count: int, multiple_px: int) -> Iterator[torch.Tensor]:
    """Yield H&E images of ``count`` training pairs, whole, from all over the dataset.

    Batches ``(N, 3, H, W)`` in [-1, 1] of several images, or of one where the sizes differ.
    """
    count = min(count, data.train_pairs)
    chosen = [data.train_pairs * k // count for k in range(count)]
    shapes = data.cache.shapes[chosen]
    size = CALIBRATION_BATCH if (shapes == shapes[0]).all() else 1
    groups = -(-count // size)
    for start in range(groups):
        images = [data.cache.pair(pair)[0] for pair in chosen[start::groups]]
        height, width = (side // multiple_px * multiple_px for side in images[0].shape[:2])
        pixels = torch.from_numpy(np.stack([image[:height, :width] for image in images]))
        yield to_network(pixels.to(data.batches.device)).permute(0, 3, 1, 2)


def _on_model(config: TrainConfig) -> tuple[str, ...]:
    """Return a note where a model is trained without a part of its published loss."""
    if config.model != "pix2pixhd" or config.vgg_weights:
        return ()
    return (
        "pix2pixHD is trained without its VGG loss, whose weights are not downloaded: give the path "
        "of torchvision's vgg19-dcbb9e9d.pth with --set vgg_weights=FILE",
    )


def _weights(
    config: TrainConfig, train: tuple[Pair, ...], others: int
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """Return the weight of every cached pair at every scale, where wanted and known, and a note."""
    if not config.confidence or config.model == "cyclegan":
        return None, ()
    weights = scale_confidence(train, len(config.pyramid_weights), config.tolerance_px)
    if weights is None:
        return None, ("no alignment figures in this dataset: all pairs weigh alike",)
    low = int((weights[:, 0] < 0.5 * np.median(weights[:, 0])).sum())
    note = (
        f"alignment confidence: {low} of {len(train)} pairs count less than half of a typical pair "
        "in the L1 loss, and more at coarser scales"
    )
    return np.pad(weights, ((0, others), (0, 0)), constant_values=1.0), (note,)
