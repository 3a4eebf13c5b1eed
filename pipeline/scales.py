"""What µm per pixel the slides of a cohort have in common, and how a person is told."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low


def usual_scale(mpps: Sequence[float], factor: float) -> float | None:
    """Return a scale that more than half of the slides have, to within ``factor``, if there is one.

    >>> usual_scale([0.25, 0.25, 0.46], 1.1), usual_scale([1.74, 1.74, 3.2, 3.2], 1.1)
    (0.25, None)
    """
    if not mpps:
        return None
    middle = median_low(mpps)
    alike = sum(1 / factor <= mpp / middle <= factor for mpp in mpps)
    return middle if 2 * alike > len(mpps) else None


def others_have(mpps: Sequence[float], factor: float) -> str:
    """Say which scales the slides of a cohort have.

    >>> others_have([0.25, 0.25, 0.46], 1.1), others_have([1.74, 1.74, 3.2, 3.2], 1.1)
    ('most slides have 0.25', 'the slides have 1.74 to 3.2')
    """
    usual = usual_scale(mpps, factor)
    if usual is None:
        return f"the slides have {min(mpps):.4g} to {max(mpps):.4g}"
    return f"most slides have {usual:.4g}"
