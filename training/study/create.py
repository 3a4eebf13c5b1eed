"""The paper's reader study: real and generated images, shuffled and blinded, to be scored 0 to 3+.

A study folder holds ``readers/`` to hand out (a page that works offline, the images, a blank
sheet) and, beside it, ``key.csv``, which readers must not see.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_json, write_text
from training.data.images import Pixels, write_png
from training.data.pairs import Pair
from training.errors import DataError
from training.evaluation.cases import data_uri
from training.evaluation.scoring import her2_levels

FORMAT = "bci-pipeline reader study"
VERSION = 1
KEY_COLUMNS = ("image", "kind", "pair", "her2", "patient")
SHEET_COLUMNS = ("study", "reader", "image", "her2")
REAL, GENERATED = "real", "generated"
_PAGE_QUALITY = 92
_SHUFFLES = 1000


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study as the key knows it; ``image`` is its number as text, such as ``007``."""

    image: str
    kind: str
    pair: str
    her2: str | None
    patient: str | None


def create_study(
    pairs: Sequence[Pair],
    make: Callable[[Pair, Pixels], Pixels],
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
    if (out / "key.csv").exists():
        raise DataError(f"{out} holds a study already. Choose another folder with --out.")
    rng = np.random.default_rng(secrets.randbits(64) if seed is None else seed)
    chosen = draw_pairs(pairs, count, rng)
    key = _blinded(chosen, rng)
    study = secrets.token_hex(4) if seed is None else f"{rng.integers(2**32):08x}"
    by_name = {pair.name: pair for pair in chosen}
    shown = []
    for number, entry in enumerate(key):
        pixels = _picture(by_name[entry.pair], entry.kind, make)
        write_png(out / "readers" / "images" / f"{entry.image}.png", pixels)
        shown.append({"id": entry.image, "src": _embedded(pixels)})
        on_image(number + 1, len(key))
    write_text(out / "readers" / "sheet.csv", blank_sheet(study, key))
    write_text(out / "readers" / "study.html", _page(study, shown))
    settings = {"study": study, "pairs": count, "levels": list(HER2_LEVELS)}
    write_json(out / "study.json", {"format": FORMAT, "version": VERSION, **settings})
    write_text(out / "key.csv", _key_csv(key))
    return key


def draw_pairs(pairs: Sequence[Pair], count: int, rng: np.random.Generator) -> list[Pair]:
    """Return ``count`` pairs, drawn in turn from each HER2 level as long as it lasts.

    Raises :class:`DataError` when there are fewer.
    """
    if len(pairs) < count:
        raise DataError(
            f"a study of {count} pairs needs {count} pairs with a generated image; there are "
            f"{len(pairs)}. Lower --n."
        )
    piles: dict[str | None, list[Pair]] = defaultdict(list)
    for number in rng.permutation(len(pairs)):
        piles[pairs[number].her2].append(pairs[number])
    order = [*her2_levels(pairs), *([None] if None in piles else [])]
    chosen: list[Pair] = []
    while len(chosen) < count:
        for level in order:
            if piles[level] and len(chosen) < count:
                chosen.append(piles[level].pop())
    return chosen


def blank_sheet(study: str, key: Sequence[StudyImage]) -> str:
    """Return the sheet that a reader fills in: one row per image, no score yet."""
    return _csv(SHEET_COLUMNS, [(study, "", entry.image, "") for entry in key])


def _blinded(pairs: Sequence[Pair], rng: np.random.Generator) -> tuple[StudyImage, ...]:
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


def _picture(pair: Pair, kind: str, make: Callable[[Pair, Pixels], Pixels]) -> Pixels:
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


def _embedded(pixels: Pixels) -> str:
    """Return an image for the page, at its full size."""
    return data_uri(pixels, shown_px=max(pixels.shape), quality=_PAGE_QUALITY)


def _page(study: str, images: list[dict[str, str]]) -> str:
    """Return the page that readers score on."""
    environment = Environment(
        loader=PackageLoader("training"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("study.html").render(
        study=study, images=images, levels=HER2_LEVELS, columns=SHEET_COLUMNS
    )


def _key_csv(key: Sequence[StudyImage]) -> str:
    """Return the key as CSV."""
    rows = [(e.image, e.kind, e.pair, e.her2 or "", e.patient or "") for e in key]
    return _csv(KEY_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a CSV file's text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
