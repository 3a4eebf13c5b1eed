"""The run folder: what ``register`` leaves behind and every later stage reads.

``registration.json`` holds inputs with hashes, settings, versions, the start, the chain, one record
per block, the quality and the verdict. Fields lie beside it as NPZ, landmarks as CSV, the registered
slide as a pyramid. The JSON is written last: a folder with it is complete. Everything here is plain
records; reading a run loads nothing that could make one.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from registration.arrays import REMEDY, Number, first_mistake
from registration.errors import RunError
from registration.figures import Quality, Verdict
from registration.files.storage import content_hash, write_json
from registration.files.words import reason, some
from registration.geometry import Size
from registration.landmarks.landmarks import Landmarks, Moving, read_landmarks, write_landmarks
from registration.pair import SlidePair
from registration.recipes import RegistrationSettings
from registration.residual_map import ResidualMap
from registration.slides.slide import Slide, open_slide
from registration.stored_chain import load_chain, save_chain
from registration.transforms import Chain

FORMAT = "bci-pipeline registration"
FORMAT_VERSION = 1
RECORD_NAME = "registration.json"
LANDMARKS_NAME = "landmarks.csv"
RESIDUAL_NAME = "residual.npz"
REPORT_NAME = "report.html"
PACKAGES = (
    "numpy",
    "scipy",
    "opencv-python-headless",
    "openslide-python",
    "itk-elastix",
)

Judgement = Literal["accepted", "rejected", "needs landmarks"]
Status = Literal["registered", "blank", "fallback"]
STATUS_WORDS: dict[Status, str] = {
    "registered": "registered",
    "blank": "without tissue",
    "fallback": "fell back",
}
PieceStatus = Literal["registered", "only on IHC", "only on H&E"]

Ring = tuple[tuple[Number, Number], ...]
"""``(x, y)`` level-0 pixels around an area."""

FileName = Annotated[str, Field(pattern=r"^[^/\\]+$")]
"""Of a file in the run folder itself."""


@dataclass(frozen=True, slots=True)
class SlideRecord:
    """One input slide as it was when registered."""

    path: str
    hash: str
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    mpp: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @classmethod
    def of(cls, slide: Slide) -> SlideRecord:
        """Describe an open slide."""
        return cls(
            str(slide.path.resolve()),
            content_hash(slide.path),
            slide.size.width,
            slide.size.height,
            slide.mpp,
        )

    @property
    def size(self) -> Size:
        """Level-0 size."""
        return Size(self.width, self.height)

    def open(self, base: Path) -> Slide:
        """Open the slide again; a path that no longer exists is tried relative to ``base``."""
        path = Path(self.path)
        beside = base.parent / path.name
        return open_slide(beside if not path.exists() and beside.exists() else path, self.mpp)


@dataclass(frozen=True)
class StartRecord:
    """How the initial alignment came about."""

    source: Literal["landmarks", "automatic"]
    """Whether landmarks were given."""
    verified: bool
    mirrored: bool
    reasons: tuple[str, ...]
    evidence: dict[str, Number]
    leave_one_out_um: tuple[Number, ...] = ()
    """Per enabled landmark pair, where landmarks were given and there are five or more."""


@dataclass(frozen=True)
class BlockRecord:
    """What happened to one block; its box in level-0 pixels of the fixed slide."""

    name: str
    x: int
    y: int
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    status: Status
    reason: str
    tissue: Number
    """Share of the block that is tissue."""
    similarity_before: float | None = None
    similarity_after: float | None = None
    jacobian_min: float | None = None
    shift_max_um: float | None = None
    confirmed: float | None = None
    """Share of its tissue that the residual shift confirms; ``None`` where none was measured."""
    piece: int = 1
    """The piece of tissue that the block belongs to."""


@dataclass(frozen=True)
class PieceRecord:
    """One of several pieces of tissue: where it lies, and what became of it."""

    number: int
    status: PieceStatus
    note: str
    """Why it was not registered."""
    tissue_mm2: Number
    fixed_outlines: tuple[Ring, ...]
    """Of its tissue on the fixed slide; none where it does not lie there."""
    moving_outlines: tuple[Ring, ...]
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    start: StartRecord | None = None
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a person drew on the slides as not to be used: control tissue, pen, folds, loose pieces.

    Each area is an outline and the holes in it, in level-0 pixels; areas may overlap.
    """

    fixed: tuple[tuple[Ring, ...], ...] = ()
    moving: tuple[tuple[Ring, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class RejectedArea:
    """An area of the fixed slide that a person does not want in a dataset."""

    name: str
    outline: Ring


@dataclass(frozen=True, slots=True)
class ReviewNotes:
    """What a person says with a judgement."""

    comment: str = ""
    initials: str = ""
    rejected: tuple[RejectedArea, ...] = ()
    """Patches that touch one of these areas are dropped."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Facts:
    """What is the same in the record and in the registration that it is of."""

    key: str
    """Hash of inputs and settings: the same key, the same result."""
    moving: Moving
    settings: RegistrationSettings
    start: StartRecord
    blocks: tuple[BlockRecord, ...]
    quality: Quality
    verdict: Verdict
    reasons: tuple[str, ...]
    image: FileName | None
    """The registered slide."""
    review: Judgement | None = None
    """A person's judgement."""
    notes: ReviewNotes = ReviewNotes()
    pieces: tuple[PieceRecord, ...] = ()
    """Where a slide shows several pieces of tissue; none where one chain serves the whole slide."""
    left_out: LeftOut = LeftOut()
    """Patches that touch it are dropped."""


@dataclass(frozen=True)
class _Inputs:
    he: SlideRecord
    ihc: SlideRecord


@dataclass(frozen=True, eq=False, kw_only=True)
class _Stored(_Facts):
    """``registration.json`` as it lies on the disk."""

    inputs: _Inputs
    chain: list[dict[str, Any]]


_STORED = TypeAdapter(_Stored)


@dataclass(frozen=True, eq=False, kw_only=True)
class Registration(_Facts):
    """A finished registration."""

    folder: Path
    he: SlideRecord
    ihc: SlideRecord
    chain: Chain

    @property
    def fixed(self) -> SlideRecord:
        """The slide that kept its pixels."""
        return self.ihc if self.moving == "he" else self.he

    @property
    def moved(self) -> SlideRecord:
        """The slide that was warped."""
        return self.he if self.moving == "he" else self.ihc

    @property
    def landmarks(self) -> Landmarks:
        """The landmarks that the start rests on."""
        return read_landmarks(self.folder / LANDMARKS_NAME, minimum=0)

    @property
    def residual_map(self) -> ResidualMap | None:
        """The residual shift place by place; ``None`` where its file is gone or damaged."""
        try:
            return ResidualMap.read(self.folder / RESIDUAL_NAME)
        except RunError:
            return None

    def open_pair(self) -> SlidePair:
        """Open both slides. Raises :class:`registration.errors.SlideError` where one is gone."""
        return SlidePair(self.he.open(self.folder), self.ihc.open(self.folder), self.moving)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a run folder. Raises :class:`RunError` for a missing, foreign or damaged one."""
        folder = Path(folder)
        path = folder / RECORD_NAME
        read_record(folder)
        try:
            stored = _STORED.validate_json(path.read_bytes(), strict=True)
        except ValidationError as error:
            raise RunError(f"{path} is damaged ({first_mistake(error)}). {REMEDY}") from error
        facts = {field.name: getattr(stored, field.name) for field in fields(_Facts)}
        return cls(
            folder=folder,
            he=stored.inputs.he,
            ihc=stored.inputs.ihc,
            chain=load_chain(stored.chain, folder),
            **facts,
        )


def _no_run(folder: Path) -> str:
    """Say why a path is no run folder, and what is meant most likely."""
    if folder.is_file():
        return f"{folder} is a file; name the folder that `register` wrote"
    if not folder.is_dir():
        return f"there is no folder {folder}; name what `register` wrote"
    if runs := sorted(path.parent for path in folder.glob(f"*/{RECORD_NAME}")):
        return f"{folder} holds several registrations; name one of them: {some(runs)}"
    return (
        f"no finished registration in {folder}: {RECORD_NAME} is missing. "
        f"Run `bci-pipeline register HE IHC --out {folder}` (it goes on where it stopped)."
    )


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``registration.json``. Raises :class:`RunError` with the remedy."""
    path = folder / RECORD_NAME
    if not path.is_file():
        if (report := folder / REPORT_NAME).is_file():
            raise RunError(
                f"the pair in {folder} could not be registered: {report} says what to do"
            )
        raise RunError(_no_run(folder))
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}). {REMEDY}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RunError(f"{path} was not written by `bci-pipeline register`")
    format_version = record.get("format_version")
    if not isinstance(format_version, int):
        raise RunError(f"{path} is damaged (no format_version). {REMEDY}")
    if format_version > FORMAT_VERSION:
        raise RunError(f"{path} was written by a newer bci-pipeline; update this one")
    return record


def write_registration(registration: Registration, landmarks: Landmarks) -> None:
    """Write fields and landmarks, and last the record that makes the folder complete."""
    folder = registration.folder
    write_landmarks(folder / LANDMARKS_NAME, landmarks)
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "key": registration.key,
        "versions": versions(),
        "inputs": {"he": asdict(registration.he), "ihc": asdict(registration.ihc)},
        "moving": registration.moving,
        "settings": asdict(registration.settings),
        "start": asdict(registration.start),
        "chain": save_chain(registration.chain, folder),
        "blocks": [asdict(block) for block in registration.blocks],
        "quality": asdict(registration.quality),
        "verdict": registration.verdict,
        "reasons": list(registration.reasons),
        "image": registration.image,
        "review": registration.review,
        "pieces": [asdict(piece) for piece in registration.pieces],
        "left_out": asdict(registration.left_out),
    }
    write_json(folder / RECORD_NAME, record)


def write_review(
    folder: Path, judgement: Judgement | None, notes: ReviewNotes | None = None
) -> None:
    """Write a person's judgement into a finished run, which later stages respect.

    Notes that are there stay where none are given.
    """
    record = read_record(folder)
    record["review"] = judgement
    if notes is not None:
        record["notes"] = asdict(notes)
    write_json(folder / RECORD_NAME, record)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "bci-pipeline": version("bci-pipeline"),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
