"""Do images from elsewhere show what they are said to? A model would learn exchanged pairs backwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from registration.stains import Stain, stain_of
from training.data.images import SUFFIXES, Pixels, read_image
from training.data.pairs import PatchPair, spread_evenly

LOOKED_AT = 12
EVERY_PX = 4
"""Colours are those of every fourth row and column as well."""


def exchanged(pairs: Sequence[PatchPair]) -> str:
    """Say that inputs look like immunostains and targets like H&E; empty where they do not."""
    if not pairs:
        return ""
    he, ihc = zip(*(pair.read() for pair in spread_evenly(pairs, LOOKED_AT)), strict=True)
    if (_stain(he), _stain(ihc)) != ("IHC", "H&E"):
        return ""
    return (
        "the images look exchanged: those given as H&E are brown or blue as an immunostain, those given "
        "as IHC are pink as H&E"
    )


def immunostained(folder: Path) -> str:
    """Say that images of a folder look like immunostains where H&E is wanted; empty otherwise."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    shown = [path for path in paths if not path.name.startswith(".")]
    if not shown or _stain([read_image(path) for path in spread_evenly(shown, LOOKED_AT)]) != "IHC":
        return ""
    return f"the images in {folder} look like immunostains, not H&E: is it the right folder?"


def _stain(images: Sequence[Pixels]) -> Stain | None:
    """Return the stain that some images show together."""
    rows = [image[::EVERY_PX, ::EVERY_PX].reshape(-1, 3) for image in images]
    return stain_of(np.concatenate(rows))
