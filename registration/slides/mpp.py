"""How large a pixel is: what the file says, what the user gives, and whether they can be true."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from registration.errors import SlideError
from registration.slides.reader import SlideFacts

PLAUSIBLE_MPP = (0.05, 20.0)
MPP_TIMES_POWER = 10.0
"""A 40x scan has about 0.25 µm per pixel, a 20x scan about 0.5."""
POWER_CONTRADICTION = 1.6
MPP_DISAGREEMENT = 1.1
ANISOTROPY = 1.01
SCALES_APART = 8.0
CM_PER_INCH = 2.54
GLASS_MM = (27.0, 77.0)
"""An ordinary glass slide, 26 x 76 mm, with a millimetre to spare."""


def settle_mpp(
    path: Path, facts: SlideFacts, given: float | None, option: str
) -> tuple[float, tuple[str, ...]]:
    """Return the µm per pixel to use and what to warn of.

    Raises :class:`SlideError` naming ``option`` where there is no value, or an implausible one.
    """
    low, high = PLAUSIBLE_MPP
    if given is not None and not low <= given <= high:
        raise SlideError(
            f"{option} {given:g}: expected micrometres per pixel from {low:g} to {high:g}, such as "
            "0.25 for a 40x scan or 0.46 for a 20x scan."
        )
    stored = None if facts.mpp_xy is None else float(np.sqrt(facts.mpp_xy[0] * facts.mpp_xy[1]))
    if given is None:
        if stored is None:
            raise SlideError(
                f"{path}: the file does not say how large a pixel is"
                f"{_power_hint(facts)}. Give it with {option}, in µm per pixel."
            )
        if not low <= stored <= high:
            raise SlideError(
                f"{path}: the file says {stored:g} µm per pixel, which no slide scanner has. "
                f"Give the true value with {option}."
            )
        if facts.unit_missing:
            raise SlideError(
                f"{path}: the resolution has no unit: {stored:.4g} µm per pixel if it is per inch, "
                f"{stored / CM_PER_INCH:.4g} if per centimetre. Give the true value with {option}."
            )
    mpp = given if given is not None else stored
    assert mpp is not None
    return mpp, tuple(_mpp_warnings(path, facts, mpp, option))


def scales_that_fit(he: float, ihc: float, factor: float) -> str:
    """Say which µm per pixel would fit: the H&E slide's times ``factor``, or the other one's over it."""
    exchanged = (ihc / he) ** 2
    return (
        f"H&E has about {he * factor:.2g} µm/px, not {he:g}, or IHC about "
        f"{ihc / factor:.2g}, not {ihc:g}: one of the two is wrong"
        + (", or they are exchanged" if math.isclose(factor, exchanged, rel_tol=0.05) else "")
    )


def _mpp_warnings(path: Path, facts: SlideFacts, mpp: float, option: str) -> list[str]:
    """Compare the chosen mpp with everything else that the file says."""
    warnings = []
    if facts.mpp_xy is not None:
        x, y = facts.mpp_xy
        if max(x, y) > ANISOTROPY * min(x, y):
            warnings.append(f"{path.name}: pixels are not square: {x:g} x {y:g} µm; using {mpp:g}.")
        stored = float(np.sqrt(x * y))
        meant = [stored, stored / CM_PER_INCH] if facts.unit_missing else [stored]
        meant = [value for value in meant if PLAUSIBLE_MPP[0] <= value <= PLAUSIBLE_MPP[1]]
        if meant and all(_factor(value, mpp) > MPP_DISAGREEMENT for value in meant):
            said = " or ".join(f"{value:.4g}" for value in meant)
            warnings.append(f"{path.name}: using {mpp:g} µm/px as given; the file says {said}.")
    power = facts.objective_power
    if power and _factor(mpp * power, MPP_TIMES_POWER) > POWER_CONTRADICTION:
        warnings.append(
            f"{path.name}: {mpp:g} µm/px does not fit the objective, {power:g}x: about "
            f"{MPP_TIMES_POWER / power:.2g} is expected. Give the true value with {option}."
        )
    width, height = (side * mpp / 1000 for side in (facts.sizes[0].width, facts.sizes[0].height))
    if min(width, height) > GLASS_MM[0] or max(width, height) > GLASS_MM[1]:
        warnings.append(
            f"{path.name}: at {mpp:g} µm/px it would be {width:.0f} x {height:.0f} mm, larger than an "
            "ordinary glass slide of 26 x 76 mm. Unless the glass is a large one, give the true value "
            f"with {option}."
        )
    return warnings


def _power_hint(facts: SlideFacts) -> str:
    """Say what the objective power suggests, where it is known."""
    if not facts.objective_power:
        return ""
    return (
        f" (its objective, {facts.objective_power:g}x, suggests about "
        f"{MPP_TIMES_POWER / facts.objective_power:.2g})"
    )


def _factor(a: float, b: float) -> float:
    """Return how many times the larger is the smaller."""
    return max(a, b) / min(a, b)


def question_scales(names: tuple[str, str], mpps: tuple[float, float]) -> tuple[str, ...]:
    """Return a warning where two slides of a case differ so much in scale that one must be wrong."""
    if _factor(*mpps) <= SCALES_APART:
        return ()
    return (
        f"{names[0]} has {mpps[0]:g} µm/px and {names[1]} {mpps[1]:g}: more than "
        f"{SCALES_APART:g}-fold apart; is that right? Otherwise give the true values by hand.",
    )
