"""Tiles that fit together exactly: each is computed with all the surroundings it depends on.

A pixel of a convolutional generator depends on its surroundings up to a known reach. A tile read
with a halo of that reach, on the grid on which the network halves its input, gives the very same
numbers as the whole image would, and only they are kept: there is nothing to blend, and no seam.
That holds where normalisation uses fixed numbers, as BatchNorm does in evaluation mode.

All windows of an image have one size, and not a small one: libraries choose other kernels, which
round otherwise, for small images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.data.images import Pixels, from_batch, from_network, to_batch, to_network
from training.errors import TilingError
from training.inference.checkpoints import TrainedGenerator
from training.inference.generate import apply, continued, missing
from training.models.generators import GeneratorSpec, LocalEnhancer

Read = Callable[[slice, slice], Pixels]
"""Returns the ``(h, w, 3)`` pixels at some rows and columns, all of them inside the image."""


SMALLEST_TILE_PX = 256
TILES_PX = (4096, 2048, 1024, 512, SMALLEST_TILE_PX)
LAYERS_HELD = 3
"""About so many of the widest layers are in memory at once."""
LAUNCHED = 2
CPU_BYTES = 2**29
GPU_SHARE = 0.6
"""Share of a GPU's free memory that activations may take up."""


@dataclass(frozen=True)
class Tiling:
    """How tiles must be cut."""

    tile_px: int
    """Side of a tile; those at the right and bottom may be smaller."""
    halo_px: int
    """Windows reach at least this far beyond their tile."""
    grid_px: int
    """Windows start on multiples of this."""

    @property
    def window_px(self) -> int:
        """Side of a window, a multiple of the grid."""
        return -(-self.tile_px // self.grid_px) * self.grid_px + 2 * self.halo_px + self.grid_px


@dataclass(frozen=True)
class Window:
    """Along one axis: what is read for a tile, how far it is continued, what is kept of it."""

    read: slice
    continued: int
    keep: slice


def tiling_of(trained: TrainedGenerator, tile_px: int = SMALLEST_TILE_PX) -> Tiling:
    """Return how tiles of ``tile_px`` a side must be cut for this generator.

    Raises :class:`TilingError` for generators that no halo can make seamless, saying why.
    """
    for module in trained.network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            raise TilingError(
                f"{trained.describe()} cannot be applied tile by tile: its InstanceNorm measures "
                "the contrast of the whole image, so that every tile would come out differently. "
                "Use a generator with BatchNorm (pix2pix or pyramid-pix2pix)."
            )
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
            raise TilingError(
                f"{trained.describe()} cannot be applied tile by tile: its BatchNorm has no running "
                "statistics and would use those of each tile."
            )
    grid = trained.spec.multiple_px
    return Tiling(tile_px, -(-reach_px(trained.spec) // grid) * grid, grid)


def largest_tiling(trained: TrainedGenerator) -> Tiling:
    """Return the tiling with the largest tiles that fit: the larger, the less goes into halos.

    Raises :class:`TilingError` as :func:`tiling_of` does.
    """
    limit = CPU_BYTES
    if trained.device.type == "cuda":
        limit = int(GPU_SHARE * torch.cuda.mem_get_info(trained.device)[0])
    per_pixel = bytes_per_pixel(trained.spec, half=trained.half)
    tilings = [tiling_of(trained, side) for side in TILES_PX]
    fitting = (t for t in tilings if t.window_px**2 * per_pixel <= limit)
    return next(fitting, tilings[-1])


def bytes_per_pixel(spec: GeneratorSpec, *, half: bool) -> int:
    """Return about how many bytes of activations a pixel of a window takes at most.

    The widest layers of a U-Net lie at half the size, where a channel takes a quarter.
    """
    channels = spec.width // 2 if spec.kind == "unet" else spec.width
    return (2 if half else 4) * LAYERS_HELD * channels


def reach_px(spec: GeneratorSpec) -> int:
    """Return how far away, at most, an input pixel can influence an output pixel.

    The sum over all layers of how far each one looks, in pixels of the full image.
    """
    coarse = 1 << spec.downs
    if spec.kind == "unet":
        # 4 x 4 convolutions look two pixels ahead going down and one (coarse) pixel going up.
        return 2 * (coarse - 1) + 2 * (coarse - 1)
    through = (3 + coarse - 1) + 2 * spec.blocks * coarse + 2 * (coarse - 1) + 3
    if spec.kind == "enhancer":
        return (3 + 1) + 2 * 2 * LocalEnhancer.LOCAL_BLOCKS + 2 + 3 + 1 + 2 * through
    return through


def window(start: int, stop: int, size: int, tiling: Tiling, spec: GeneratorSpec) -> Window:
    """Return what to read for the pixels ``start .. stop`` of an axis of ``size`` pixels."""
    whole = size + missing(size, spec)
    first = max(0, (start - tiling.halo_px) // tiling.grid_px * tiling.grid_px)
    last = min(whole, first + tiling.window_px)
    first = max(0, last - tiling.window_px)
    return Window(
        slice(first, min(last, size)), max(0, last - size), slice(start - first, stop - first)
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A tile, read and ready to be generated."""

    pixels: Tensor
    """``(1, 3, h, w)`` uint8, where a GPU can fetch them by itself."""
    down: Window
    across: Window


def prepare_tile(
    trained: TrainedGenerator,
    tiling: Tiling,
    read: Read,
    rows: slice,
    columns: slice,
    shape: tuple[int, int],
) -> Prepared:
    """Read a tile, some rows and columns of an image of ``shape``, with all that it depends on."""
    down = window(rows.start, rows.stop, shape[0], tiling, trained.spec)
    across = window(columns.start, columns.stop, shape[1], tiling, trained.spec)
    pixels = to_batch(read(down.read, across.read))
    return Prepared(pixels.pin_memory() if trained.device.type == "cuda" else pixels, down, across)


def generate_tile(trained: TrainedGenerator, tile: Prepared) -> Tensor:
    """Return the tile's generated pixels, ``(1, 3, h, w)`` uint8, on the generator's device.

    A GPU may still be at it. Equal, bit for bit on a CPU, to the same part of the whole image
    generated at once, where both sides of the image are longer than a window, or the whole of it
    fits into one.
    """
    with torch.inference_mode():
        source = to_network(tile.pixels.to(trained.device, non_blocking=True))
        source = continued(source, tile.down.continued, tile.across.continued)
        generated = apply(trained.network, source, half=trained.half)
        return from_network(generated[..., tile.down.keep, tile.across.keep])


def generate_tiles(trained: TrainedGenerator, tiles: Iterable[Prepared]) -> Iterator[Pixels]:
    """Yield the generated pixels of tiles in order; a GPU has the next one while one is fetched."""
    launched: deque[Tensor] = deque()
    for tile in tiles:
        launched.append(generate_tile(trained, tile))
        if len(launched) == LAUNCHED:
            yield from_batch(launched.popleft())
    yield from map(from_batch, launched)
