"""What a registration was made from and how to make it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from registration.errors import SlideError
from registration.files.text import json_record
from registration.pages.page import number
from registration.pair import SlidePair
from registration.register import TIMINGS_NAME
from registration.result import LANDMARKS_NAME, RECORD_NAME, Registration, SlideRecord, read_record
from registration.slides.formats import SUFFIXES
from registration.slides.slide import open_slide


@dataclass(frozen=True, slots=True)
class InputRow:
    """One slide as it was read."""

    stain: str
    role: str
    record: SlideRecord
    vendor: str
    extent: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall time of one stage."""

    stage: str
    seconds: float
    percent: float
    """Of the longest."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """All of it."""

    inputs: tuple[InputRow, ...]
    settings: dict[str, str]
    versions: dict[str, str]
    timings: tuple[Timing, ...]
    total: str
    date: str
    """Day on which the registration was finished."""
    command: str
    key: str


def provenance(registration: Registration, pair: SlidePair, case: str | None = None) -> Provenance:
    """Collect what the run folder says about itself; a ``case`` stands for names of files."""
    timings = _timings(registration)
    settings = registration.settings
    finished = (registration.folder / RECORD_NAME).stat()
    return Provenance(
        inputs=tuple(_input(registration, pair, stain) for stain in ("he", "ihc")),
        settings={
            "Recipe": settings.recipe,
            "Channel that elastix registers": settings.channel,
            "Blocks": f"{settings.rows} × {settings.columns}",
            "Slide that was warped": "H&E" if registration.moving == "he" else "IHC",
            "Registered slide": registration.image or "not written (--no-image)",
        },
        versions=read_record(registration.folder)["versions"],
        timings=timings,
        total=f"{number(sum(timing.seconds for timing in timings), 1)} s",
        date=f"{datetime.fromtimestamp(finished.st_mtime):%Y-%m-%d}",
        command=command_of(registration, case),
        key=registration.key,
    )


def command_of(registration: Registration, case: str | None = None) -> str:
    """Return the command that makes this registration again, without known points to score it."""
    settings = registration.settings
    slides = (registration.he.path, registration.ihc.path) if case is None else ("HE", "IHC")
    words = ["bci-pipeline", "register", *slides]
    folder = registration.folder.resolve() if case is None else Path(case)
    words += ["--out", str(folder)]
    if registration.start.source == "landmarks":
        words += ["--landmarks", str(folder / LANDMARKS_NAME)]
    for option, slide in (("--mpp-he", registration.he), ("--mpp-ihc", registration.ihc)):
        words += [] if _says_mpp(slide) else [option, repr(slide.mpp)]
    words += ["--recipe", settings.recipe, "--channel", settings.channel]
    words += ["--blocks", f"{settings.rows}x{settings.columns}", "--moving", registration.moving]
    if registration.image is None:
        words.append("--no-image")
    else:
        formats = {suffix: name for name, suffix in SUFFIXES.items()}
        suffix = registration.image[registration.image.index(".") :]
        words += ["--format", formats[suffix]]
    return shlex.join(words)


def _says_mpp(record: SlideRecord) -> bool:
    """Return whether the slide itself says the µm per pixel that it was registered with."""
    try:
        with open_slide(Path(record.path)) as slide:
            return slide.mpp == record.mpp
    except SlideError:
        return False


def _input(registration: Registration, pair: SlidePair, stain: str) -> InputRow:
    record, slide = (registration.he, pair.he) if stain == "he" else (registration.ihc, pair.ihc)
    width, height = (side * record.mpp / 1000 for side in (record.width, record.height))
    return InputRow(
        stain="H&E" if stain == "he" else "IHC",
        role="warped" if stain == registration.moving else "kept its pixels",
        record=record,
        vendor=slide.vendor,
        extent=f"{width:.1f} × {height:.1f} mm",
        warnings=slide.warnings + pair.doubts,
    )


def stage_seconds(run: Path) -> dict[str, float]:
    """Return the wall time of each stage of a run; none where the file is gone."""
    noted = json_record(run / TIMINGS_NAME)
    return {name: float(value) for name, value in noted.items() if isinstance(value, int | float)}


def _timings(registration: Registration) -> tuple[Timing, ...]:
    """Return the wall times of the run; none where the file is gone."""
    seconds = stage_seconds(registration.folder)
    longest = max(seconds.values(), default=0.0) or 1.0
    return tuple(Timing(name, value, 100 * value / longest) for name, value in seconds.items())
