"""What is kept of one case's patches: every candidate with its scores and its fate."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from pipeline.errors import DatasetError
from pipeline.naming import without_names
from pipeline.patches.grades import Grade
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import image_paths
from registration.files.storage import write_json
from registration.geometry import Box
from registration.result import Registration

RECORD_NAME = "patches.json"
IMAGES, EXAMPLES, THUMBNAIL = "images", "examples", "thumbnail.jpg"
FORMAT = "bci-pipeline case patches"


@dataclass(frozen=True, slots=True)
class PatchCandidate:
    """One position of the grid with tissue, its scores and its fate."""

    x: int
    """Level-0 pixels of the fixed slide, upper left corner."""
    y: int
    column: int
    """The same corner in pixels of the patches' own level."""
    row: int
    he_tissue: float
    ihc_tissue: float
    filled: float
    fold: bool
    seam: bool
    shift_um: float | None
    similarity: float | None
    null_percentile: float | None
    reason: str
    """Why it was rejected; empty for a kept one."""
    piece: int | None = 1
    """The piece of tissue it shows; ``None`` where it shows several, or one that failed."""
    nuclei: int | None = None
    """Nuclei found in its middle on the fixed slide; ``None``, as below, where none were looked for."""
    nuclei_paired: float | None = None
    nuclei_beyond: float | None = None
    nuclei_median_um: float | None = None
    nuclei_shift_x_um: float | None = None
    nuclei_shift_y_um: float | None = None
    grade: Grade | None = None
    """Of a kept pair."""

    @property
    def kept(self) -> bool:
        """Whether the pair is worth having."""
        return not self.reason


@dataclass(frozen=True)
class CaseSlides:
    """What of the registration the dataset's documentation needs."""

    he_name: str
    ihc_name: str
    he_hash: str
    ihc_hash: str
    he_mpp: float
    ihc_mpp: float
    moving: str
    width: int
    """Level-0 size of the fixed slide."""
    height: int
    verdict: str
    review: str | None
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, registration: Registration) -> Self:
        """Describe the slides of a registration."""
        he, ihc, fixed = registration.he, registration.ihc, registration.fixed
        return cls(
            he_name=Path(he.path).name,
            ihc_name=Path(ihc.path).name,
            he_hash=he.hash,
            ihc_hash=ihc.hash,
            he_mpp=he.mpp,
            ihc_mpp=ihc.mpp,
            moving=registration.moving,
            width=fixed.width,
            height=fixed.height,
            verdict=registration.verdict,
            review=registration.review,
            reasons=registration.reasons,
        )

    def without_names(self) -> Self:
        """Return the same without what the files are called."""
        words = {self.he_name: "the H&E slide", self.ihc_name: "the IHC slide"}
        reasons = tuple(without_names(reason, words) for reason in self.reasons)
        return replace(self, he_name="H&E", ihc_name="IHC", reasons=reasons)


@dataclass(frozen=True)
class CasePatches:
    """The candidates of one case; the images of the kept ones lie in the folder."""

    folder: Path
    key: str
    settings: PatchSettings
    slides: CaseSlides
    mpp: float
    """µm per pixel of the patches."""
    side: int
    """Level-0 pixels under one side of a patch."""
    positions: int
    """Positions of the grid, glass included."""
    candidates: tuple[PatchCandidate, ...]
    """Row by row."""

    def images(self, candidate: PatchCandidate) -> tuple[Path, ...]:
        """Return the image files of a kept candidate: H&E and IHC, or both in one."""
        size = self.settings.size
        return image_paths(
            self.folder / IMAGES,
            Box(candidate.column, candidate.row, size, size),
            self.settings.format,
            self.settings.side_by_side,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a case folder. Raises :class:`DatasetError` where it is missing or foreign."""
        path = folder / RECORD_NAME
        try:
            record = from_json(path.read_bytes())
            if not isinstance(record, dict) or record.get("format") != FORMAT:
                raise DatasetError(f"{path} was not written by `bci-pipeline`")
            return TypeAdapter(cls).validate_python({**record, "folder": folder})
        except FileNotFoundError:
            raise DatasetError(
                f"no finished patches in {folder}: {RECORD_NAME} is missing"
            ) from None
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise DatasetError(f"{path} is damaged (at {where}). Cut the patches again.") from error
        except ValueError as error:
            raise DatasetError(f"{path} is damaged ({error}). Cut the patches again.") from error

    def write(self) -> None:
        """Write the record that makes the folder complete."""
        record = {
            "format": FORMAT,
            "key": self.key,
            "settings": self.settings.as_dict(),
            "slides": asdict(self.slides),
            "mpp": self.mpp,
            "side": self.side,
            "positions": self.positions,
            "candidates": [asdict(candidate) for candidate in self.candidates],
        }
        write_json(self.folder / RECORD_NAME, record)


def finished_case_key(folder: Path) -> str | None:
    """Return the key of the finished patches in ``folder``, ``None`` where there are none."""
    try:
        return CasePatches.load(folder).key
    except DatasetError:
        return None
