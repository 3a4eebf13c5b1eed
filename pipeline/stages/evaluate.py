"""What ``evaluate`` needs of slides: their nuclei."""

from __future__ import annotations

from registration.nuclei import can_show_nuclei, find_nuclei
from training.data.images import Pixels
from training.metrics.pathology import FoundNuclei


def nuclei_of(image: Pixels, mpp: float) -> FoundNuclei | None:
    """Return the nuclei of an image of ``mpp`` µm per pixel; ``None`` where it is too coarse."""
    if not can_show_nuclei(mpp):
        return None
    found = find_nuclei(image, mpp)
    return FoundNuclei(found.points * mpp, found.sure)
