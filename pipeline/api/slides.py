"""Opening a slide from Python."""

from __future__ import annotations

from pathlib import Path

from pipeline.api.arguments import checked
from registration.slides import slide


@checked
def open_slide(path: str | Path, mpp: float | None = None) -> slide.Slide:
    """Open a slide or plain image; ``mpp`` (µm per level-0 pixel) replaces what the file says.

    The result has its ``size`` and ``mpp``, ``read(box, level)`` and ``thumbnail(side)``. Raises
    :class:`registration.errors.SlideError` with the reason where it cannot be read.
    """
    return slide.open_slide(path, mpp)
