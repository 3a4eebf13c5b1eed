"""Whether a slide is brightfield: stained tissue on bright glass; and whether its stain can be seen."""

from __future__ import annotations

import numpy as np

from registration.slides.slide import Slide

LOOKED_AT_PX = 512
DARK = 60
"""Brightest channel below which a place is as dark as ground that was not lit, of 255."""
DARK_SHARE = 0.5
FAINT = 0.08
"""Optical density beyond the glass's that the densest hundredth of a stained slide has at least."""


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
        f"{slide.path.name} is not brightfield: {100 * share:.0f} % of it is dark ground, as in "
        "fluorescence. Give a slide with stained tissue on bright glass"
    )


def too_faint(slide: Slide) -> str | None:
    """Say in one sentence that a slide shows hardly more than glass; ``None`` where it shows more."""
    pixels, _ = slide.thumbnail(LOOKED_AT_PX)
    light = np.maximum(pixels.reshape(-1, 3).astype(float), 1)
    glass = np.percentile(light, 95, axis=0)
    densest = float(np.percentile(np.log10(glass / light).mean(axis=1), 99))
    if densest >= FAINT:
        return None
    return (
        f"{slide.path.name} is too faint: its stain has an optical density of {densest:.2f} beyond the "
        f"glass's, {FAINT:g} are needed to tell tissue from glass; scan it again with more contrast"
    )
