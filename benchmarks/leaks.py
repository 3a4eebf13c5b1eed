"""Does the audit cry without need, and does it find what leaks? ``python -m benchmarks.leaks``.

    python -m benchmarks.leaks [--patches DIR ...] [--drawn N] [--json FILE]

Images of pairs (BCI's layout in DIR, and N drawn pairs) are cut into tiles of 256 px. Whole images go to
train or test in turn, so that no tile of one split shows anything of the other: each alarm between the
two is false, of as many couples of tiles as are compared. Then one in a hundred test tiles is planted
in the training split, each in another way: the same pixels stored as JPEG, turned, mirrored, overlapping
by half, and touching.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.audit import audit
from registration.execution import InProcess, no_progress
from registration.files.her2 import HER2_LEVELS
from registration.geometry import Box
from registration.slides.slide import open_slide
from registration.synth import SynthSettings, render_pair
from registration.warp import warp_box
from training.data.images import ImageFile, write_png
from training.data.pairs import PatchPair, open_dataset

TILE_PX = 256
PLANTED_SHARE = 0.01
WAYS = ("jpeg", "turned", "mirrored", "overlapping", "touching")
FIRST_SEED = 5200

Images = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def sources(folders: list[Path], drawn: int, scratch: Path) -> Iterator[Images]:
    """Yield H&E and IHC of whole images, pixel on pixel where they are drawn."""
    for folder in folders:
        for pair in open_dataset(folder).pairs:
            yield pair.read()
    for number in range(drawn):
        settings = SynthSettings(
            size=1024, seed=FIRST_SEED + number, her2=HER2_LEVELS[number % 4], rotation_deg=3
        )
        he, ihc, truth = render_pair(settings)
        path = scratch / f"drawn_{number}.png"
        write_png(path, he)
        with open_slide(path, settings.mpp_he) as slide:
            yield warp_box(slide, truth, Box(0, 0, 1024, 1024), 1.0).image, ihc[:1024, :1024]


def tiles(images: Images) -> Iterator[tuple[int, int, Images]]:
    """Yield the tiles of an image with their corners; those that show nothing are left out."""
    he, ihc = images
    for y in range(0, he.shape[0] - TILE_PX + 1, TILE_PX):
        for x in range(0, he.shape[1] - TILE_PX + 1, TILE_PX):
            cut = tuple(image[y : y + TILE_PX, x : x + TILE_PX] for image in (he, ihc))
            if min(part.std() for part in cut) > 6:
                yield x, y, (cut[0], cut[1])


def stored(folder: Path, name: str, split: str, images: Images, jpeg: bool = False) -> PatchPair:
    """Write a pair, and return it with names that tell nothing."""
    files = []
    for kind, image in zip(("he", "ihc"), images, strict=True):
        path = folder / kind / f"{name}.{'jpg' if jpeg else 'png'}"
        path.parent.mkdir(exist_ok=True)
        if jpeg:
            cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        else:
            write_png(path, np.ascontiguousarray(image))
        files.append(ImageFile(path))
    return PatchPair(name, *files, split=split)


def planted(way: str, images: Images, x: int, y: int) -> Images:
    """Return a part of whole images that leaks what the tile at a corner shows."""
    if way == "touching":
        x += TILE_PX if x + 2 * TILE_PX <= images[0].shape[1] else -TILE_PX
    if way == "overlapping":
        x += TILE_PX // 2 if x + 3 * TILE_PX // 2 <= images[0].shape[1] else -TILE_PX // 2
    cut = [image[y : y + TILE_PX, x : x + TILE_PX] for image in images]
    if way == "turned":
        cut = [np.rot90(image) for image in cut]
    if way == "mirrored":
        cut = [image[:, ::-1] for image in cut]
    return cut[0], cut[1]


def measured(folders: list[Path], drawn: int, scratch: Path) -> dict[str, Any]:
    """Audit without a leak, then with planted ones."""
    pairs: list[PatchPair] = []
    wholes: list[tuple[Images, list[tuple[str, int, int]]]] = []
    for number, images in enumerate(sources(folders, drawn, scratch)):
        split = ("train", "test")[number % 2]
        own = []
        for x, y, cut in tiles(images):
            name = f"t{chr(97 + len(pairs) % 26)}{len(pairs)}"
            pairs.append(stored(scratch, name, split, cut))
            own.append((name, x, y))
        wholes.append((images, own))
    alarms = audit(pairs, InProcess(), no_progress)
    counts = Counter(pair.split for pair in pairs)
    couples = counts["train"] * counts["test"]
    return {
        "tiles": len(pairs),
        "images": len(wholes),
        "couples": couples,
        "false alarms": len(alarms),
        "share": len(alarms) / couples,
        "alarms": [(leak.kind, leak.first, leak.second, leak.evidence) for leak in alarms],
        **found_of_planted(pairs, wholes, scratch),
    }


def found_of_planted(
    pairs: list[PatchPair], wholes: list[tuple[Images, list[tuple[str, int, int]]]], scratch: Path
) -> dict[str, Any]:
    """Plant one leak per hundred test tiles, of every way in turn, and count those that are found."""
    tests = [(images, tile) for images, own in wholes[1::2] for tile in own]
    count = max(len(WAYS), round(PLANTED_SHARE * len(tests)))
    chosen = [tests[len(tests) * k // count] for k in range(count)]
    tested = [replace(pair) for pair in pairs]
    expected: dict[str, tuple[str, str]] = {}
    for number, (images, (name, x, y)) in enumerate(chosen):
        way = WAYS[number % len(WAYS)]
        leak = f"planted{number}x"
        cut = planted(way, images, x, y)
        tested.append(stored(scratch, leak, "train", cut, jpeg=way == "jpeg"))
        expected[leak] = (name, way)
    leaks = audit(tested, InProcess(), no_progress)
    found = {frozenset((leak.first, leak.second)) for leak in leaks}
    hits = Counter(
        way for leak, (name, way) in expected.items() if frozenset((leak, name)) in found
    )
    return {"planted": dict(Counter(way for _, way in expected.values())), "found": dict(hits)}


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=Path, nargs="*", default=[])
    parser.add_argument("--drawn", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = measured(given.patches, given.drawn, Path(scratch))
    for key, value in result.items():
        print(f"{key:14s} {value}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
