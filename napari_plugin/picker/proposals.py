"""Places that a machine proposes: the partner of one picked point, and whole pairs.

Run as ``python -m napari_plugin.picker.proposals HE IHC`` it prints the pairs that ``register`` would begin
with as JSON: a process of its own, so that the window stays alive.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_plugin.picker.pieces import Found, outer
from napari_plugin.views import SIDES, XY
from registration.children import end_with_parent
from registration.errors import RegistrationError
from registration.geometry import Box, Points, from_level0
from registration.matching import match_points, structure
from registration.piece_map import outlines_of
from registration.pieces.find import find_pieces
from registration.slides.slide import Slide, open_slide
from registration.tissue import TissueMap
from registration.transforms import Projective
from registration.warp import warp_box

STEPS = ((4.0, 320.0, 160.0), (1.0, 100.0, 16.0))
"""µm per pixel, side of the patch and reach of the search in µm: first roughly, then closely."""
LEAST_SCORE = 0.35
LEAST_DISTINCT = 0.05
EDGE_UM = 25.0
CONFIRMED = "suggested"


@dataclass(frozen=True, slots=True)
class Place:
    """A proposed IHC point."""

    xy: XY
    matched: bool
    """Whether the images agree on it; otherwise it is what the other pairs predict."""

    @property
    def note(self) -> str:
        """What to tell the user."""
        if self.matched:
            return "found by matching the two images"
        return "predicted from your other pairs; the images show no clear match here"


def propose_place(he: Slide, ihc: Slide, ihc_to_he: Projective, he_xy: XY) -> Place:
    """Return where the IHC slide shows what the H&E slide shows at ``he_xy``.

    ``ihc_to_he`` is the affine fit of the pairs so far. Around the place that it predicts the H&E
    slide is warped by it and matched with the IHC slide, at two resolutions.
    """
    predicted = ihc_to_he.inverse([he_xy])[0]
    found = predicted
    for mpp, patch_um, search_um in STEPS:
        shift = _shift(
            he, ihc, _through(ihc_to_he, found, he_xy), found, (mpp, patch_um, search_um)
        )
        if shift is None:
            return Place(_xy(predicted), matched=False)
        found = found + shift
    return Place(_xy(found), matched=True)


class Proposer:
    """Proposes IHC places for points of one H&E slide, where there is tissue."""

    def __init__(self, he: Slide, ihc: Slide) -> None:
        self._he, self._ihc = he, ihc

    def place(self, ihc_to_he: Projective, he_xy: XY, ihc_xy: XY | None = None) -> Place | None:
        """Return the IHC place of an H&E point, searched around ``ihc_xy`` where that is known.

        ``None`` where either slide shows glass: there is nothing to see that could be a pair.
        """
        if not self._he_tissue.at(np.array([he_xy]))[0]:
            return None
        if ihc_xy is not None:
            ihc_to_he = _through(ihc_to_he, np.array(ihc_xy), he_xy)
        place = propose_place(self._he, self._ihc, ihc_to_he, he_xy)
        return place if self._ihc_tissue.at(np.array([place.xy]))[0] else None

    def both_on_tissue(self, he: Points, ihc: Points) -> NDArray[np.bool_]:
        """Return which pairs of ``(N, 2)`` points lie on tissue of both slides."""
        return self._he_tissue.at(he) & self._ihc_tissue.at(ihc)

    def pieces(self) -> Found:
        """Return the outlines of the pieces of tissue on each slide, as ``register`` finds them."""
        found: Found = {}
        for side, slide in zip(SIDES, (self._he, self._ihc), strict=True):
            pieces = find_pieces(TissueMap.of(slide), slide.mpp)
            found[side] = tuple(
                outer(outlines_of(pieces.mask(number), pieces.downsample))
                for number in pieces.numbers
            )
        return found

    @cached_property
    def _he_tissue(self) -> TissueMap:
        return _with_edge(self._he)

    @cached_property
    def _ihc_tissue(self) -> TissueMap:
        return _with_edge(self._ihc)


def _with_edge(slide: Slide) -> TissueMap:
    """Return the tissue of a slide with a margin: notches in its edge are good places."""
    return TissueMap.of(slide).grown(EDGE_UM / slide.mpp)


def _through(ihc_to_he: Projective, ihc_point: np.ndarray, he_xy: XY) -> Projective:
    """Return the fit, shifted so that it takes ``ihc_point`` to ``he_xy``."""
    shift = np.array(he_xy) - ihc_to_he([ihc_point])[0]
    return Projective.translation(*shift.tolist()).after(ihc_to_he)


def _shift(
    he: Slide,
    ihc: Slide,
    transform: Projective,
    at: np.ndarray,
    step: tuple[float, float, float],
) -> np.ndarray | None:
    """Return how far from ``at`` the IHC slide shows it, in level-0 px; ``None`` where unclear."""
    mpp, patch_um, search_um = step
    downsample = max(1.0, mpp / ihc.mpp)
    patch_px, search_px = (
        max(4, round(length / (ihc.mpp * downsample))) for length in (patch_um, search_um)
    )
    center = from_level0(at[None], downsample)[0]
    reach = patch_px // 2 + search_px + 2
    corner = np.floor(center).astype(int) - reach
    box = Box(int(corner[0]), int(corner[1]), 2 * reach + 1, 2 * reach + 1)
    warped = warp_box(he, transform, box, downsample).image
    match = match_points(
        structure(warped),
        structure(ihc.read_scaled(box, downsample)),
        center[None] - corner,
        patch_px,
        search_px,
    )
    clear = (
        match.bounded[0]
        and match.score[0] >= LEAST_SCORE
        and match.distinctness[0] >= LEAST_DISTINCT
    )
    return np.asarray(match.shifts[0] * downsample) if clear else None


def main(arguments: list[str]) -> int:
    """Print suggested pairs as JSON; 2 and a message on stderr where a slide cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m napari_plugin.picker.proposals")
    parser.add_argument("he")
    parser.add_argument("ihc")
    parser.add_argument("--mpp-he", type=float)
    parser.add_argument("--mpp-ihc", type=float)
    given = parser.parse_args(arguments)
    from registration.start.propose import propose_alignment  # which no window needs

    try:
        with (
            open_slide(given.he, given.mpp_he, "--mpp-he") as he,
            open_slide(given.ihc, given.mpp_ihc, "--mpp-ihc") as ihc,
        ):
            start = propose_alignment(ihc, he)
            fixed, moving = start.landmarks
            seen = Proposer(he, ihc).both_on_tissue(moving, fixed)
            fixed, moving = fixed[seen], moving[seen]
    except RegistrationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    result = {
        "pairs": [[he.tolist(), ihc.tolist()] for he, ihc in zip(moving, fixed, strict=True)],
        "verified": start.verified,
        "reasons": list(start.reasons),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def read_suggestions(text: str) -> tuple[list[tuple[XY, XY]], str]:
    """Return the pairs that :func:`main` printed, and what is to be said of them.

    That is :data:`CONFIRMED` where the images confirm them.
    """
    result = json.loads(text)
    pairs = [(_xy(he), _xy(ihc)) for he, ihc in result["pairs"]]
    if result["verified"]:
        return pairs, CONFIRMED
    return pairs, f"suggested, but not confirmed: {'; '.join(result['reasons'])}"


def _xy(point: np.ndarray | list[float]) -> XY:
    x, y = (float(value) for value in point)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"({x}, {y}) is no place on a slide")
    return x, y


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1:]))
