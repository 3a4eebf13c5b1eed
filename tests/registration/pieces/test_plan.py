"""Which pieces start together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from registration.geometry import Image
from registration.pair import SlidePair
from registration.pieces.plan import choose_starts
from registration.pieces.planned import PiecePlan
from registration.slides.slide import open_slide
from registration.synth import SynthSettings, render_pair
from registration.tissue import TissueMap

MPP = 2.0
GLASS = 243


def drawn(seed: int, size: int) -> tuple[Image, Image]:
    """An H&E and an IHC section of one specimen, hardly moved."""
    settings = SynthSettings(
        size=size, seed=seed, mpp_he=MPP, mpp_ihc=MPP, warp_px=2.0, rotation_deg=1.0
    )
    he, ihc, _ = render_pair(settings)
    return he, ihc


def glass(path: Path, large: Image, small: Image) -> Path:
    """Two pieces beside each other."""
    image = np.full((704, 1344, 3), GLASS, np.uint8)
    for x, piece in ((64, large), (736, small)):
        image[64 : 64 + piece.shape[0], x : x + piece.shape[1]] = piece
    PillowImage.fromarray(image).save(path)
    return path


@pytest.mark.slow
def test_control_tissue_where_a_piece_is_lost_does_not_go_with_its_neighbour(
    tmp_path: Path,
) -> None:
    he, ihc = drawn(3, 576)
    lost, _ = drawn(4, 512)
    _, control = drawn(5, 512)
    with (
        open_slide(glass(tmp_path / "he.png", he, lost), MPP) as moving,
        open_slide(glass(tmp_path / "ihc.png", ihc, control), MPP) as fixed,
    ):
        found = choose_starts(SlidePair(moving, fixed), None, tmp_path, TissueMap.of(fixed))

    assert isinstance(found, PiecePlan)
    assert [piece.fixed.numbers for piece in found.planned] == [(1,)]
    assert [(piece.on_fixed, piece.part.numbers) for piece in found.lone] == [
        (True, (2,)),
        (False, (2,)),
    ]
