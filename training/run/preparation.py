"""What a run works on: pairs held out, pixels cached, batches ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from training.data.batches import Batches, Sampling
from training.data.cache import PixelCache, default_parent, open_cache
from training.data.confidence import scale_confidence
from training.data.holdout import GRADES, Holdout, graded, hold_out, scored_pairs
from training.data.images import to_network
from training.data.pairs import (
    PairDataset,
    PatchPair,
    scale_note,
    spread_evenly,
    usual_mpp,
)
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
    train: tuple[int, ...]
    """Places in the cache of the pairs to train on."""
    pairs: dict[str, list[Any]]
    """What a resumed run must find again, see :func:`fingerprints`."""
    mpp: float | None
    title: str
    notes: tuple[str, ...]
    stains: NDArray[np.int64] | None = None
    """Of each place in the cache the place of its stain among ``config.stains``."""

    def about(self, notes: Sequence[str] = ()) -> dict[str, Any]:
        """Return what the run's record says of its data; ``notes`` goes before the notes on it."""
        return {
            "dataset": self.title,
            "train_pairs": len(self.train),
            "held_out_pairs": len(self.held_out),
            "mpp": self.mpp,
            "notes": [*notes, *self.notes],
        }


def prepare(
    config: TrainConfig,
    dataset: PairDataset,
    fabric: Fabric,
    listener: Listener,
    cache_parent: Path | None = None,
) -> Prepared:
    """Hold out pairs, decode what is not cached yet, and get batches ready.

    Raises :class:`training.errors.DataError` when the dataset cannot be trained on like this.
    """
    pairs = trainable_pairs(dataset)
    dataset = graded(dataset, config.grade)
    parts = hold_out(dataset, config.val_fraction, config.seed, config.val_pairs)
    weights, on_weights = _weights(config, parts.train)
    notes = (
        *dataset.notes,
        parts.note,
        *filter(None, [scale_note(parts.train)]),
        *on_weights,
        *_on_model(config),
        *_on_world(config, fabric),
    )
    for note in notes:
        listener.note(note)
    places = {id(pair): place for place, pair in enumerate(pairs)}
    train, held_out = (
        tuple(places[id(pair)] for pair in some)
        for some in (parts.train, scored_pairs(parts.validation, config.val_pairs))
    )
    parent = cache_parent or default_parent(dataset.root)
    with fabric.rank_zero_first(local=True):
        cache = open_cache(pairs, parent, partial(listener.preparing, "decoding"))
    stains = stain_places(pairs, config.stains)
    batches = Batches(
        cache,
        train,
        sampling_of(config),
        weights=None if weights is None else _spread(weights, train, len(pairs)),
        stains=stains,
        device=fabric.device,
        rank=(fabric.global_rank, fabric.world_size),
    )
    if batches.resident_bytes:
        gib = batches.resident_bytes / 2**30
        listener.note(f"all pixels live on the GPU: {gib:.1f} GiB")
    return Prepared(
        cache,
        batches,
        held_out,
        train,
        fingerprints(
            parts, {name: cache.checksums[place] for name, place in places.items()}, config
        ),
        usual_mpp(parts.train),
        dataset.title,
        notes,
        stains,
    )


def sampling_of(config: TrainConfig) -> Sampling:
    """Return how batches are drawn."""
    return Sampling(
        batch=config.batch,
        crop=config.crop or None,
        augment=config.augment,
        seed=config.seed,
        multiple=generator_spec(config).multiple_px,
        paired=config.model != "cyclegan",
    )


def trainable_pairs(dataset: PairDataset) -> tuple[PatchPair, ...]:
    """Return all pairs that some run may train or validate on, whatever its seed and fraction."""
    return (*dataset.select("train"), *(dataset.select("val") if dataset.has_splits else ()))


def stain_places(pairs: Sequence[PatchPair], stains: Sequence[str]) -> NDArray[np.int64] | None:
    """Return of each pair the place of its stain in ``stains``; ``None`` where there is one stain."""
    return np.array([stains.index(str(pair.stain)) for pair in pairs]) if stains else None


def fingerprints(
    parts: Holdout, checksums: Mapping[int, int], config: TrainConfig
) -> dict[str, list[Any]]:
    """Return of each pair, by split, stain and name, its use, its pixels and what it weighs by.

    ``checksums`` are those of the pixels, by the pair's identity.
    """
    found: dict[str, list[Any]] = {}
    for use, pairs in (("train", parts.train), ("held out", parts.validation)):
        for pair in pairs:
            figures: list[Any] = []
            if use == "train" and weighs_pairs(config):
                figures = [pair.shift_px, pair.trust, pair.grade if config.grade_weights else None]
            name = f"{pair.stain}/{pair.name}" if config.stains else pair.name
            found[f"{pair.split or '.'}/{name}"] = [use, checksums[id(pair)], figures]
    return found


def calibration_images(
    data: Prepared, count: int, multiple_px: int
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield H&E images of ``count`` training pairs, whole, from all over the dataset.

    Batches ``(N, 3, H, W)`` in [-1, 1] of several images, or of one where the sizes differ, and with
    several stains those to make of them.
    """
    chosen = list(spread_evenly(data.train, count))
    shapes = data.cache.shapes[chosen]
    size = CALIBRATION_BATCH if (shapes == shapes[0]).all() else 1
    groups = -(-len(chosen) // size)
    for start in range(groups):
        places = chosen[start::groups]
        images = [data.cache.pair(pair)[0] for pair in places]
        height, width = (side // multiple_px * multiple_px for side in images[0].shape[:2])
        pixels = torch.from_numpy(np.stack([image[:height, :width] for image in images]))
        device = data.batches.device
        source = to_network(pixels.to(device)).permute(0, 3, 1, 2)
        yield (
            (source,)
            if data.stains is None
            else (source, torch.tensor(data.stains[places], device=device))
        )


def weighs_pairs(config: TrainConfig) -> bool:
    """Return whether pairs count by their alignment; CycleGAN is not told which belong together."""
    return config.confidence and config.model != "cyclegan"


def needs_alignment(config: TrainConfig) -> bool:
    """Return whether anything hangs on how well pairs are aligned."""
    return weighs_pairs(config) or config.grade != GRADES[0]


def _on_world(config: TrainConfig, fabric: Fabric) -> tuple[str, ...]:
    """Return what several processes change."""
    if fabric.world_size == 1:
        return ()
    pairs = config.batch * config.accumulate * fabric.world_size
    return (
        f"{fabric.world_size} processes: each step takes {pairs} pairs, so that an epoch has "
        f"{fabric.world_size} times fewer steps than in one process; the learning rate is as given",
    )


def _on_model(config: TrainConfig) -> tuple[str, ...]:
    """Return what is worth knowing of a model: a missing part of its loss, settings of its own."""
    if config.model == "cyclegan" and config.crop:
        return (
            f"cyclegan is trained on crops of {config.crop} px: its six passes per step take four "
            "times the memory of the other models; --crop 0 takes whole images",
        )
    if config.model != "pix2pixhd" or config.vgg_weights:
        return ()
    return (
        "pix2pixHD is trained without its VGG loss, whose weights are not downloaded: give the path "
        "of torchvision's vgg19-dcbb9e9d.pth with --set vgg_weights=FILE",
    )


def _weights(
    config: TrainConfig, train: tuple[PatchPair, ...]
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """Return the weight of every training pair at every scale, where wanted and known, and a note."""
    if not weighs_pairs(config):
        return None, ()
    scales, tolerance = len(config.pyramid_weights), config.tolerance_px
    weights = scale_confidence(train, scales, tolerance, config.grade_weights)
    if weights is None:
        return None, ("no alignment figures in this dataset: all pairs weigh alike",)
    low = int((weights[:, 0] < 0.5 * np.median(weights[:, 0])).sum())
    note = (
        f"alignment confidence: {low} of {len(train)} pairs count less than half of a typical pair "
        "in the L1 loss, and more at coarser scales"
        if low
        else "alignment confidence: no pair counts less than half of a typical one"
    )
    return weights, (note,)


def _spread(
    weights: NDArray[np.float32], train: tuple[int, ...], count: int
) -> NDArray[np.float32]:
    """Return the weights of the training pairs at their places among ``count`` cached pairs."""
    spread = np.ones((count, weights.shape[1]), np.float32)
    spread[list(train)] = weights
    return spread
