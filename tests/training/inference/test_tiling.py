"""Tiles equal the whole image, and generators that cannot be tiled are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from training.data.images import from_batch, to_batch, to_network
from training.errors import TilingError
from training.inference.checkpoints import TrainedGenerator
from training.inference.generate import apply, continued, missing
from training.inference.tiling import (
    GPU_SHARE,
    Tiling,
    bytes_per_pixel,
    generate_tile,
    largest_tiling,
    prepare_tile,
    reach_px,
    tiling_of,
    window,
)
from training.models.generators import GENERATORS, GeneratorSpec, build_generator, initialise
from training.run.averaging import Averaged, recalibrate


def lively(spec: GeneratorSpec, seed: int = 0) -> TrainedGenerator:
    """A generator whose output uses the whole range and depends on its whole input."""
    torch.manual_seed(seed)
    network = build_generator(spec)
    initialise(network)
    side = max(64, 2 * spec.multiple_px)
    recalibrate(network, [(torch.rand(2, 3, side, side) * 2 - 1,) for _ in range(2)])
    last = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.out_channels == 3
    ][-1]
    with torch.no_grad():
        last.weight.mul_(0.5 / network(torch.rand(1, 3, side, side) * 2 - 1).std())
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TrainedGenerator(network, spec, Path("lively.pt"))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiled(trained: TrainedGenerator, image: np.ndarray, tiling: Tiling) -> np.ndarray:
    out = np.empty_like(image)
    height, width = image.shape[:2]
    side = tiling.tile_px
    for y in range(0, height, side):
        for x in range(0, width, side):
            rows, columns = slice(y, min(y + side, height)), slice(x, min(x + side, width))
            read = lambda r, c: image[r, c]  # noqa: E731
            tile = prepare_tile(trained, tiling, read, rows, columns, (height, width))
            out[rows, columns] = from_batch(generate_tile(trained, tile))
    return out


SPECS = {
    "resnet_9blocks": GeneratorSpec(width=4),
    "wide": GeneratorSpec(width=16, blocks=1),
    "deep": GeneratorSpec(width=4, blocks=1, downs=3),
    "unet": GeneratorSpec(kind="unet", downs=5, blocks=0, width=4),
}


@pytest.mark.parametrize(
    ("free_gib", "half", "tile_px"), [(80, True, 4096), (7, True, 2048), (4, False, 1024)]
)
def test_tiles_are_as_large_as_the_free_memory_of_a_card_allows(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, half: bool, tile_px: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_gib * 2**30, 0))
    spec = GENERATORS["resnet_9blocks"]
    trained: Any = SimpleNamespace(
        device=torch.device("cuda"), half=half, spec=spec, network=nn.Identity()
    )

    tiling = largest_tiling(trained)

    assert tiling.tile_px == tile_px
    window_bytes = tiling.window_px**2 * bytes_per_pixel(spec, half=half)
    assert window_bytes <= GPU_SHARE * free_gib * 2**30


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("height", "width", "side"), [(510, 603, 256), (99, 143, 50)])
def test_tiles_equal_the_whole_image(name: str, height: int, width: int, side: int) -> None:
    trained = lively(SPECS[name])
    image = picture(height, width)

    whole = from_batch(trained(to_batch(image)))
    difference = tiled(trained, image, tiling_of(trained, side)).astype(int) - whole

    assert whole.std() > 20
    assert np.abs(difference).max() == 0


def test_tiles_are_equal_to_the_last_bit_before_rounding() -> None:
    trained = lively(GeneratorSpec(width=8))
    image, (height, width) = picture(536, 584), (536, 584)
    source = to_network(to_batch(image))
    with torch.inference_mode():
        whole = apply(trained.network, source)
        for rows, columns in [(slice(0, 256), slice(104, 360)), (slice(311, 536), slice(330, 584))]:
            down = window(rows.start, rows.stop, height, tiling_of(trained), trained.spec)
            across = window(columns.start, columns.stop, width, tiling_of(trained), trained.spec)
            part = apply(trained.network, source[..., down.read, across.read])
            kept = part[..., down.keep, across.keep]

            assert torch.equal(kept, whole[..., rows, columns])


def test_averaged_weights_tile_too() -> None:
    trained = lively(GeneratorSpec(width=4, blocks=3))
    averaged = Averaged(trained.network, 0.5)
    averaged.update(lively(GeneratorSpec(width=4, blocks=3), seed=5).network)
    mean = TrainedGenerator(averaged.network.eval(), trained.spec, Path("mean.pt"))
    image = picture(350, 470)

    whole = from_batch(mean(to_batch(image)))

    assert np.array_equal(tiled(mean, image, tiling_of(mean, 200)), whole)
    assert not np.array_equal(whole, from_batch(trained(to_batch(image))))


def test_a_smaller_halo_or_a_shifted_grid_shows() -> None:
    trained = lively(GeneratorSpec(width=8))
    image = picture(500, 520)
    whole = from_batch(trained(to_batch(image)))

    for tiling in (Tiling(256, 24, 4), Tiling(150, 88, 2)):
        assert not np.array_equal(tiled(trained, image, tiling), whole)


def test_resnet_9blocks_needs_a_halo_of_88_on_a_grid_of_4() -> None:
    assert tiling_of(lively(GeneratorSpec(width=2))) == Tiling(tile_px=256, halo_px=88, grid_px=4)


@pytest.mark.parametrize(
    "spec",
    [
        GeneratorSpec(width=2, blocks=2),
        GeneratorSpec(width=2, blocks=1, downs=3),
        GeneratorSpec(kind="unet", downs=5, blocks=0, width=2),
        GeneratorSpec(kind="enhancer", downs=2, blocks=2, width=2),
    ],
)
def test_no_pixel_has_influence_beyond_the_reach(spec: GeneratorSpec) -> None:
    network = lively(spec).network.double()
    reach = reach_px(spec)
    size = -(-(2 * reach + 64) // 64) * 64
    where = size // 2 - 1
    image = torch.zeros(1, 3, 64, size, dtype=torch.float64)
    changed = image.clone()
    changed[..., where] = 1.0

    with torch.no_grad():
        moved = (network(changed) - network(image)).abs().amax(dim=(0, 1, 2)).nonzero()

    left, right = where - int(moved.min()), int(moved.max()) - where
    assert max(left, right) <= reach
    assert max(left, right) > 0.5 * reach


@pytest.mark.parametrize("name", ["cyclegan", "pix2pixhd", "pix2pixhd_enhancer"])
def test_instance_norm_is_refused_with_the_reason(name: str) -> None:
    spec = GENERATORS[name]
    with torch.device("meta"):
        trained = TrainedGenerator(build_generator(spec), spec, Path("net_G.pth"))

    with pytest.raises(TilingError, match=r"InstanceNorm measures the contrast of the whole image"):
        tiling_of(trained)


def test_batch_norm_without_running_statistics_is_refused() -> None:
    trained = lively(GeneratorSpec(width=2, blocks=1))
    trained.network.model[2] = nn.BatchNorm2d(2, track_running_stats=False)  # type: ignore[union-attr,operator]

    with pytest.raises(TilingError, match="no running statistics"):
        tiling_of(trained)


def test_continued_images_are_their_own_reflection() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)

    grown = continued(image, 6, 1)

    assert grown.shape == (1, 1, 9, 5)
    assert grown[0, 0, :, 0].tolist() == [0, 4, 8, 4, 0, 4, 8, 4, 0]
    assert grown[0, 0, 0].tolist() == [0, 1, 2, 3, 2]
    assert missing(1, GeneratorSpec()) == 7
    assert [missing(n, GeneratorSpec()) for n in (8, 9, 12)] == [0, 3, 0]
