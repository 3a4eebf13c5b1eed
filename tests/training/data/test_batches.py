"""The pixel cache and the batches drawn from it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from registration.files.storage import MACHINE
from training.data import cache as cache_module
from training.data.batches import Batch, Batches, Sampling, _resident
from training.data.cache import (
    PIXELS,
    PixelCache,
    _workers,
    check_parent,
    default_parent,
    in_memory,
    open_cache,
)
from training.data.images import ImageFile, from_network
from training.data.pairs import PatchPair, open_dataset
from training.errors import DataError


def textured(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cache_of(count: int, height: int = 40, width: int = 56) -> PixelCache:
    """IHC is H&E inverted, so that any difference between their crops shows."""
    images = [textured(i, height, width) for i in range(count)]
    return in_memory([f"p{i}" for i in range(count)], [(he, 255 - he) for he in images])


def dataset_on_disk(root: Path) -> tuple[PatchPair, ...]:
    for i in range(3):
        for number, domain in enumerate(("HE", "IHC")):
            folder = root / domain / "train"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(textured(10 * i + number)).save(folder / f"{i}.png")
    return open_dataset(root).select("train")


def test_cache_holds_exactly_the_files_and_is_built_once(tmp_path: Path) -> None:
    pairs = dataset_on_disk(tmp_path / "data")
    parent = default_parent(tmp_path / "data")
    seen: list[tuple[int, int]] = []

    cache = open_cache(pairs, parent, lambda done, all_of: seen.append((done, all_of)))
    again = open_cache(pairs, parent, lambda done, all_of: seen.append((done, all_of)))

    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert parent.parent == tmp_path / "data"
    assert len(list(parent.glob("*/pixels.u8"))) == 1
    assert not list(parent.glob(".*.part"))
    for i in range(3):
        assert np.array_equal(again.pair(i), np.stack([textured(10 * i), textured(10 * i + 1)]))
    assert cache.names == ("0", "1", "2")
    assert len(open_dataset(tmp_path / "data").pairs) == 3


@pytest.mark.parametrize("places", [(2,), (2, 0), (1, 2, 0)])
def test_some_pairs_are_found_in_the_cache_of_all(tmp_path: Path, places: tuple[int, ...]) -> None:
    pairs = dataset_on_disk(tmp_path / "data")
    whole = open_cache(pairs, tmp_path / "caches")

    some = open_cache([pairs[place] for place in places], tmp_path / "caches")

    assert len(list((tmp_path / "caches").glob("*/pixels.u8"))) == 1
    assert len(some) == len(places)
    for at, place in enumerate(places):
        assert np.array_equal(some.pair(at), whole.pair(place))
        assert (some.names[at], some.checksums[at]) == (whole.names[place], whole.checksums[place])


def test_a_changed_pair_is_not_taken_from_the_cache_of_all(tmp_path: Path) -> None:
    pairs = dataset_on_disk(tmp_path / "data")
    open_cache(pairs, tmp_path / "caches")
    Image.fromarray(textured(99)).save(pairs[1].he.path)
    os.utime(pairs[1].he.path, ns=(1, 1))

    some = open_cache(pairs[1:], tmp_path / "caches")

    assert np.array_equal(some.pair(0)[0], textured(99))


def test_a_changed_file_makes_another_cache(tmp_path: Path) -> None:
    pairs = dataset_on_disk(tmp_path)
    open_cache(pairs, tmp_path / "caches")
    Image.fromarray(textured(99)).save(pairs[1].he.path)
    os.utime(pairs[1].he.path, ns=(1, 1))

    cache = open_cache(pairs, tmp_path / "caches")

    assert np.array_equal(cache.pair(1)[0], textured(99))
    assert len(list((tmp_path / "caches").glob("*/index.json"))) == 1, "the older one is gone"


@pytest.mark.parametrize("content", ["", "{}", '{"names": 3, "shapes": "x"}', "\0"])
def test_a_damaged_cache_is_decoded_again(tmp_path: Path, content: str) -> None:
    pairs = dataset_on_disk(tmp_path)
    before = open_cache(pairs, tmp_path / "caches").pair(1).copy()
    (index,) = (tmp_path / "caches").glob("*/index.json")
    index.write_text(content)

    assert np.array_equal(open_cache(pairs, tmp_path / "caches").pair(1), before)


def test_a_broken_image_leaves_no_cache_behind(tmp_path: Path) -> None:
    pairs = dataset_on_disk(tmp_path)
    pairs[2].ihc.path.write_bytes(b"not a png")

    with pytest.raises(DataError, match=r"IHC.* is a text file, not an image"):
        open_cache(pairs, tmp_path / "caches")

    assert [p.name for p in (tmp_path / "caches").iterdir()] == [".gitignore"]


def test_fewer_large_images_are_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(cache_module, "usable_memory", lambda: 16 * 2**30)

    found = [_workers((side, side)) for side in (1024, 8000, 15_000, 20_000)]

    assert found == [16, 5, 1, 1]


def test_what_killed_runs_decoded_is_removed(tmp_path: Path) -> None:
    parent = tmp_path / "caches"
    pairs = dataset_on_disk(tmp_path / "data")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    part = parent / f".0123456789abcdef.{MACHINE}-{dead.pid}.part"
    part.mkdir(parents=True)
    (part / PIXELS).write_bytes(b"half")

    open_cache(pairs, parent)

    assert len(list(parent.iterdir())) == 2
    assert not part.exists()


def test_read_only_datasets_are_cached_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    assert default_parent(tmp_path / "data") == tmp_path / "xdg" / "bci-pipeline" / "pixels"


def equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.he, b.he) and torch.equal(a.ihc, b.ihc)


@pytest.mark.parametrize("augment", ["none", "flip", "dihedral"])
@pytest.mark.parametrize("crop", [16, None])
def test_both_images_get_the_same_crop_and_turn(augment: str, crop: int | None) -> None:
    cache = cache_of(6, 40, 40) if crop is None else cache_of(6)
    batches = Batches(cache, range(6), Sampling(batch=4, crop=crop, augment=augment))  # type: ignore[arg-type]

    drawn = [batch for epoch in range(5) for batch in batches.epoch(epoch)]

    side = crop or 40
    assert [tuple(b.he.shape) for b in drawn[:2]] == [(4, 3, side, side)] * 2
    assert all(torch.equal(from_network(b.he), 255 - from_network(b.ihc)) for b in drawn)


def test_crops_are_windows_of_the_images_turned_in_eight_ways() -> None:
    cache = cache_of(1, 16, 16)
    batches = Batches(cache, [0], Sampling(batch=1, augment="dihedral"))
    image = torch.from_numpy(textured(0, 16, 16))
    ways = []
    for turned in (image, image.transpose(0, 1)):
        ways += [turned, turned.flip(0), turned.flip(1), turned.flip(0, 1)]

    found = [
        next(
            k
            for k, way in enumerate(ways)
            if torch.equal(from_network(b.he)[0], way.permute(2, 0, 1))
        )
        for epoch in range(120)
        for b in batches.epoch(epoch)
    ]

    assert set(found) == set(range(8))


def test_crops_reach_every_border() -> None:
    rows = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 56, axis=1)
    columns = np.repeat(np.arange(56, dtype=np.uint8)[None], 40, axis=0)
    image = np.stack([rows, columns, rows], axis=-1)
    batches = Batches(in_memory(["p"], [(image, image)]), [0], Sampling(batch=1, crop=36))

    corners = {
        (int(c[0]), int(c[1]))
        for epoch in range(400)
        for b in batches.epoch(epoch)
        for c in [from_network(b.he)[0, :2, 0, 0]]
    }

    assert {c[0] for c in corners} == set(range(5))
    assert {c[1] for c in corners} == set(range(21))


def test_every_pair_is_drawn_once_per_epoch_in_another_order() -> None:
    cache = cache_of(7)
    batches = Batches(cache, [0, 2, 3, 5, 6], Sampling(batch=2))
    stored = {
        from_network(torch.from_numpy(cache.pair(i)[0]).float() / 127.5 - 1).numpy().tobytes(): i
        for i in range(7)
    }

    def order(epoch: int) -> list[int]:
        images = torch.cat([from_network(b.he) for b in batches.epoch(epoch)]).permute(0, 2, 3, 1)
        return [stored[image.contiguous().numpy().tobytes()] for image in images]

    assert sorted(order(0)[:5]) == sorted(order(1)[:5]) == [0, 2, 3, 5, 6]
    assert order(0)[5:] == order(0)[:1]  # what the last batch lacks comes from the start
    assert order(0) != order(1)
    assert order(0) == order(0)
    assert len(batches) == 3


def test_an_epoch_goes_on_where_it_stopped() -> None:
    batches = Batches(cache_of(9), range(9), Sampling(batch=2, crop=20, augment="dihedral"))

    whole = list(batches.epoch(3))
    rest = list(batches.epoch(3, start=2))

    assert len(whole) == 5
    assert len(rest) == 3
    assert all(equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_processes_share_an_epoch_evenly() -> None:
    cache = cache_of(7)
    sampling = Sampling(batch=2)
    parts = [Batches(cache, range(7), sampling, rank=(r, 3)) for r in range(3)]

    means = [[round(v.mean().item(), 5) for b in part.epoch(1) for v in b.he] for part in parts]
    alone = [
        round(v.mean().item(), 5) for b in Batches(cache, range(7), sampling).epoch(1) for v in b.he
    ]

    assert [len(part) for part in parts] == [2, 2, 2]
    assert [len(m) for m in means] == [4, 4, 4]
    assert {mean for part in means for mean in part} == set(alone)


def test_weights_follow_their_pairs() -> None:
    cache = in_memory(
        ["a", "b", "c"], [(np.full((8, 8, 3), 40 * i, np.uint8),) * 2 for i in range(3)]
    )
    weights = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]], np.float32)
    batches = Batches(cache, [2, 0, 1], Sampling(batch=3), weights=weights)

    (batch,) = batches.epoch(0)

    number = from_network(batch.he).float().mean(dim=(1, 2, 3)) / 40
    assert batch.weight is not None
    assert torch.allclose(batch.weight[:, 0], number)
    assert torch.allclose(batch.weight[:, 1], number + 10)


def test_unpaired_sampling_draws_the_domains_apart() -> None:
    batches = Batches(cache_of(30), range(30), Sampling(batch=30, paired=False))

    (batch,) = batches.epoch(0)

    same = [
        torch.equal(from_network(a), 255 - from_network(b))
        for a, b in zip(batch.he, batch.ihc, strict=True)
    ]
    assert sum(same) < 8


def test_pixels_on_the_device_give_the_same_batches() -> None:
    cache = cache_of(5)
    sampling = Sampling(batch=2, crop=24, augment="dihedral")
    mapped, resident = Batches(cache, range(5), sampling), Batches(cache, range(5), sampling)
    resident._resident = torch.from_numpy(cache.pixels)

    pairs = zip(mapped.epoch(2), resident.epoch(2), strict=True)

    assert all(equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("free_gib", "lives_there"), [(80, True), (30, False)])
def test_pixels_live_on_a_gpu_where_they_take_a_tenth_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free_gib: int, lives_there: bool
) -> None:
    cache = replace(cache_of(1), pixels=SimpleNamespace(nbytes=7 * 2**30))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_gib * 2**30, 0))
    monkeypatch.setattr(
        torch, "from_numpy", lambda pixels: SimpleNamespace(to=lambda device: device)
    )

    assert (_resident(cache, torch.device("cuda")) is not None) is lives_there
    assert _resident(cache, torch.device("cpu")) is None


def test_whole_images_are_cut_to_the_multiple_evenly() -> None:
    image = textured(3, 42, 59)
    batches = Batches(in_memory(["p"], [(image, image)]), [0], Sampling(batch=1, multiple=16))

    (batch,) = batches.epoch(0)

    assert np.array_equal(from_network(batch.he)[0].permute(1, 2, 0).numpy(), image[5:37, 5:53])


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(crop=48), r"pair p0 is 56 x 40 px, smaller than the crop of 48"),
        (Sampling(crop=18), "a multiple of 4 px, not 18"),
        (Sampling(multiple=64), "at least 64 px a side"),
    ],
)
def test_impossible_crops_are_refused(sampling: Sampling, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Batches(cache_of(2), range(2), sampling)


def test_whole_images_of_several_sizes_need_a_crop() -> None:
    he, ihc = textured(0, 40, 40), textured(1, 48, 40)
    cache = in_memory(["a", "b"], [(he, he), (ihc, ihc)])

    with pytest.raises(DataError, match="several sizes: give --crop"):
        Batches(cache, [0, 1], Sampling(batch=2))
    assert {b.he.shape[2] for b in Batches(cache, [0, 1], Sampling(batch=1)).epoch(0)} == {40, 48}


def test_pair_without_file_is_reported(tmp_path: Path) -> None:
    missing = ImageFile(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"image not found: .*gone\.png"):
        PatchPair("p", missing, missing).read()


def test_no_cache_lies_among_the_images(tmp_path: Path) -> None:
    for stain in ("HE", "IHC"):
        (tmp_path / "data" / stain / "train").mkdir(parents=True)
        Image.fromarray(textured(1)).save(tmp_path / "data" / stain / "train" / "p_train.png")
    dataset = open_dataset(tmp_path / "data")

    for folder in ("", "data", "data/cache", "data/.bci-pipeline-cache", "elsewhere"):
        check_parent(tmp_path / folder, dataset)
    for folder in ("HE", "HE/train", "IHC/train/caches"):
        with pytest.raises(DataError, match="lies among the images"):
            check_parent(tmp_path / "data" / folder, dataset)
