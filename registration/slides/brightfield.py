"""Whether a slide is brightfield: stained tissue on bright glass."""

from __future__ import annotations

import numpy as np

from registration.slides.slide import Slide

LOOKED_AT_PX = 512
DARK = 60
"""Brightest channel below which a place is as dark as ground that was not lit, of 255."""
DARK_SHARE = 0.5


def not_brightfield(slide: Slide) -> str | None:
    """Say in one sentence why a slide is no brightfield image; ``None`` where it is one.

    In fluorescence and dark field the ground is dark: most of what was scanned. Even dense tissue
    that fills a brightfield slide lets much of the light of one channel through.
    """
    pixels, _ = slide.thumbnail(LOOKED_AT_PX)
    brightest = pixels.max(axis=-1)
    scanned = brightest[pixels.min(axis=-1) < 255]
    share = float(np.mean(scanned < DARK)) if scanned.size else 0.0
    if share < DARK_SHARE:
        return None
    return (
        f"{slide.path.name} is not brightfield: {share:.0%} of it is dark ground, as in fluorescence. "
        "Give a slide with stained tissue on bright glass"
    )
