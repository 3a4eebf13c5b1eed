"""The ``register`` stage: from what a user asks for to a finished run folder with its report."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.stages.settings import RegisterSettings
from registration.errors import RunError, SlideError, StartError
from registration.execution import Progress, usable_cores, workers
from registration.files.alone import one_at_a_time
from registration.files.commands import mpp_options, typed
from registration.files.outputs import check_folder, resolved
from registration.files.refusal import check_file
from registration.files.words import split_files
from registration.landmarks.landmarks import Landmarks, Moving, parse_landmark_argument
from registration.pair import SlidePair
from registration.passes import TRANSFORMS_FOLDER, RunOptions
from registration.pieces.drawn import parse_drawn_argument
from registration.recipes import fine_pass
from registration.register import TIMINGS_NAME, finished_key, register_pair, run_key
from registration.result import (
    LANDMARKS_NAME,
    RECORD_NAME,
    REPORT_NAME,
    RESIDUAL_NAME,
    Registration,
    SlideRecord,
)
from registration.slides.formats import SUFFIXES, ImageFormat
from registration.slides.slide import Slide, open_slide
from registration.stains import pair_doubt

LOG = logging.getLogger(__name__)
PICKING = "If both are sections of one block, pick landmarks with"
"""Begins what a message of a refused pair says of commands."""
NEXT = ".next-"
"""Begins the name of the folder in which a run is made that is to replace a finished one."""
BYTES_PER_OUTPUT_PIXEL = 0.35
"""JPEG of quality 85 with its pyramid, measured on synthetic slides; real ones are smaller."""

OURS = (
    *(RECORD_NAME, LANDMARKS_NAME, RESIDUAL_NAME, TIMINGS_NAME, TRANSFORMS_FOLDER, REPORT_NAME),
    *("field_*.npz", "piece_*", "registered.*", ".work-*", ".*.part", ".*.part.*"),
)
"""What a run folder is made of; anything else in it is a person's."""


@dataclass(frozen=True)
class RegisterRequest:
    """One pair to register, as asked for on the command line or in a manifest."""

    he: Path
    ihc: Path
    out: Path
    settings: RegisterSettings = RegisterSettings()
    landmarks: str | None = None
    truth: str | None = None
    pieces: str | None = None
    """Outlines that a person drew."""
    mpp_he: float | None = None
    mpp_ihc: float | None = None
    overwrite: bool = False
    name: str = ""
    """Of the case; without it that of the folder."""

    @property
    def case(self) -> str | None:
        """What the report calls the case; ``None`` where it names the files."""
        return None if self.settings.keep_names else self.name or self.out.resolve().name

    @property
    def image(self) -> ImageFormat | None:
        """Format of the registered slide; ``None`` where none is wanted."""
        return None if self.settings.image == "none" else self.settings.image


@one_at_a_time(lambda request, *_: request.out)
def run_request(
    request: RegisterRequest, count: int | None, scheduler: str | None, progress: Progress
) -> Registration:
    """Register one pair and write its report.

    Raises :class:`UsageError` for contradictory options and for a folder that holds something else.
    """
    from pipeline.report.refused import write_refusal
    from pipeline.report.registration import has_report, write_report

    _check_out(request)
    settings = request.settings.registration
    with _open(request) as pair:
        for warning in _warnings(pair):
            LOG.warning(warning)
        options = _options(request, pair)
        key = run_key(pair, settings, options)
        _check_folder(request, pair, key)
        if finished_key(request.out) == key:
            registration = Registration.load(request.out)
            if has_report(request.out, request.case):
                return registration
        else:
            folder = _room(request, key)
            try:
                with workers(count, scheduler) as pool:
                    registration = register_pair(pair, folder, settings, options, pool, progress)
            except StartError as error:
                remedy = f" {_remedy(request, pair, folder)}" if error.picking_helps else ""
                shown, at = request, folder
                if request.case is not None:
                    at = Path(request.case)
                    shown = replace(request, he=Path("HE"), ihc=Path("IHC"), out=at)
                commands = _next_commands(shown, at)
                report = write_refusal(folder, pair, error, commands, request.case)
                message = f"{error}.{remedy}\nBoth slides: {report}"
                raise StartError(message, error.evidence) from error
            if folder != request.out:
                registration = _replaced(request, folder)
        write_report(registration, pair, request.case)
    return registration


def is_done(request: RegisterRequest) -> bool:
    """Return whether :func:`run_request` would find its work done, report and all."""
    from pipeline.report.registration import has_report

    return has_report(request.out, request.case) and finished_key(request.out) == expected_key(
        request
    )


def expected_key(request: RegisterRequest) -> str:
    """Return the key that the finished registration will have.

    Raises what opening the slides raises.
    """
    settings = request.settings.registration
    with _open(request) as pair:
        options = _options(request, pair)
        return run_key(pair, settings, options)


def plan(request: RegisterRequest) -> dict[str, object]:
    """Return what a run would do, with disk and memory, without doing it.

    Raises what :func:`run_request` would refuse.
    """
    _check_out(request)
    settings = request.settings.registration
    with _open(request) as pair:
        options = _options(request, pair)
        key = run_key(pair, settings, options)
        _check_folder(request, pair, key)
        fixed = pair.fixed_slide
        step = fine_pass(settings, fixed.size, fixed.mpp)
        pixels = fixed.size.width * fixed.size.height
        block_px = pixels / (step.rows * step.columns) * (fixed.mpp / step.mpp) ** 2
        return {
            "H&E": _described(pair, "he"),
            "IHC": _described(pair, "ihc"),
            **({"warnings": " ".join(odd)} if (odd := _warnings(pair)) else {}),
            "moving": request.settings.moving,
            "start": "picked landmarks" if options.landmarks else "automatic landmarks",
            "blocks": f"{step.rows} x {step.columns} at {step.mpp:.2f} µm/px",
            "workers": usable_cores(),
            "memory": f"about {0.6 + usable_cores() * (0.5 + block_px * 80 / 2**30):.1f} GiB",
            "disk": f"about {pixels * BYTES_PER_OUTPUT_PIXEL / 2**20 * bool(request.image) + 5:.0f} MiB",
            "out": str(request.out),
            "done already": finished_key(request.out) == key,
        }


def _options(request: RegisterRequest, pair: SlidePair) -> RunOptions:
    return RunOptions(
        landmarks=_pairs(request.landmarks, 4, pair),
        truth=_pairs(request.truth, 1, pair),
        image=request.image,
        drawn=None if request.pieces is None else parse_drawn_argument(request.pieces, pair),
    )


def _pairs(text: str | None, minimum: int, pair: SlidePair) -> Landmarks | None:
    origins = pair.he.origin, pair.ihc.origin
    return None if text is None else parse_landmark_argument(text, minimum, origins)


@contextmanager
def _open(request: RegisterRequest) -> Iterator[SlidePair]:
    """Open both slides, and close them afterwards; what is wrong with both is said at once."""
    if resolved(request.he) == resolved(request.ihc):
        raise UsageError(f"the H&E and the IHC slide are the same file: {request.he}")
    given = (
        (request.he, request.mpp_he, "--mpp-he"),
        (request.ihc, request.mpp_ihc, "--mpp-ihc"),
    )
    slides: list[Slide] = []
    problems: list[str] = []
    with ExitStack() as opened:
        for path, mpp, option in given:
            try:
                slides.append(opened.enter_context(open_slide(path, mpp, option)))
            except SlideError as error:
                problems.append(str(error))
        if problems:
            raise SlideError("\n".join(problems))
        he, ihc = slides
        yield SlidePair(he, ihc, request.settings.moving)


def _warnings(pair: SlidePair) -> tuple[str, ...]:
    """Return what is odd about the slides of a pair."""
    stains = pair_doubt(pair)
    return (*pair.he.warnings, *pair.ihc.warnings, *pair.doubts, *([stains] if stains else []))


def _described(pair: SlidePair, stain: Moving) -> str:
    slide = pair.he if stain == "he" else pair.ihc
    size = slide.size
    width, height = (side * slide.mpp / 1000 for side in (size.width, size.height))
    return (
        f"{slide.path} ({slide.vendor}, {size.width} x {size.height} px, {slide.mpp:.4g} µm/px: "
        f"{width:.1f} x {height:.1f} mm)"
    )


def _remedy(request: RegisterRequest, pair: SlidePair, folder: Path) -> str:
    """Return what a person can do where no alignment was found: two commands to paste."""
    mpps = f"{pair.he.mpp:g} and {pair.ihc.mpp:g} µm/px"
    given = request.mpp_he is not None or request.mpp_ihc is not None
    doubt = f"The slides were taken at {mpps}: is that right? " if given else ""
    pick, again = _next_commands(request, folder)
    stains = pair_doubt(pair)
    doubt += f"{stains[0].upper()}{stains[1:]}. " if stains else ""
    return f"{doubt}{PICKING}\n  {pick}\nand register again with\n  {again}"


def _next_commands(request: RegisterRequest, folder: Path) -> tuple[str, str]:
    """Return the commands that pick landmarks in ``folder``, and register with them."""
    given = mpp_options(request.mpp_he, request.mpp_ihc)
    slides = (request.he, request.ihc, *given, "--landmarks", folder / LANDMARKS_NAME)
    return typed("pick", *slides), typed("register", *slides, "--out", request.out)


def _check_out(request: RegisterRequest) -> None:
    """Refuse to write over, into or around what is read; picks may be those of an earlier run."""
    for slide in (request.he, request.ihc):
        if slide.is_dir():  # before it is said that the output lies in it
            check_file(slide)
    check_folder(request.out, [request.he, request.ihc])
    others = _named_files(request.truth, request.pieces)
    for name in (LANDMARKS_NAME, RECORD_NAME):
        if (request.out / name).resolve() in others:
            raise UsageError(
                f"{request.out / name} is read by this command and would be written; copy it to "
                "another folder, or name another one with --out"
            )


def _check_folder(request: RegisterRequest, pair: SlidePair, key: str) -> None:
    """Refuse an ``out`` that is neither new, nor empty, nor a run of the same inputs."""
    out, kept = request.out, _landmark_files(request)
    if not out.exists() or all(entry.resolve() in kept for entry in out.iterdir()):
        return
    begun = [*out.glob(".work-*"), *out.glob(f"{NEXT}*")]
    if not begun and not (out / RECORD_NAME).exists():
        raise UsageError(f"--out {out} holds files of something else; name another folder")
    if finished_key(out) not in (None, key) and not request.overwrite:
        raise UsageError(
            f"--out {out} holds a registration of other inputs or settings "
            f"({_differences(request, pair)}); name another folder, or give --overwrite"
        )


def _differences(request: RegisterRequest, pair: SlidePair) -> str:
    """Return what differs between the run in ``out`` and the one that is asked for."""
    try:
        there = Registration.load(request.out)
    except RunError as error:
        return str(error)
    here = request.settings
    found: list[tuple[str, object, object]] = []
    for stain, old, slide in (("H&E", there.he, pair.he), ("IHC", there.ihc, pair.ihc)):
        if old.hash != SlideRecord.of(slide).hash:
            found.append((f"{stain} slide", old.path, slide.path.resolve()))
        found.append((f"{stain} µm/px", f"{old.mpp:g}", f"{slide.mpp:g}"))
    blocks = f"{there.settings.rows}x{there.settings.columns}"
    found += [
        ("recipe", there.settings.recipe, here.recipe),
        ("channel", there.settings.channel, here.channel),
        ("blocks", blocks, here.blocks),
        ("moving", there.moving, here.moving),
        ("registered slide", there.image, request.image and f"registered{SUFFIXES[request.image]}"),
    ]
    words = [f"{what}: {old} there, {new} here" for what, old, new in found if old != new]
    return "; ".join(words) or "landmarks, truth, pieces or the program's version"


def _room(request: RegisterRequest, key: str) -> Path:
    """Return where to register: in ``out``, or inside it beside a finished run until that goes.

    Work that another unfinished run left is removed; :func:`_check_folder` has seen that it may go.
    """

    beside = request.out / f"{NEXT}{key}"
    replaces = finished_key(request.out) is not None or beside.exists()
    folder = beside if replaces else request.out
    for other in (*request.out.glob(".work-*"), *request.out.glob(f"{NEXT}*")):
        if other != folder and other.name != f".work-{key}":
            shutil.rmtree(other)
    (folder / REPORT_NAME).unlink(missing_ok=True)  # of an earlier refusal
    return folder


def _replaced(request: RegisterRequest, finished: Path) -> Registration:
    """Put a finished run in the place of the one that was there, which goes only now.

    A record comes last: a folder with one is whole.
    """
    out = request.out
    (out / RECORD_NAME).unlink(missing_ok=True)
    _clear(out, _landmark_files(request) | {finished.resolve()})
    entries = sorted(finished.iterdir(), key=lambda entry: entry.name == RECORD_NAME)
    kept = _landmark_files(request)
    for entry in entries:
        if (out / entry.name).resolve() not in kept:
            entry.replace(out / entry.name)
    shutil.rmtree(finished)
    return Registration.load(out)


def _landmark_files(request: RegisterRequest) -> set[Path]:
    """Return the files that the options may name, however it is written."""
    return _named_files(request.landmarks, request.truth, request.pieces)


def _named_files(*inputs: str | None) -> set[Path]:
    given = [text for text in inputs if text is not None]
    return {resolved(Path(part.strip())) for text in given for part in split_files(text)}


def _clear(folder: Path, kept: set[Path]) -> None:
    """Remove a run, but never the landmarks that a person edited in it, nor what is not ours."""
    for entry in folder.iterdir():
        if entry.resolve() in kept or not any(entry.match(ours) for ours in OURS):
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
