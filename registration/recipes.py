"""What each recipe does to a slide of a given size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from registration.geometry import Size
from registration.stain import Channel

Recipe = Literal["default", "paper"]

WORK_SIDE_PX = 8000
COARSEST_WORK_MPP = 2.0
"""The fine pass works on about this many pixels a side, but no coarser than 2 µm/px: accuracy on
consecutive sections saturates at 4 to 8 µm/px (Lotz et al., JMI 2023)."""

FULL_RESOLUTION_SIDE_PX = 6000
"""Smaller images are registered at full resolution, others at half of it or less."""

HALOS_PER_SIDE = 64

COARSE_SIDE_PX = 1024
"""The coarse pass works on at least this many pixels a side."""


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """The choices a user has."""

    recipe: Recipe = "default"
    channel: Channel = "hematoxylin"
    rows: int = 4
    columns: int = 4


@dataclass(frozen=True, slots=True)
class PassSettings:
    """One non-rigid pass. Lengths in micrometres, so that they hold at any resolution."""

    rows: int
    columns: int
    mpp: float
    """Resolution of the images that are registered."""
    grid_um: float
    """Distance of the B-spline's control points at the finest resolution."""
    halo_um: float
    iterations: int
    samples: int
    resolutions: int
    metric: str = "AdvancedNormalizedCorrelation"


def fine_pass(settings: RegistrationSettings, size: Size, mpp: float) -> PassSettings:
    """Return the pass of blocks for a fixed slide of ``size`` and ``mpp``.

    The default recipe starts from the coarse pass and needs elastix's finest resolution alone; the
    paper's starts from the projective transform, without halo, with elastix's usual four.
    """
    longest = max(size.width, size.height)
    literal = settings.recipe == "paper"
    return PassSettings(
        rows=settings.rows,
        columns=settings.columns,
        mpp=mpp * work_downsample(longest, mpp),
        grid_um=mpp * grid_px(longest),
        halo_um=0.0 if literal else mpp * longest / HALOS_PER_SIDE,
        iterations=500 if literal else 300,
        samples=4096,
        resolutions=4 if literal else 1,
        metric="AdvancedNormalizedCorrelation" if literal else "AdvancedMattesMutualInformation",
    )


def settings_of_part(
    settings: RegistrationSettings, part: Size, whole: Size, finer: float
) -> RegistrationSettings:
    """Return the settings for a part of a slide, which is worked on so many times as fine.

    Its blocks have about as many pixels to work on as the whole slide's: they bound the memory.
    """
    rows, columns = (
        min(most, max(1, round(most * finer * side / total)))
        for most, side, total in (
            (settings.rows, part.height, whole.height),
            (settings.columns, part.width, whole.width),
        )
    )
    return replace(settings, rows=rows, columns=columns)


def coarse_downsample(size: Size) -> float:
    """Return the downsample of the coarse pass."""
    return _power_of_two(max(size.width, size.height) / COARSE_SIDE_PX)


def work_downsample(longest: int, mpp: float) -> float:
    """Return the downsample of the fine pass for a slide of ``longest`` pixels."""
    if longest < FULL_RESOLUTION_SIDE_PX:
        return 1.0
    coarsest = _power_of_two(max(2.0, COARSEST_WORK_MPP / mpp))
    return min(max(2.0, _power_of_two(longest / WORK_SIDE_PX)), coarsest)


def block_downsample(size: Size, mpp: float) -> float:
    """Return the downsample of the fine pass for a slide of ``size``."""
    return work_downsample(max(size.width, size.height), mpp)


def grid_px(longest: int) -> float:
    """Return the control-point distance of the fine pass in level-0 pixels.

    A finer grid fits noise, a coarser one misses how tissue really deforms.
    """
    return 150 * math.sqrt(longest / 4096)


def _power_of_two(wanted: float) -> float:
    """Return the largest power of two that is not above ``wanted``, at least 1."""
    power = 1.0
    while power * 2 <= wanted * 1.01:
        power *= 2
    return power
