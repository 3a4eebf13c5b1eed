"""What each recipe does to a slide of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registration.geometry import Size
from registration.nonrigid import PassSettings
from registration.stain import Channel

Recipe = Literal["default", "paper"]

WORK_SIDE_PX = 5500
"""The fine pass works at the resolution at which a slide has about this many pixels a side; finer
gains little (consecutive sections saturate at 4 to 8 µm/px; Lotz et al., JMI 2023) and costs time."""

COARSE_SIDE_PX = 1280


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
    work = _power_of_two(longest / WORK_SIDE_PX)
    fine = PassSettings(
        rows=settings.rows,
        columns=settings.columns,
        mpp=mpp * work,
        grid_um=mpp * work * 75,
        halo_um=mpp * longest / 40,
        iterations=300,
        samples=2500,
        resolutions=3,
    )
    if settings.recipe == "paper":
        return (_independent(fine),)
    coarse_downsample = _power_of_two(longest / COARSE_SIDE_PX)
    coarse = PassSettings(
        rows=1,
        columns=1,
        mpp=mpp * coarse_downsample,
        grid_um=mpp * coarse_downsample * 40,
        halo_um=0.0,
        iterations=500,
        samples=4096,
        resolutions=5,
    )
    return (coarse, fine)


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
