"""Do pairs from elsewhere show what they are said to? A model would learn an exchanged pair backwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from registration.stains import stain_of
from training.data.pairs import PatchPair, spread_evenly

LOOKED_AT = 12
EVERY_PX = 4
"""Colours are those of every fourth row and column as well."""


def exchanged(pairs: Sequence[PatchPair]) -> str:
    """Say that inputs look like immunostains and targets like H&E; empty where they do not."""
    if not pairs:
        return ""
    he, ihc = (
        np.concatenate([image[::EVERY_PX, ::EVERY_PX].reshape(-1, 3) for image in images])
        for images in zip(*(pair.read() for pair in spread_evenly(pairs, LOOKED_AT)), strict=True)
    )
    if (stain_of(he), stain_of(ihc)) != ("IHC", "H&E"):
        return ""
    return (
        "the images look exchanged: those given as H&E are brown or blue as an immunostain, those given "
        "as IHC are pink as H&E"
    )
