"""What every slide reader has in common: its facts, and one way to read pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Image, Size


@dataclass(frozen=True)
class SlideFacts:
    """What a file says about itself."""

    vendor: str
    sizes: tuple[Size, ...]
    """Size of each level, largest first."""
    mpp_xy: tuple[float, float] | None
    """Micrometres per level-0 pixel along x and y; ``None`` where the file does not say."""
    objective_power: float | None = None
    icc_profile: bytes | None = None
    unit_missing: bool = False
    """Whether a TIFF gives a resolution without its unit, so that ``mpp_xy`` is a guess."""


class SlideReader(Protocol):
    """A file that is open for reading in this process; safe to use from several threads."""

    @property
    def facts(self) -> SlideFacts:
        """What the file says about itself."""
        ...

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box``, which lies wholly on ``level``: ``(h, w, 3)`` RGB."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def on_white(rgba: NDArray[np.uint8]) -> Image:
    """Return ``(h, w, 4)`` RGBA pixels (not premultiplied) composited on white, ``(h, w, 3)``."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)
    weight = alpha.astype(np.uint16)
    blended = (rgba[..., :3] * weight + 255 * (255 - weight) + 127) // 255
    return blended.astype(np.uint8)
