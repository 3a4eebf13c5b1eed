"""Batches of crops from a pixel cache.

Which pairs, crops and turns make up batch ``k`` of epoch ``e`` depends on the seed, ``e`` and
``k`` alone. A run can therefore go on in the middle of an epoch without replaying it, and several
processes can share an epoch without talking to each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.cache import PixelCache
from training.data.images import to_network
from training.errors import DataError
from training.settings.config import Augment

TURNS = {"none": (0,), "flip": (0, 1), "dihedral": tuple(range(8))}
"""Bit 0 mirrors left and right, bit 1 top and bottom, bit 2 swaps rows and columns."""
UPRIGHT = 4
"""Turns below this keep height and width."""
BATCHES_AHEAD = 2
RESIDENT_SHARE = 0.1
"""Pixels live on the GPU when they take up at most this share of its free memory."""


@dataclass(frozen=True)
class Batch:
    """Images in [-1, 1], ``(N, 3, H, W)`` float32, and the weight of each pair at each scale."""

    he: Tensor
    ihc: Tensor
    weight: Tensor | None = None
    """``(N, scales)``, or ``None`` when all count alike."""
    stains: tuple[Tensor, ...] = ()
    """``(N,)`` places of the stains to make among several; empty where there is one."""


@dataclass(frozen=True)
class Sampling:
    """How batches are drawn."""

    batch: int = 2
    crop: int | None = None
    """Side of the square crops; ``None`` takes whole images, cut to ``multiple``."""
    augment: Augment = "none"
    seed: int = 0
    multiple: int = 4
    paired: bool = True
    """CycleGAN draws its two domains apart."""


@dataclass(frozen=True)
class _Plan:
    """One row per sample: which pair, where the crop starts, how it is turned."""

    pairs: NDArray[np.int64]
    corners: NDArray[np.float64]
    turns: NDArray[np.int64]

    def part(self, which: slice) -> _Plan:
        return _Plan(self.pairs[which], self.corners[which], self.turns[which])


_Pixels = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


class Batches:
    """Batches of some pairs of a cache, for one process of ``world``."""

    def __init__(
        self,
        cache: PixelCache,
        pairs: Sequence[int],
        sampling: Sampling,
        *,
        weights: NDArray[np.float32] | None = None,
        stains: NDArray[np.int64] | None = None,
        device: torch.device | None = None,
        rank: tuple[int, int] = (0, 1),
    ) -> None:
        """Check that every pair can be cropped as asked; raises :class:`DataError` otherwise.

        ``weights`` has a row for every pair of the cache, and so has ``stains``: the place of its stain
        among several, which are drawn in turn. ``rank`` is (this process, all processes).
        """
        self.device = device or torch.device("cpu")
        self.waited_s = 0.0
        """Seconds spent waiting for images so far."""
        self._cache = cache
        self._pairs = np.asarray(pairs, np.int64)
        self._sampling = sampling
        self._weights = None if weights is None else torch.from_numpy(weights)
        self._stains = stains
        self._rank = rank
        self._resident = _resident(cache, self.device)
        self._turns = _turns(cache.shapes[self._pairs], sampling)
        names = [cache.names[pair] for pair in self._pairs]
        check_sizes(cache.shapes[self._pairs], names, sampling)

    def __len__(self) -> int:
        """Batches per epoch and process."""
        return -(-len(self._pairs) // (self._rank[1] * self._sampling.batch))

    @property
    def resident_bytes(self) -> int:
        """Bytes of pixels that live on the GPU."""
        return 0 if self._resident is None else self._resident.nbytes

    @property
    def sizes(self) -> int:
        """How many different sizes batches have."""
        if self._sampling.crop is not None:
            return 1
        return len(np.unique(self._cache.shapes[self._pairs], axis=0))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from batch ``start`` on; the next ones are made meanwhile."""
        plans = [self._plan(number, stream) for stream in (0, 0 if self._sampling.paired else 1)]
        size = self._sampling.batch
        with ThreadPoolExecutor(1) as pool:
            ahead: list[Future[_Pixels]] = []
            for batch in range(start, len(self) + BATCHES_AHEAD):
                if batch < len(self):
                    here = slice(batch * size, (batch + 1) * size)
                    ahead.append(pool.submit(self._pixels, *(plan.part(here) for plan in plans)))
                if batch >= start + BATCHES_AHEAD:
                    yield self._batch(ahead.pop(0))

    def _plan(self, epoch: int, stream: int) -> _Plan:
        """Return this process's share of an epoch: whole batches, equally many for each process.

        What an epoch lacks to that is taken from its start: a short last batch would be a size of
        its own to a compiled network.
        """
        random = np.random.default_rng([self._sampling.seed, epoch, stream])
        order = self._in_turn(random.permutation(self._pairs))
        corners = random.random((len(order), 2))
        turns = random.choice(self._turns, len(order))
        rank, world = self._rank
        share = np.arange(rank, world * self._sampling.batch * len(self), world) % len(order)
        return _Plan(order[share], corners[share], turns[share])

    def _in_turn(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return pairs in an order in which each stain comes as often as it is there.

        BatchNorm then sees a mixture of stains in every batch, as it does when it is measured.
        """
        if self._stains is None:
            return order
        stains = self._stains[order]
        passed = np.empty(len(order))
        for stain in np.unique(stains):
            here = np.flatnonzero(stains == stain)
            passed[here] = (np.arange(len(here)) + 0.5) / len(here)
        return order[np.lexsort((stains, passed))]

    def _pixels(self, he: _Plan, ihc: _Plan) -> _Pixels:
        """Return both domains as ``(N, H, W, 3)`` uint8, and weights and stains of the pairs."""
        weight = None
        if self._weights is not None:
            weight = self._weights[torch.from_numpy(he.pairs)]
            weight = weight.pin_memory() if self._pinned else weight
        stain = None if self._stains is None else torch.from_numpy(self._stains[he.pairs])
        return self._gather(0, he), self._gather(1, ihc), weight, stain

    @property
    def _pinned(self) -> bool:
        """Whether a copy to the device can go on by itself while the next batch is made."""
        return self.device.type == "cuda"

    def _gather(self, domain: int, plan: _Plan) -> Tensor:
        """Return the crops of one domain."""
        boxes = [
            _box(self._cache.shapes[pair], corner, self._sampling)
            for pair, corner in zip(plan.pairs, plan.corners, strict=True)
        ]
        rows, columns = boxes[0]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if self._resident is not None:
            return torch.stack(
                [
                    _turn_tensor(self._on_device(int(pair))[domain][box], turn)
                    for pair, box, turn in zip(plan.pairs, boxes, plan.turns, strict=True)
                ]
            )
        shape = (len(boxes), height, width, 3)
        out = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
        into = out.numpy()
        for place, (pair, box) in enumerate(zip(plan.pairs, boxes, strict=True)):
            into[place] = _turn_array(self._cache.pair(pair)[domain][box], plan.turns[place])
        return out

    def _on_device(self, pair: int) -> Tensor:
        """Return a pair that lives on the GPU, ``(2, height, width, 3)``."""
        assert self._resident is not None
        place, shape = self._cache.where(pair)
        return self._resident[place].reshape(shape)

    def _batch(self, pixels: Future[_Pixels]) -> Batch:
        """Wait for a batch's pixels and turn them into what networks see, on the device."""
        began = time.perf_counter()
        he, ihc, weight, stain = pixels.result()
        self.waited_s += time.perf_counter() - began
        images = [
            to_network(domain.to(self.device, non_blocking=True)).permute(0, 3, 1, 2)
            for domain in (he, ihc)
        ]
        if weight is not None:
            weight = weight.to(self.device, non_blocking=True)
        stains = () if stain is None else (stain.to(self.device, non_blocking=True),)
        return Batch(images[0], images[1], weight, stains)


def _turns(shapes: NDArray[np.int64], sampling: Sampling) -> tuple[int, ...]:
    """Return the turns to choose from; whole images that are not square stay upright."""
    turns = TURNS[sampling.augment]
    if sampling.crop is None and (shapes[:, 0] != shapes[:, 1]).any():
        return tuple(turn for turn in turns if turn < UPRIGHT)
    return turns


def _resident(cache: PixelCache, device: torch.device) -> Tensor | None:
    """Return all pixels on the GPU, where there is one and they fit."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    if cache.nbytes > RESIDENT_SHARE * free:
        return None
    return torch.from_numpy(cache.pixels).to(device)


def _box(
    shape: NDArray[np.int64], corner: NDArray[np.float64], sampling: Sampling
) -> tuple[slice, slice]:
    """Return the rows and columns of a crop; whole images are cut evenly on both sides."""
    if sampling.crop is None:
        sizes = shape // sampling.multiple * sampling.multiple
        starts = (shape - sizes) // 2
    else:
        sizes = np.array([sampling.crop, sampling.crop])
        starts = np.floor(corner * (shape - sizes + 1)).astype(np.int64)
    (top, left), (height, width) = starts.tolist(), sizes.tolist()
    return slice(top, top + height), slice(left, left + width)


def _turn_array(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Return a mirrored and transposed view of an ``(H, W, 3)`` image."""
    if turn & 1:
        image = image[:, ::-1]
    if turn & 2:
        image = image[::-1]
    return image.transpose(1, 0, 2) if turn & UPRIGHT else image


def _turn_tensor(image: Tensor, turn: int) -> Tensor:
    """Return the same on any device."""
    axes = [axis for axis, bit in ((1, 1), (0, 2)) if turn & bit]
    turned = image.flip(axes) if axes else image
    return turned.transpose(0, 1) if turn & UPRIGHT else turned


def check_sizes(shapes: NDArray[np.int64], names: Sequence[str], sampling: Sampling) -> None:
    """Refuse crops larger than an image, and whole images of several sizes in one batch.

    ``shapes`` ``(N, 2)`` are height and width of each pair. Raises :class:`DataError`.
    """
    if sampling.crop is not None:
        if sampling.crop % sampling.multiple:
            raise DataError(
                f"this network needs crops that are a multiple of {sampling.multiple} px, "
                f"not {sampling.crop}"
            )
        small = int(np.argmin(shapes.min(axis=1)))
        if shapes[small].min() < sampling.crop:
            height, width = shapes[small]
            raise DataError(
                f"pair {names[small]} is {width} x {height} px, smaller than the crop "
                f"of {sampling.crop}; give a smaller --crop"
            )
        return
    if sampling.batch > 1 and (shapes != shapes[0]).any():
        raise DataError("the pairs have several sizes: give --crop, or --batch 1")
    if shapes.min() < sampling.multiple:
        raise DataError(f"this network needs images of at least {sampling.multiple} px a side")
