"""Creating a study: what is drawn, what readers get to see, and what they do not."""

from __future__ import annotations

import csv
import json
import re
import time
import zlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.browser import Browser, check_page
from training.data.images import ImageFile, Pixels, read_image, write_png
from training.data.pairs import PatchPair
from training.errors import DataError
from training.study.create import create_study, draw_pairs

LEVELS = ["0"] * 2 + ["1+"] * 9 + ["3+"] * 9


def make(pair: PatchPair, he: Pixels) -> Pixels:
    return 255 - he


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[PatchPair]:
    """Twenty pairs whose images are all different."""
    folder = tmp_path_factory.mktemp("pairs")
    found = []
    for number, level in enumerate(LEVELS):
        rng = np.random.default_rng(number)
        files = []
        for stain in ("he", "ihc"):
            path = folder / stain / f"case{number}.png"
            write_png(path, rng.integers(0, 256, (9, 14, 3), dtype=np.uint8))
            files.append(ImageFile(path))
        found.append(PatchPair(f"case{number}", *files, her2=level, patient=f"patient-{number}"))
    return found


def test_readers_get_every_image_of_the_key_and_no_hint(
    pairs: list[PatchPair], tmp_path: Path
) -> None:
    create_study(pairs, make, tmp_path, count=6, seed=1)

    with (tmp_path / "key.csv").open(encoding="utf-8") as file:
        key = list(csv.DictReader(file))
    by_name = {pair.name: pair for pair in pairs}
    assert Counter(row["kind"] for row in key) == {"real": 6, "generated": 6}
    for row in key:
        shown = read_image(tmp_path / "readers" / "images" / f"{row['image']}.png")
        he, real = by_name[row["pair"]].read()
        expected = real if row["kind"] == "real" else make(by_name[row["pair"]], he)
        assert np.array_equal(shown, expected)
        assert row["her2"] == by_name[row["pair"]].her2
    handed_out = [path for path in (tmp_path / "readers").rglob("*") if path.is_file()]
    names = {path.name for path in handed_out}
    assert names == {"study.html", "sheet.csv", *(f"{k:03d}.png" for k in range(1, 13))}
    texts = [path.read_text("utf-8") for path in handed_out if path.suffix in (".html", ".csv")]
    written = re.sub(r"base64,[\w+/=]*", "", "".join(texts))  # images are letters of all kinds
    assert not re.search(r'case\d|patient-\d|"kind"', written)
    embedded = re.search(r"const IMAGES = (\[.*?\]);", texts[0] + texts[1])
    assert embedded is not None
    assert {tuple(entry) for entry in json.loads(embedded[1])} == {("id", "src")}


def smooth(pair: PatchPair, he: Pixels) -> Pixels:
    """A generator whose images compress far better than real ones, and that takes its time."""
    time.sleep(0.02)
    return np.full_like(he, 128)


def test_neither_sizes_nor_times_tell_real_from_generated(
    pairs: list[PatchPair], tmp_path: Path
) -> None:
    create_study(pairs, smooth, tmp_path, count=6, seed=1)

    images = sorted((tmp_path / "readers" / "images").iterdir())
    assert len({path.stat().st_size for path in images}) == 1
    assert len({path.stat().st_mtime_ns for path in images}) == 1
    packed = [len(zlib.compress(path.read_bytes())) for path in images]
    assert max(packed) - min(packed) < 40
    page = (tmp_path / "readers" / "study.html").read_text(encoding="utf-8")
    assert len({len(uri) for uri in re.findall(r"data:image/jpeg[^\"]*", page)}) == 1
    with Image.open(images[0]) as image:
        image.verify()
        assert not image.info


SEEN = """(async () => {
  localStorage.clear();
  document.getElementById("name").value = "Ada <b>";
  begin();
  const inside = (part) => {
    const box = part.getBoundingClientRect();
    return box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight;
  };
  const buttons = [...document.querySelectorAll("#levels button"), document.getElementById("export")];
  const seen = { inside: buttons.map(inside), wide: document.documentElement.scrollWidth };
  await image.decode();
  seen.shown = image.naturalWidth;
  seen.smallest = Math.min(...buttons.map((part) => part.getBoundingClientRect().width));
  document.querySelectorAll(".level")[3].click();
  seen.progress = progress.textContent;
  image.click();
  seen.enlarged = image.getBoundingClientRect().width / innerWidth;
  image.click();
  seen.fitted = image.getBoundingClientRect().width / innerWidth;
  seen.sheet = sheet().split("\\n")[1];
  return seen;
})()"""


@pytest.mark.parametrize("size", [(390, 844), (390, 600), (1400, 900)])
def test_every_level_is_in_reach_on_a_phone_and_on_a_desk(
    pairs: list[PatchPair], tmp_path: Path, browser: Browser, size: tuple[int, int]
) -> None:
    create_study(pairs, make, tmp_path, count=6, seed=1)
    page = tmp_path / "readers" / "study.html"
    check_page(browser, page)

    browser.open(page, size)
    seen = browser.evaluate(SEEN)

    assert len(seen["inside"]) == 7
    assert all(seen["inside"])
    assert seen["wide"] <= size[0]
    assert seen["smallest"] >= 40
    assert seen["shown"] == 14
    assert 1.8 < seen["enlarged"] <= 2
    assert seen["fitted"] <= 1
    assert seen["progress"] == "1 of 12 scored"
    assert seen["sheet"].endswith(",Ada <b>,001,3+")
    assert not browser.complaints


def test_images_are_shuffled_and_partners_do_not_meet(
    pairs: list[PatchPair], tmp_path: Path
) -> None:
    key = create_study(pairs, make, tmp_path, count=15, seed=2)

    order = [entry.pair for entry in key]
    kinds = "".join(entry.kind[0] for entry in key)
    assert all(a != b for a, b in pairwise(order))
    assert kinds not in ("rg" * 15, "gr" * 15)
    assert order != sorted(order)


def test_a_seed_repeats_a_draw_and_without_one_each_differs(
    pairs: list[PatchPair], tmp_path: Path
) -> None:
    same = [create_study(pairs, make, tmp_path / f"s{k}", count=5, seed=7) for k in range(2)]
    free = [create_study(pairs, make, tmp_path / f"f{k}", count=5) for k in range(2)]

    assert same[0] == same[1]
    assert free[0] != free[1]


def test_levels_are_as_even_as_the_dataset_allows(pairs: list[PatchPair]) -> None:
    chosen = draw_pairs(pairs, 10, np.random.default_rng(3))

    assert Counter(pair.her2 for pair in chosen) == {"0": 2, "1+": 4, "3+": 4}
    assert len({pair.name for pair in chosen}) == 10


def test_pairs_without_a_level_can_be_studied_too(pairs: list[PatchPair]) -> None:
    plain = [PatchPair(pair.name, pair.he, pair.ihc) for pair in pairs]

    assert len(draw_pairs(plain, 20, np.random.default_rng(4))) == 20


def test_too_few_pairs_an_existing_study_and_another_size_are_refused(
    pairs: list[PatchPair], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"there are 20\. Lower --n"):
        create_study(pairs, make, tmp_path, count=21)
    with pytest.raises(DataError, match=r"case\d+: the generated image has 14 x 8 px"):
        create_study(pairs, lambda _, he: he[:-1], tmp_path / "a", count=2)
    create_study(pairs, make, tmp_path / "b", count=2)
    (tmp_path / "b" / "key.csv").unlink()  # kept elsewhere, as readers must not see it
    with pytest.raises(DataError, match="holds a study already"):
        create_study(pairs, make, tmp_path / "b", count=2)
