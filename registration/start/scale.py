"""Do two sections match at another ratio of scales than was said? Then a slide's µm per pixel is wrong.

The search for a start looks near the scales that the slides say. Where it fails, it is worth looking where
a person's or a program's mistake would lie: one of the two scales off by the usual factors, or both
exchanged. A scale that is wrong on both slides alike changes no match, and cannot be seen so.
"""

from __future__ import annotations

import math

import numpy as np

from registration.pair import SlidePair
from registration.slides.brightfield import too_faint
from registration.slides.mpp import scales_that_fit
from registration.slides.slide import Slide
from registration.start.propose import propose_near

FACTORS = (2.0, 0.5, 4.0, 0.25, 2.54, 1 / 2.54)
"""Another objective, another level of a pyramid, inches for centimetres."""

FEWEST_AGREEING = 30.0
"""Patches. Right scales had 52 and more on six pairs (three of them drawn), wrong ones at most 11."""

MOST_READ_PX = 2 * 10**8
"""A slide without a level as small as this would be decoded whole for every search."""


def scale_doubt(pair: SlidePair) -> str | None:
    """Return at which µm per pixel the sections match, if not at those of the slides; else ``None``.

    Takes some seconds: one search for each way in which a scale may be wrong.
    """
    fixed, moving = pair.fixed_slide, pair.moving_slide
    if any(too_faint(slide) or _smallest(slide) > MOST_READ_PX for slide in (fixed, moving)):
        return None
    exchanged = (fixed.mpp / moving.mpp) ** 2
    for factor in (*FACTORS, exchanged):
        with moving.taken_at(moving.mpp * factor) as other:
            found = propose_near(fixed, other)
        if found.verified and found.evidence["share"] * found.evidence["points"] > FEWEST_AGREEING:
            # Moving pixels per fixed pixel; the search finds what lies some way beside the factor, too.
            zoom = math.sqrt(abs(np.linalg.det(found.transform.matrix[:2, :2])))
            measured = fixed.mpp / zoom / moving.mpp
            factor = measured if pair.moving == "he" else 1 / measured
            return f"the sections match if {scales_that_fit(pair.he.mpp, pair.ihc.mpp, factor)}"
    return None


def _smallest(slide: Slide) -> int:
    """Return the pixels of a slide's smallest level."""
    width, height = slide.levels[-1].size.shape
    return width * height
