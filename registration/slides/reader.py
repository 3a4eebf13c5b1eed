"""What every slide reader has in common: its facts, and one way to read pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
    origin: tuple[int, int] = (0, 0)
    """Level-0 pixel from which QuPath counts: the corner of what was scanned, not of the image."""
    warnings: tuple[str, ...] = ()
    """What was left out of the file or not understood, one sentence each."""


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
