"""The run folder: what ``register`` leaves behind and every later stage reads.

``registration.json`` holds inputs with hashes, settings, versions, the start, the chain, one record
per block, the quality and the verdict. Fields lie beside it as NPZ, landmarks as CSV, the registered
slide as a pyramid. The JSON is written last: a folder with it is complete.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np

from registration.errors import RunError
from registration.files.storage import content_hash, write_json
from registration.geometry import Size
from registration.landmarks.landmarks import Landmarks, Moving, read_landmarks, write_landmarks
from registration.nonrigid.block import BlockRecord
from registration.nonrigid.recipes import RegistrationSettings
from registration.pair import Pair
from registration.quality.quality import ErrorSummary, Folding, Quality, Residual, Seams, Verdict
from registration.quality.residual import ResidualMap
from registration.slides.slide import Slide, open_slide
from registration.transforms import Chain, load_chain, save_chain

FORMAT = "bci-pipeline registration"
FORMAT_VERSION = 1
RECORD_NAME = "registration.json"
LANDMARKS_NAME = "landmarks.csv"
RESIDUAL_NAME = "residual.npz"
PACKAGES = (
    "numpy",
    "scipy",
    "opencv-python-headless",
    "openslide-python",
    "itk-elastix",
    "scikit-image",
)


@dataclass(frozen=True, slots=True)
class SlideRecord:
    """One input slide as it was when registered."""

    path: str
    hash: str
    width: int
    height: int
    mpp: float

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

    source: str
    """``landmarks`` (given) or ``automatic``."""
    verified: bool
    mirrored: bool
    reasons: tuple[str, ...]
    evidence: dict[str, float]
    leave_one_out_um: tuple[float, ...] = ()
    """Per enabled landmark pair, where landmarks were given and there are five or more."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A finished registration."""

    folder: Path
    key: str
    """Hash of inputs and settings: the same key, the same result."""
    he: SlideRecord
    ihc: SlideRecord
    moving: Moving
    settings: RegistrationSettings
    start: StartRecord
    chain: Chain
    blocks: tuple[BlockRecord, ...]
    quality: Quality
    verdict: Verdict
    reasons: tuple[str, ...]
    image: str | None
    """File name of the registered slide in the folder."""
    review: str | None = None
    """A person's judgement: ``accepted``, ``rejected`` or ``needs landmarks``."""

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
    def residual_map(self) -> ResidualMap:
        """The residual shift place by place. Raises :class:`RunError` where the file is gone."""
        path = self.folder / RESIDUAL_NAME
        if not path.exists():
            raise RunError(f"residual map not found: {path}. Register this pair again.")
        with np.load(path, allow_pickle=False) as stored:
            return ResidualMap(**stored)

    def open_pair(self) -> Pair:
        """Open both slides. Raises :class:`registration.errors.SlideError` where one is gone."""
        return Pair(self.he.open(self.folder), self.ihc.open(self.folder), self.moving)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a run folder. Raises :class:`RunError` for a missing, foreign or newer one."""
        record = read_record(folder)
        try:
            return cls(
                folder=folder,
                key=record["key"],
                he=SlideRecord(**record["inputs"]["he"]),
                ihc=SlideRecord(**record["inputs"]["ihc"]),
                moving=record["moving"],
                settings=RegistrationSettings(**record["settings"]),
                start=_start_from(record["start"]),
                chain=load_chain(record["chain"], folder),
                blocks=tuple(BlockRecord(**block) for block in record["blocks"]),
                quality=_quality_from(record["quality"]),
                verdict=record["verdict"],
                reasons=tuple(record["reasons"]),
                image=record["image"],
                review=record.get("review"),
            )
        except (KeyError, TypeError) as error:
            raise RunError(
                f"{folder / RECORD_NAME} is damaged ({error}). Register again."
            ) from error


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``registration.json``. Raises :class:`RunError` with the remedy."""
    path = folder / RECORD_NAME
    if not path.is_file():
        raise RunError(
            f"no finished registration in {folder}: {RECORD_NAME} is missing. "
            f"Run `bci-pipeline register HE IHC --out {folder}` (it goes on where it stopped)."
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}. Register again with --overwrite.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RunError(f"{path} was not written by `bci-pipeline register`")
    if record["format_version"] > FORMAT_VERSION:
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
    }
    write_json(folder / RECORD_NAME, record)


def write_review(folder: Path, judgement: str | None) -> None:
    """Write a person's judgement into a finished run, which later stages respect."""
    record = read_record(folder)
    record["review"] = judgement
    write_json(folder / RECORD_NAME, record)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "bci-pipeline": version("bci-pipeline"),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _start_from(record: dict[str, Any]) -> StartRecord:
    tuples = {"reasons", "leave_one_out_um"}
    values: dict[str, Any] = {
        key: tuple(value) if key in tuples else value for key, value in record.items()
    }
    return StartRecord(**values)


def _quality_from(record: dict[str, Any]) -> Quality:
    return Quality(
        folding=_numbers(Folding, record["folding"]),
        seams=_numbers(Seams, record["seams"]),
        residual=_numbers(Residual, record["residual"]),
        filled_fraction=record["filled_fraction"],
        tre={stage: _numbers(ErrorSummary, value) for stage, value in record["tre"].items()},
    )


def _numbers(kind: Any, record: dict[str, Any] | None) -> Any:
    """Return a value type of numbers; ``null`` in the JSON is "not a number"."""
    if record is None:
        return None
    values = {item.name: record[item.name] for item in fields(kind)}
    return kind(**{key: float("nan") if value is None else value for key, value in values.items()})
