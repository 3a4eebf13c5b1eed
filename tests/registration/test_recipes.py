"""What a recipe does to slides and pieces of one size or another."""

from __future__ import annotations

import pytest

from registration.geometry import Size
from registration.recipes import RegistrationSettings, block_downsample, settings_of_part

MPP = 0.46
GLASS = Size(20_480, 20_480)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Size(20_480, 20_480), (4, 4)),
        (Size(10_240, 10_240), (2, 2)),
        (Size(10_240, 4_000), (1, 2)),
        # Worked on at full resolution, the glass at half of it.
        (Size(5_120, 5_120), (2, 2)),
        (Size(900, 900), (1, 1)),
    ],
)
def test_blocks_of_a_part_have_as_many_pixels_to_work_on_as_those_of_the_slide(
    part: Size, expected: tuple[int, int]
) -> None:
    finer = block_downsample(GLASS, MPP) / block_downsample(part, MPP)

    settings = settings_of_part(RegistrationSettings(), part, GLASS, finer)

    assert (settings.rows, settings.columns) == expected
    work_px = part.width / settings.columns / block_downsample(part, MPP)
    assert work_px <= 1.5 * GLASS.width / 4 / block_downsample(GLASS, MPP)


def test_a_part_has_no_more_blocks_than_the_slide_would() -> None:
    settings = settings_of_part(RegistrationSettings(), Size(5_000, 5_000), GLASS, 8.0)

    assert (settings.rows, settings.columns) == (4, 4)
