"""Pictures of a dataset: what is written on them can be read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pictures
from PIL import ImageDraw

from pipeline.dataset.figures import PAIR_PX, PairPicture, contact_sheet, sheet_font


def drawn(text: str) -> bytes:
    return bytes(sheet_font().getmask(text))


@pytest.mark.parametrize("letter", "µ·%αβκ²éüÅß–×")
def test_the_letters_of_captions_and_stains_are_in_the_font(letter: str) -> None:
    assert drawn(letter) != drawn("\U0010ffff")


def test_a_caption_of_the_longest_figures_stays_below_its_pair() -> None:
    longest = "tissue 100 / 100 % · shift 10.0 µm · similarity 0.75 · beats 100 %"
    blank = np.full((PAIR_PX, 2 * PAIR_PX, 3), 255, np.uint8)

    sheet = contact_sheet([PairPicture(blank, "case_512_1024", longest)] * 2)

    width = ImageDraw.Draw(Pictures.new("RGB", (1, 1))).textlength(longest, font=sheet_font())
    assert width <= 2 * PAIR_PX
    assert sheet.min() < 128
