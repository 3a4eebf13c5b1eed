"""The paper's reader study: real and generated images, shuffled and blinded, to be scored 0 to 3+.

A study folder holds ``readers/`` to hand out (a page that works offline, the images, a blank
sheet) and, beside it, ``key.csv``, which readers must not see.
"""

from __future__ import annotations

import base64
import os
import secrets
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from registration.files.alone import one_at_a_time
from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_json, write_text, written_whole
from registration.files.tables import table_text
from registration.pages.page import render
from training.data.images import Pixels, write_png
from training.data.pairs import PatchPair
from training.errors import DataError
from training.evaluation.cases import data_uri
from training.evaluation.summary import her2_levels

FORMAT = "bci-pipeline reader study"
STUDY = "study.json"
VERSION = 1
KEY_COLUMNS = ("image", "kind", "pair", "her2", "patient")
SHEET_COLUMNS = ("study", "reader", "image", "her2")
REAL, GENERATED = "real", "generated"
_PAGE_QUALITY = 92
_SHUFFLES = 1000
_FILLER = b"fiLl"
"""Name of a private PNG chunk, which every reader of PNG skips."""

_CHUNK_BYTES, _END_BYTES = 12, 12
"""What a chunk takes beside its content, and the last chunk of a PNG."""


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study as the key knows it; ``image`` is its number as text, such as ``007``."""

    image: str
    kind: str
    pair: str
    her2: str | None
    patient: str | None


@one_at_a_time(lambda pairs, make, out, *_, **__: out)
def create_study(
    pairs: Sequence[PatchPair],
    make: Callable[[PatchPair, Pixels], Pixels],
    out: Path,
    count: int = 40,
    seed: int | None = None,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[StudyImage, ...]:
    """Write a study of ``count`` pairs into ``out`` and return its key.

    ``make(pair, he)`` gives the generated image, uint8 ``(H, W, 3)``. Pairs are drawn so that the
    HER2 levels are as evenly represented as the dataset allows. Without a seed the draw differs
    each time, and nobody can guess it. Raises :class:`DataError` when there are too few pairs, the
    folder holds another study, or a generated image has another size than its real one.
    """
    check_study(pairs, out, count)
    rng = np.random.default_rng(secrets.randbits(64) if seed is None else seed)
    chosen = draw_pairs(pairs, count, rng)
    key = _blinded(chosen, rng)
    study = secrets.token_hex(4) if seed is None else f"{rng.integers(2**32):08x}"
    by_name = {pair.name: pair for pair in chosen}
    pictures = []
    for number, entry in enumerate(key):
        pictures.append(_picture(by_name[entry.pair], entry.kind, make))
        write_png(_image_file(out, entry), pictures[-1])
        on_image(number + 1, len(key))
    _made_alike([_image_file(out, entry) for entry in key], rng)
    sources = zip(key, _embedded(pictures, rng), strict=True)
    shown = [{"id": entry.image, "src": source} for entry, source in sources]
    write_text(out / "readers" / "sheet.csv", blank_sheet(study, key))
    write_text(out / "readers" / "study.html", _page(study, shown))
    write_text(out / "key.csv", _key_csv(key))
    settings = {"study": study, "pairs": count, "levels": list(HER2_LEVELS)}
    write_json(out / STUDY, {"format": FORMAT, "version": VERSION, **settings})
    return key


def check_study(pairs: Sequence[PatchPair], out: Path, count: int) -> None:
    """Raise :class:`DataError` where ``out`` holds a study, or there are fewer pairs than wanted."""
    # Written last: the key may be kept elsewhere while readers fill in what lies here.
    if (out / STUDY).exists():
        raise DataError(f"{out} holds a study already. Choose another folder with --out.")
    if len(pairs) < count:
        raise DataError(
            f"a study of {count} pairs needs {count} pairs with a generated image; there are "
            f"{len(pairs)}. Lower --n."
        )


def draw_pairs(pairs: Sequence[PatchPair], count: int, rng: np.random.Generator) -> list[PatchPair]:
    """Return ``count`` pairs, drawn in turn from each HER2 level as long as it lasts."""
    piles: dict[str | None, list[PatchPair]] = defaultdict(list)
    for number in rng.permutation(len(pairs)):
        piles[pairs[number].her2].append(pairs[number])
    order = [*her2_levels(pairs), *([None] if None in piles else [])]
    chosen: list[PatchPair] = []
    while len(chosen) < count:
        for level in order:
            if piles[level] and len(chosen) < count:
                chosen.append(piles[level].pop())
    return chosen


def blank_sheet(study: str, key: Sequence[StudyImage]) -> str:
    """Return the sheet that a reader fills in: one row per image, no score yet."""
    return table_text([SHEET_COLUMNS, *((study, "", entry.image, "") for entry in key)])


def _blinded(pairs: Sequence[PatchPair], rng: np.random.Generator) -> tuple[StudyImage, ...]:
    """Return both images of every pair in random order, numbered; partners do not meet."""
    both = [(pair, kind) for pair in pairs for kind in (REAL, GENERATED)]
    for _ in range(_SHUFFLES):
        order = [both[number] for number in rng.permutation(len(both))]
        if all(a[0] is not b[0] for a, b in pairwise(order)):
            break
    digits = max(3, len(str(len(order))))
    return tuple(
        StudyImage(f"{number:0{digits}d}", kind, pair.name, pair.her2, pair.patient)
        for number, (pair, kind) in enumerate(order, start=1)
    )


def _picture(pair: PatchPair, kind: str, make: Callable[[PatchPair, Pixels], Pixels]) -> Pixels:
    """Return the real or the generated image of a pair."""
    he, real = pair.read()
    if kind == REAL:
        return real
    fake = make(pair, he)
    if fake.shape != real.shape:
        raise DataError(
            f"{pair.name}: the generated image has {fake.shape[1]} x {fake.shape[0]} px, the real "
            f"one {real.shape[1]} x {real.shape[0]} px: readers could tell them apart by size"
        )
    return fake


def _image_file(out: Path, entry: StudyImage) -> Path:
    return out / "readers" / "images" / f"{entry.image}.png"


def _made_alike(paths: Sequence[Path], rng: np.random.Generator) -> None:
    """Give all images one size in bytes and one time.

    Generated images are smoother and compress better, and take longer to make: either would tell.
    What fills them up is random, so that an archive of them shows no size either.
    """
    most = max(path.stat().st_size for path in paths) + _CHUNK_BYTES
    now = time.time_ns()
    for path in paths:
        png = path.read_bytes()
        body = _FILLER + rng.bytes(most - len(png) - _CHUNK_BYTES)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        with written_whole(path) as part:
            part.write_bytes(png[:-_END_BYTES] + chunk + png[-_END_BYTES:])
        os.utime(path, ns=(now, now))


def _embedded(images: Sequence[Pixels], rng: np.random.Generator) -> list[str]:
    """Return images for the page, all equally long; what follows the end of a JPEG is not shown."""
    uris = [data_uri(pixels, max(pixels.shape), _PAGE_QUALITY) for pixels in images]
    head = uris[0].partition(",")[0]
    files = [base64.b64decode(uri.partition(",")[2]) for uri in uris]
    most = max(len(file) for file in files)
    filled = [file + rng.bytes(most - len(file)) for file in files]
    return [f"{head},{base64.b64encode(file).decode('ascii')}" for file in filled]


def _page(study: str, images: list[dict[str, str]]) -> str:
    """Return the page that readers score on."""
    return render(
        "training",
        "study.html",
        study=study,
        images=images,
        levels=HER2_LEVELS,
        columns=SHEET_COLUMNS,
    )


def _key_csv(key: Sequence[StudyImage]) -> str:
    """Return the key as CSV."""
    rows = [(e.image, e.kind, e.pair, e.her2 or "", e.patient or "") for e in key]
    return table_text([KEY_COLUMNS, *rows])
