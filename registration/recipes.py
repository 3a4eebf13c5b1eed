"""What each recipe does to a slide of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registration.geometry import Size
from registration.nonrigid import PassSettings
from registration.stain import Channel

Recipe = Literal["default", "paper"]

WORK_SIDE_PX = 5000
COARSEST_WORK_MPP = 2.0
"""The fine pass works on about this many pixels a side, but no coarser than 2 µm/px: accuracy on
consecutive sections saturates at 4 to 8 µm/px (Lotz et al., JMI 2023)."""

FULL_RESOLUTION_SIDE_PX = 3000
"""Smaller images are registered at full resolution, others at half of it or less."""

COARSE_SIDE_PX = 1024
COARSE_GRID_PX = 60


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """The choices a user has."""

    recipe: Recipe = "default"
    channel: Channel = "hematoxylin"
    rows: int = 4
    columns: int = 4


def passes(settings: RegistrationSettings, size: Size, mpp: float) -> tuple[PassSettings, ...]:
    """Return the non-rigid passes for a fixed slide of ``size`` and ``mpp``, the first one first."""
    longest = max(size.width, size.height)
    work = work_downsample(longest, mpp)
    fine = PassSettings(
        rows=settings.rows,
        columns=settings.columns,
        mpp=mpp * work,
        grid_um=mpp * grid_px(longest),
        halo_um=mpp * longest / 40,
        iterations=150,
        samples=5000,
        resolutions=2,
        metric="AdvancedMattesMutualInformation",
    )
    if settings.recipe == "paper":
        return (_independent(fine),)
    coarse_downsample = _power_of_two(longest / COARSE_SIDE_PX)
    coarse = PassSettings(
        rows=1,
        columns=1,
        mpp=mpp * coarse_downsample,
        grid_um=mpp * coarse_downsample * COARSE_GRID_PX,
        halo_um=0.0,
        iterations=500,
        samples=4096,
        resolutions=4,
    )
    return (coarse, fine)


def work_downsample(longest: int, mpp: float) -> float:
    """Return the downsample of the fine pass for a slide of ``longest`` pixels."""
    if longest < FULL_RESOLUTION_SIDE_PX:
        return 1.0
    coarsest = _power_of_two(max(2.0, COARSEST_WORK_MPP / mpp))
    return min(max(2.0, _power_of_two(longest / WORK_SIDE_PX)), coarsest)


def grid_px(longest: int) -> float:
    """Return the control-point distance of the fine pass in level-0 pixels.

    A twentieth of a small image; 200 px at 4,096 and 300 px at 20,480, where a finer grid fits
    noise and a coarser one misses folds of the tissue.
    """
    if longest <= 4096:
        return longest / 20
    return float(200 * (longest / 4096) ** 0.25)


def _independent(fine: PassSettings) -> PassSettings:
    """Return the paper's pass: no halo, elastix's usual four resolutions for what is far off."""
    return PassSettings(
        rows=fine.rows,
        columns=fine.columns,
        mpp=fine.mpp,
        grid_um=fine.grid_um,
        halo_um=0.0,
        iterations=500,
        samples=4096,
        resolutions=4,
    )


def _power_of_two(wanted: float) -> float:
    """Return the largest power of two that is not above ``wanted``, at least 1."""
    power = 1.0
    while power * 2 <= wanted * 1.01:
        power *= 2
    return power
