"""Whole-slide images: one interface for vendor formats (OpenSlide) and plain images (``raster``).

Boxes are in pixels of the level that is read; whatever lies off the slide, or was not scanned, is
white. Levels are chosen by downsample, never by number: OpenSlide invents levels for some vendors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import openslide

from registration.errors import SlideError
from registration.geometry import Box, Image, Size
from registration.slides.colour import to_srgb
from registration.slides.raster import is_ome_tiff, open_raster
from registration.slides.reader import SlideFacts, SlideReader, on_white
from registration.slides.refusal import check_file, explain
from registration.slides.resample import area_average, source_box
from registration.slides.tile_cache import CACHE_BYTES

OPEN_PER_PROCESS = 16
PLAUSIBLE_MPP = (0.05, 20.0)
MPP_TIMES_POWER = 10.0
"""A 40x scan has about 0.25 µm per pixel, a 20x scan about 0.5."""
POWER_CONTRADICTION = 1.6
MPP_DISAGREEMENT = 1.1
ANISOTROPY = 1.01


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
        except (openslide.OpenSlideError, OSError):
            self.close()
        try:
            return self._open().read(box, level)
        except (openslide.OpenSlideError, OSError) as error:
            self.close()
            raise SlideError(
                f"{self.path}: cannot read {box.width} x {box.height} px at ({box.x}, {box.y}) of "
                f"level {level}: {error}. The file is damaged there; copy or export it again."
            ) from error

    def _open(self) -> SlideReader:
        """Return the handle of this process."""
        with self._lock:
            if self._reader is None or self._process != os.getpid():
                self._reader = open_reader(self.path)
                self._process = os.getpid()
            return self._reader


class OpenSlideReader:
    """Vendor formats, read by OpenSlide."""

    def __init__(self, path: Path):
        self._slide = openslide.OpenSlide(path)
        self._slide.set_cache(_openslide_tiles(os.getpid()))
        self.facts = _openslide_facts(self._slide)

    def read(self, box: Box, level: int) -> Image:
        """Return the pixels of ``box`` on ``level``.

        OpenSlide takes whole level-0 positions and its own, rounded downsample: where that is not
        a whole number the result is off by less than half a level-0 pixel.
        """
        downsample = self._slide.level_downsamples[level]
        corner = round(box.x * downsample), round(box.y * downsample)
        region = self._slide.read_region(corner, level, (box.width, box.height))
        return on_white(np.asarray(region))

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


@cache
def _openslide_tiles(process: int) -> openslide.OpenSlideCache:
    """Return the cache that all of OpenSlide's slides in a process share."""
    return openslide.OpenSlideCache(CACHE_BYTES)


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
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor in (None, "generic-tiff") or is_ome_tiff(path):
        return open_raster(path)
    try:
        return OpenSlideReader(path)
    except openslide.OpenSlideError as error:
        raise SlideError(explain(path, str(error))) from error


def library_version() -> str:
    """Return the version of the OpenSlide library, which reads the vendors' formats."""
    return str(openslide.__library_version__)


def settle_mpp(
    path: Path, facts: SlideFacts, given: float | None, option: str
) -> tuple[float, tuple[str, ...]]:
    """Return the µm per pixel to use and what to warn of.

    Raises :class:`SlideError` naming ``option`` where there is no value, or an implausible one.
    """
    low, high = PLAUSIBLE_MPP
    if given is not None and not low <= given <= 1000 * high:
        raise SlideError(
            f"{option} {given:g}: expected micrometres per pixel, such as 0.25 or 0.46"
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
                f"{stored / 2.54:.4g} if per centimetre. Give the true value with {option}."
            )
    mpp = given if given is not None else stored
    assert mpp is not None
    return mpp, tuple(_mpp_warnings(path, facts, mpp, option))


def _mpp_warnings(path: Path, facts: SlideFacts, mpp: float, option: str) -> list[str]:
    """Compare the chosen mpp with everything else that the file says."""
    warnings = []
    if facts.mpp_xy is not None:
        x, y = facts.mpp_xy
        if max(x, y) > ANISOTROPY * min(x, y):
            warnings.append(f"{path.name}: pixels are not square: {x:g} x {y:g} µm; using {mpp:g}.")
        stored = float(np.sqrt(x * y))
        plausible = PLAUSIBLE_MPP[0] <= stored <= PLAUSIBLE_MPP[1] and not facts.unit_missing
        if plausible and _factor(stored, mpp) > MPP_DISAGREEMENT:
            warnings.append(f"{path.name}: using {mpp:g} µm/px as given; the file says {stored:g}.")
    power = facts.objective_power
    if power and _factor(mpp * power, MPP_TIMES_POWER) > POWER_CONTRADICTION:
        warnings.append(
            f"{path.name}: {mpp:g} µm/px does not fit the objective, {power:g}x: about "
            f"{MPP_TIMES_POWER / power:.2g} is expected. Give the true value with {option}."
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


def _openslide_facts(slide: openslide.OpenSlide) -> SlideFacts:
    """Collect what OpenSlide knows."""
    properties = slide.properties
    x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
    y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    profile = slide.color_profile
    return SlideFacts(
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
        sizes=tuple(Size(*size) for size in slide.level_dimensions),
        mpp_xy=(x, y) if x and y else None,
        objective_power=_number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        icc_profile=None if profile is None else profile.tobytes(),
    )


def _number(text: str | None) -> float | None:
    """Return a positive number, or ``None`` for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


@lru_cache(maxsize=OPEN_PER_PROCESS)
def _restored(path: Path, facts: SlideFacts, mpp: float, warnings: tuple[str, ...]) -> Slide:
    """Rebuild a slide that came from another process; the same one for every task of this process."""
    return Slide(path, facts, mpp, warnings)
