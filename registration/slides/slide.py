"""Whole-slide images: one interface for vendor formats (OpenSlide) and plain images (``raster``).

Boxes are in pixels of the level that is read; whatever lies off the slide, or was not scanned, is
white. Levels are chosen by downsample, never by number: OpenSlide invents levels for some vendors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from registration.errors import SlideError
from registration.files.colour import is_usable, to_srgb
from registration.files.refusal import check_file
from registration.files.words import reason
from registration.geometry import Box, Image, Size
from registration.slides.mpp import settle_mpp
from registration.slides.raster import is_ome_tiff, open_raster
from registration.slides.reader import SlideFacts, SlideReader
from registration.slides.resample import area_average, source_box
from registration.slides.vendors import OpenSlideReader, vendor_of

OPEN_PER_PROCESS = 16


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide."""

    size: Size
    downsample: float
    """Level-0 pixels per pixel of this level; exact where the file's rounded sizes allow it."""


class Slide:
    """An open slide; made by :func:`open_slide`.

    Can be pickled: another process opens the file again, once, however many slides it receives.
    Can be read from several threads. After a fork, and after :meth:`close`, the next read reopens.
    """

    def __init__(self, path: Path, facts: SlideFacts, mpp: float, warnings: tuple[str, ...]):
        self.path = path
        self.mpp = mpp
        """Micrometres per level-0 pixel."""
        self.warnings = warnings
        """What is odd about this slide, one sentence each."""
        self.size = facts.sizes[0]
        """Size of level 0."""
        self.levels = tuple(
            Level(size, downsample_between(facts.sizes[0], size)) for size in facts.sizes
        )
        """Largest first."""
        self.vendor = facts.vendor
        self.objective_power = facts.objective_power
        self._facts = facts
        self._reader: SlideReader | None = None
        self._process = -1
        self._lock = threading.Lock()

    @property
    def origin(self) -> tuple[int, int]:
        """Level-0 pixel from which QuPath counts on this slide."""
        return self._facts.origin

    def read(self, box: Box, level: int = 0) -> Image:
        """Return the pixels of ``box`` of a level, ``(box.height, box.width, 3)`` RGB in sRGB.

        Raises :class:`SlideError` where the file is damaged there.
        """
        inside = box.clipped(self.levels[level].size)
        if inside.width == 0 or inside.height == 0:
            return np.full((box.height, box.width, 3), 255, np.uint8)
        pixels = to_srgb(self._read_inside(inside, level), self._facts.icc_profile)
        if inside == box:
            return pixels
        image = np.full((box.height, box.width, 3), 255, np.uint8)
        y, x = inside.y - box.y, inside.x - box.x
        image[y : y + inside.height, x : x + inside.width] = pixels
        return image

    def level_for(self, downsample: float) -> int:
        """Return the smallest level that still has all the detail of ``downsample``."""
        enough = [
            number
            for number, level in enumerate(self.levels)
            if level.downsample <= downsample * (1 + 1e-3)
        ]
        return max(enough, key=lambda number: self.levels[number].downsample, default=0)

    def read_scaled(self, box: Box, downsample: float) -> Image:
        """Return ``box`` of a virtual level with exactly this ``downsample``.

        Virtual pixel ``x`` is the average of level-0 positions ``x * d - 0.5 .. (x + 1) * d - 0.5``,
        so that its centre lies at ``(x + 0.5) * d - 0.5``. Read from the best stored level.
        """
        number = self.level_for(downsample)
        ratio = downsample / self.levels[number].downsample
        source = source_box(box, ratio)
        return area_average(lambda part: self.read(part, number), source, box, ratio)

    def thumbnail(self, max_side: int) -> tuple[Image, float]:
        """Return the whole slide with no side longer than ``max_side``, and its downsample."""
        downsample = max(1.0, max(self.size.width, self.size.height) / max_side)
        return self.read_scaled(Box.of(self.size.downsampled(downsample)), downsample), downsample

    def taken_at(self, mpp: float) -> Slide:
        """Return the same slide as if it had another µm per pixel; to be closed by itself."""
        return Slide(self.path, self._facts, mpp, self.warnings)

    def close(self) -> None:
        """Release the file; a later read opens it again."""
        with self._lock:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Slide], tuple[Any, ...]]:
        return _restored, (self.path, self._facts, self.mpp, self.warnings)

    def __repr__(self) -> str:
        return (
            f"<Slide {self.path.name} {self.size.width} x {self.size.height}, {self.mpp:g} µm/px>"
        )

    def _read_inside(self, box: Box, level: int) -> Image:
        """Read, and once more with a fresh handle: OpenSlide's errors stay with a handle."""
        try:
            return self._open().read(box, level)
        except OSError:
            self.close()
        reader = self._open()
        try:
            return reader.read(box, level)
        except OSError as error:
            self.close()
            raise SlideError(
                f"{self.path}: cannot read {box.width} x {box.height} px at ({box.x}, {box.y}) of "
                f"level {level}: {reason(error)}. The file is damaged there; copy or export it again."
            ) from error

    def _open(self) -> SlideReader:
        """Return the handle of this process; :class:`SlideError` where the file is another one."""
        with self._lock:
            if self._reader is None or self._process != os.getpid():
                reader = open_reader(self.path)
                if reader.facts.sizes != self._facts.sizes:
                    reader.close()
                    raise SlideError(f"{self.path} was replaced by another file while in use.")
                self._reader, self._process = reader, os.getpid()
            return self._reader


def open_slide(path: str | Path, mpp: float | None = None, option: str = "--mpp") -> Slide:
    """Open a slide or plain image.

    ``mpp`` (µm per level-0 pixel) replaces what the file says; ``option`` is how the caller's user
    would give it, for messages. Raises :class:`SlideError` with the reason where the file is
    missing, empty, cut short, no image, in an unsupported compression, without a plausible mpp, or
    where its centre cannot be decoded.
    """
    path = Path(path)
    reader = open_reader(path)
    facts = reader.facts
    try:
        chosen, warnings = settle_mpp(path, facts, mpp, option)
    except SlideError:
        reader.close()
        raise
    warnings += facts.warnings
    if facts.icc_profile is not None and not is_usable(facts.icc_profile):
        warnings += (f"{path.name}: its colour profile cannot be used; colours are as stored.",)
    slide = Slide(path, facts, chosen, warnings)
    slide._reader, slide._process = reader, os.getpid()
    slide.read(Box(slide.size.width // 2, slide.size.height // 2, 1, 1))
    return slide


def open_reader(path: Path) -> SlideReader:
    """Open ``path`` with the reader that knows its format; :class:`SlideError` where none does.

    TIFF of no vendor goes to ``raster``: it reads several times faster than OpenSlide, exactly where
    level sizes are rounded, in every compression, and does not make up a missing unit.
    """
    check_file(path)
    if vendor_of(path) in (None, "generic-tiff") or is_ome_tiff(path):
        return open_raster(path)
    return OpenSlideReader(path)


def downsample_between(full: Size, level: Size) -> float:
    """Return the downsample of a level from the rounded sizes that files store.

    The power of two, or else the whole number, that explains both sizes to within one pixel;
    where there is none, the mean of the two ratios.
    """
    mean = (full.width / level.width + full.height / level.height) / 2
    for candidate in (2.0 ** round(np.log2(mean)), float(round(mean))):
        if (
            abs(full.width / candidate - level.width) <= 1
            and abs(full.height / candidate - level.height) <= 1
        ):
            return float(candidate)
    return mean


@lru_cache(maxsize=OPEN_PER_PROCESS)
def _restored(path: Path, facts: SlideFacts, mpp: float, warnings: tuple[str, ...]) -> Slide:
    """Rebuild a slide that came from another process; the same one for every task of this process."""
    return Slide(path, facts, mpp, warnings)
