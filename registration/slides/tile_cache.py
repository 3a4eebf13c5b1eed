"""Decoded tiles that a process keeps, so that memory does not grow with slides or their number.

One budget for all open files of a format's reader, whatever their size: two slides and their copies
that came with tasks read as fast from 64 MiB together as from 64 MiB each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache

from cachetools import LRUCache

from registration.geometry import Image

CACHE_BYTES = 64 * 2**20

Key = tuple[float, int, int]
"""Reader, level and tile; or level, column and row where a cache serves one reader."""


class TileCache:
    """Tiles within a budget of bytes; the least recently used go first.

    Safe to use from several threads. A tile larger than the budget counts as all of it: it is kept
    until the next comes.
    """

    def __init__(self, budget_bytes: int):
        self._tiles: LRUCache[Key, Image] = LRUCache(
            budget_bytes, getsizeof=lambda tile: min(tile.nbytes, budget_bytes)
        )
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes of all tiles kept now."""
        with self._lock:
            return sum(tile.nbytes for tile in self._tiles.values())

    def get(self, key: Key, read: Callable[[], Image]) -> Image:
        """Return the tile of a key, from ``read`` where it is not kept."""
        with self._lock:
            tile = self._tiles.get(key)
        if tile is None:
            tile = read()
            with self._lock:
                self._tiles[key] = tile
        return tile

    def forget(self, reader: int) -> None:
        """Forget all tiles of one reader."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == reader]:
                del self._tiles[key]


def shared_tiles() -> TileCache:
    """Return the cache of this process; a fork has its own, whose lock nobody holds."""
    return _tiles_of(os.getpid())


@cache
def _tiles_of(process: int) -> TileCache:
    return TileCache(CACHE_BYTES)
