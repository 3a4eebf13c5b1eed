"""All pixels of a dataset, decoded once into 8-bit files that are memory-mapped ever after.

Decoding a pair of 1024 px PNGs costs a hundred times what copying its pixels does, and would be
repeated in every epoch. A pair is found again by the names, sizes and times of its files, whichever
pairs lie beside it; caches are hidden in the dataset's folder, or under ``XDG_CACHE_HOME`` where that
folder cannot be written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registration.files.memory import usable_memory
from registration.files.outputs import lies_in
from registration.files.storage import temporary, write_json, write_text
from registration.files.text import json_record
from registration.files.words import size
from training.data.ahead import in_order
from training.data.images import Pixels
from training.data.pairs import PairDataset, PatchPair
from training.errors import DataError

FOLDER = ".bci-pipeline-cache"
INDEX = "index.json"
PIXELS = "pixels.u8"
DISK_MARGIN = 1.05
MOST_WORKERS = 16
BYTES_PER_PIXEL = 24
"""What one worker holds for a pixel of its pair: an image that is decoded, and two pairs that wait."""

Tick = Callable[[int, int], None]
"""Called with how many pairs are done, and how many there are."""


@dataclass(frozen=True, eq=False)
class PixelCache:
    """Pixels of pairs: H&E, then IHC, one pair after the other, in one flat array."""

    names: tuple[str, ...]
    shapes: NDArray[np.int64]
    """``(N, 2)`` height and width of each pair."""
    offsets: NDArray[np.int64]
    """``(N,)`` where each pair starts, in bytes."""
    pixels: NDArray[np.uint8]
    checksums: tuple[int, ...]
    """Of the pixels of each pair."""

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> tuple[slice, tuple[int, int, int, int]]:
        """Return where pair ``index`` lies in the flat array, and the shape it has."""
        height, width = (int(side) for side in self.shapes[index])
        start = int(self.offsets[index])
        return slice(start, start + 6 * height * width), (2, height, width, 3)

    def pair(self, index: int) -> NDArray[np.uint8]:
        """Return a view of pair ``index``, ``(2, height, width, 3)``: H&E, then IHC."""
        place, shape = self.where(index)
        return self.pixels[place].reshape(shape)

    @property
    def nbytes(self) -> int:
        """Size of all pixels in bytes."""
        return int(self.pixels.nbytes)


def default_parent(root: Path) -> Path:
    """Return the folder for caches of the dataset in ``root``."""
    if os.access(root, os.W_OK):
        return root / FOLDER
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "bci-pipeline" / "pixels"


def check_parent(parent: Path, dataset: PairDataset) -> None:
    """Raise :class:`DataError` for a folder of caches among the images."""
    images = [folder for folder in dataset.folders if folder != dataset.root]
    within = lies_in(parent, dataset.root) and not lies_in(dataset.root, parent)
    around = any(lies_in(folder, parent) for folder in images)
    if any(lies_in(parent, folder) for folder in images) or (within and around):
        raise DataError(f"--cache {parent} lies among the images; name another folder")


def open_cache(pairs: Sequence[PatchPair], parent: Path, tick: Tick | None = None) -> PixelCache:
    """Return the cache of ``pairs`` under ``parent``, decoding them first where it is not there.

    Pairs are found in whichever cache has them all, whatever they are used for: some of a dataset in
    that of the whole. Raises :class:`DataError` for unreadable images and for a disk that is too small.
    """
    rows = [_row(pair) for pair in pairs]
    folder = parent / _key(rows)
    for place in (folder, *sorted(path.parent for path in parent.glob(f"*/{INDEX}"))):
        if (found := _opened(place, rows)) is not None:
            return found
    _build(pairs, folder, rows, tick)
    if (built := _opened(folder, rows)) is None:
        raise DataError(f"{folder} does not keep what is written to it; give another --cache")
    return built


def _opened(folder: Path, rows: Sequence[str]) -> PixelCache | None:
    """Return some pairs of the cache in a folder; ``None`` where it lacks any, or is not whole."""
    index = json_record(folder / INDEX)
    try:
        places = {row: place for place, row in enumerate(index["rows"])}
        wanted = [places[row] for row in rows]
        pixels = np.memmap(folder / PIXELS, np.uint8, mode="c")
        cache = _with_layout(index["names"], index["shapes"], pixels, index["checksums"])
        whole = cache.nbytes == cache.where(len(cache) - 1)[0].stop
        return _some(cache, wanted) if whole else None
    except (OSError, ValueError, TypeError, LookupError, OverflowError):
        return None


def _some(cache: PixelCache, places: Sequence[int]) -> PixelCache:
    """Return some pairs of a cache, in this order."""
    return replace(
        cache,
        names=tuple(cache.names[place] for place in places),
        shapes=cache.shapes[places],
        offsets=cache.offsets[places],
        checksums=tuple(cache.checksums[place] for place in places),
    )


def in_memory(names: Sequence[str], images: Iterable[tuple[Pixels, Pixels]]) -> PixelCache:
    """Return a cache of images at hand; for small and made-up datasets."""
    pairs = [np.stack(pair) for pair in images]
    shapes = [list(pair.shape[1:3]) for pair in pairs]
    checksums = [zlib.crc32(pair.data) for pair in pairs]
    return _with_layout(names, shapes, np.concatenate([p.ravel() for p in pairs]), checksums)


def _with_layout(
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    pixels: NDArray[np.uint8],
    checksums: Sequence[int],
) -> PixelCache:
    """Return the cache of pixels stored pair after pair."""
    sizes = np.asarray(shapes, np.int64).reshape(-1, 2)
    ends = np.cumsum(6 * sizes.prod(axis=1))
    offsets = np.concatenate([[0], ends[:-1]])
    return PixelCache(tuple(names), sizes, offsets, pixels, tuple(checksums))


def _build(
    pairs: Sequence[PatchPair], folder: Path, rows: Sequence[str], tick: Tick | None
) -> None:
    """Decode all pairs into a temporary folder beside ``folder``, then rename it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_text(folder.parent / ".gitignore", "*\n")
    _remove_older(folder)
    part = temporary(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        shapes, checksums = _decode(pairs, part / PIXELS, tick)
        names = [pair.name for pair in pairs]
        index = {"names": names, "rows": rows, "shapes": shapes, "checksums": checksums}
        write_json(part / INDEX, index)
        try:
            part.rename(folder)
        except OSError:  # another process, on any machine, was faster
            if _opened(folder, rows) is None:
                shutil.rmtree(folder, ignore_errors=True)
                part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_older(folder: Path) -> None:
    """Remove what was decoded of older files of the same names."""
    for older in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)


def _decode(
    pairs: Sequence[PatchPair], path: Path, tick: Tick | None
) -> tuple[list[list[int]], list[int]]:
    """Append all pairs to one file, several decoded at a time; return their shapes and checksums."""
    workers = _workers(pairs[0].he.size)
    shapes: list[list[int]] = []
    checksums: list[int] = []
    with path.open("wb") as file, ThreadPoolExecutor(workers) as pool:
        for he, ihc in in_order(pool, lambda pair: pair.read(), pairs, 2 * workers):
            if not shapes:
                _check_disk(path, DISK_MARGIN * 2 * he.nbytes * len(pairs))
            checksum = 0
            for image in (he, ihc):
                pixels = np.ascontiguousarray(image).data
                file.write(pixels)
                checksum = zlib.crc32(pixels, checksum)
            checksums.append(checksum)
            shapes.append(list(he.shape[:2]))
            if tick is not None:
                tick(len(shapes), len(pairs))
    return shapes, checksums


def _workers(size: tuple[int, int]) -> int:
    """Return how many images of a size are decoded at a time: what half of the memory holds."""
    fitting = usable_memory() // (2 * BYTES_PER_PIXEL * size[0] * size[1])
    return max(1, min(os.cpu_count() or 1, MOST_WORKERS, fitting))


def _check_disk(path: Path, needed: float) -> None:
    """Refuse to fill the disk."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DataError(
            f"the disk is full: the pixel cache needs {size(needed)} and {path.parent.parent} has "
            f"{size(free)} free; choose another place with --cache"
        )


def _row(pair: PatchPair) -> str:
    """Return a name of a pair whose second half changes when either file does."""
    files, states = hashlib.sha256(), hashlib.sha256()
    for image in (pair.he, pair.ihc):
        state = image.path.stat()
        files.update(f"{image.path.absolute()}|{image.half}\n".encode())
        states.update(f"{state.st_size}|{state.st_mtime_ns}\n".encode())
    return f"{files.hexdigest()[:16]}-{states.hexdigest()[:16]}"


def _key(rows: Sequence[str]) -> str:
    """Return a name whose second half changes when any file does, its first with other files."""
    halves = zip(*(row.split("-") for row in rows), strict=True)
    return "-".join(hashlib.sha256("".join(half).encode()).hexdigest()[:16] for half in halves)
