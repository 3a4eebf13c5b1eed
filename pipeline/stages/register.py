"""The ``register`` stage: from what a user asks for to a finished run folder with its report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.stages.settings import RegisterSettings
from registration.execution import Progress, usable_cores, workers
from registration.landmarks.landmarks import Landmarks, Moving, parse_landmark_argument
from registration.pair import Pair
from registration.recipes import fine_pass
from registration.register import RunOptions, finished_key, register_pair, run_key
from registration.registered_slide import ImageFormat
from registration.result import RECORD_NAME, Registration
from registration.slides.slide import open_slide

BYTES_PER_OUTPUT_PIXEL = 0.35
"""JPEG of quality 85 with its pyramid, measured on synthetic slides; real ones are smaller."""


@dataclass(frozen=True)
class RegisterRequest:
    """One pair to register, as asked for on the command line or in a manifest."""

    he: Path
    ihc: Path
    out: Path
    settings: RegisterSettings = RegisterSettings()
    landmarks: str | None = None
    truth: str | None = None
    mpp_he: float | None = None
    mpp_ihc: float | None = None
    overwrite: bool = False

    @property
    def image(self) -> ImageFormat | None:
        """Format of the registered slide; ``None`` where none is wanted."""
        return None if self.settings.image == "none" else self.settings.image


def run_request(
    request: RegisterRequest, count: int | None, scheduler: str | None, progress: Progress
) -> Registration:
    """Register one pair and write its report.

    Raises :class:`UsageError` for contradictory options and for a folder that holds something else.
    """
    from pipeline.report.registration import REPORT_NAME, write_report

    settings, options = request.settings.registration, _options(request)
    with _open(request) as pair:
        key = run_key(pair, settings, options)
        _claim(request, key)
        if finished_key(request.out) == key:
            registration = Registration.load(request.out)
            if (request.out / REPORT_NAME).exists():
                return registration
        else:
            with workers(count, scheduler) as crew:
                registration = register_pair(pair, request.out, settings, options, crew, progress)
        write_report(registration, pair)
    return registration


def expected_key(request: RegisterRequest) -> str:
    """Return the key that the finished registration will have.

    Raises what opening the slides raises.
    """
    settings, options = request.settings.registration, _options(request)
    with _open(request) as pair:
        return run_key(pair, settings, options)


def plan(request: RegisterRequest) -> dict[str, object]:
    """Return what a run would do, with disk and memory, without doing it."""
    settings, options = request.settings.registration, _options(request)
    with _open(request) as pair:
        fixed = pair.fixed_slide
        step = fine_pass(settings, fixed.size, fixed.mpp)
        pixels = fixed.size.width * fixed.size.height
        block_px = pixels / (step.rows * step.columns) * (fixed.mpp / step.mpp) ** 2
        return {
            "H&E": _described(pair, "he"),
            "IHC": _described(pair, "ihc"),
            "moving": request.settings.moving,
            "start": "picked landmarks" if options.landmarks else "automatic landmarks",
            "blocks": f"{step.rows} x {step.columns} at {step.mpp:.2f} µm/px",
            "workers": usable_cores(),
            "memory": f"about {0.6 + usable_cores() * (0.5 + block_px * 80 / 2**30):.1f} GiB",
            "disk": f"about {pixels * BYTES_PER_OUTPUT_PIXEL / 2**20 * bool(request.image) + 5:.0f} MiB",
            "out": str(request.out),
            "done already": finished_key(request.out) == run_key(pair, settings, options),
        }


def _options(request: RegisterRequest) -> RunOptions:
    return RunOptions(
        landmarks=_pairs(request.landmarks, 4),
        truth=_pairs(request.truth, 1),
        image=request.image,
    )


def _pairs(text: str | None, minimum: int) -> Landmarks | None:
    return None if text is None else parse_landmark_argument(text, minimum)


@contextmanager
def _open(request: RegisterRequest) -> Iterator[Pair]:
    """Open both slides, and close them afterwards."""
    if request.he.resolve() == request.ihc.resolve():
        raise UsageError(f"the H&E and the IHC slide are the same file: {request.he}")
    with (
        open_slide(request.he, request.mpp_he, "--mpp-he") as he,
        open_slide(request.ihc, request.mpp_ihc, "--mpp-ihc") as ihc,
    ):
        yield Pair(he, ihc, request.settings.moving)


def _described(pair: Pair, stain: Moving) -> str:
    slide = pair.he if stain == "he" else pair.ihc
    size = slide.size
    return f"{slide.path} ({slide.vendor}, {size.width} x {size.height} px, {slide.mpp:.4g} µm/px)"


def _claim(request: RegisterRequest, key: str) -> None:
    """Make sure that ``out`` is ours to write: new, empty, or a run of the same inputs."""
    out, kept = request.out, _landmark_files(request)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder")
    if not out.exists() or all(entry.resolve() in kept for entry in out.iterdir()):
        return
    unfinished = list(out.glob(".work-*"))
    if not unfinished and not (out / RECORD_NAME).exists():
        raise UsageError(f"--out {out} holds files of something else; name another folder")
    finished = finished_key(out)
    if finished == key:
        return
    if finished is None:
        for folder in unfinished:
            if folder.name != f".work-{key}":
                shutil.rmtree(folder)
        return
    if not request.overwrite:
        raise UsageError(
            f"--out {out} holds a registration of other inputs or settings; "
            "name another folder, or give --overwrite"
        )
    _clear(out, kept)


def _landmark_files(request: RegisterRequest) -> set[Path]:
    """Return the files that ``--landmarks`` and ``--truth`` may name, however it is written."""
    given = [text for text in (request.landmarks, request.truth) if text is not None]
    return {Path(part.strip()).resolve() for text in given for part in (text, *text.split(","))}


def _clear(folder: Path, kept: set[Path]) -> None:
    """Empty a run folder of ours, but never of the landmarks that a person edited in it."""
    for entry in folder.iterdir():
        if entry.resolve() in kept:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
