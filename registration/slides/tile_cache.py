"""Decoded tiles that a process keeps, so that memory does not grow with slides or their number.

One budget for all open files of a format's reader, whatever their size: two slides and their copies
that came with tasks read as fast from 64 MiB together as from 64 MiB each.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import cache

from registration.geometry import Image

CACHE_BYTES = 64 * 2**20

Key = tuple[int, int, int]
"""Number of the reader, level and tile."""


class TileCache:
    """Tiles of any number of files within one budget; the least recently used go first.

    Safe to use from several threads. A tile larger than the budget is kept until the next comes.
    """

    def __init__(self, budget_bytes: int):
        self._budget_bytes = budget_bytes
        self._tiles: OrderedDict[Key, Image] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0
        """Bytes of all tiles kept now."""

    def get(self, key: Key) -> Image | None:
        """Return a tile if it is kept."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: Key, tile: Image) -> None:
        """Keep a tile, and forget others for it."""
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self.held_bytes += tile.nbytes
            while self.held_bytes > self._budget_bytes and len(self._tiles) > 1:
                self.held_bytes -= self._tiles.popitem(last=False)[1].nbytes

    def forget(self, reader: int) -> None:
        """Forget all tiles of one reader."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == reader]:
                self.held_bytes -= self._tiles.pop(key).nbytes


def shared_tiles() -> TileCache:
    """Return the cache of this process; a fork has its own, whose lock nobody holds."""
    return _tiles_of(os.getpid())


@cache
def _tiles_of(process: int) -> TileCache:
    return TileCache(CACHE_BYTES)
