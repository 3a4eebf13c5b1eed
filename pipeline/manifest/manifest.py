"""The manifest: a cohort of slide pairs, and the settings of every stage.

Paths are relative to the manifest's folder. Unknown keys are refused. All mistakes are reported at
once, each as ``file:line:column: cases.3.ihc: ...``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.dataset.layouts import Layout
from pipeline.errors import ManifestError, UsageError
from pipeline.manifest.checks import check_manifest
from pipeline.manifest.messages import said
from pipeline.manifest.yaml_positions import Located, Path_, read_located
from pipeline.patches.settings import (
    LARGEST_PATCH_PX,
    SMALLEST_PATCH_PX,
    ImageKind,
    PatchSettings,
)
from pipeline.split import Split, SplitSettings
from pipeline.stages.register import MOST_BLOCKS
from registration.files.her2 import Her2, parse_her2
from registration.stain import Channel

PATCH_DEFAULTS = PatchSettings()
ABOUT_KEYS = ("unknown", "given twice")
CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _case_name(value: object) -> str:
    if not isinstance(value, str) or not CASE_NAME.fullmatch(value):
        raise ValueError(
            f"expected letters, digits, dots, dashes and underscores, found {value!r}; "
            "the id becomes a folder and part of file names"
        )
    return value


def _landmarks(value: object) -> object:
    """Return what ``--landmarks`` takes: one file, or two joined by a comma."""
    if isinstance(value, list):
        if len(value) != 2 or not all(isinstance(item, str) for item in value):
            raise ValueError("expected one file, or two: [HE.csv, IHC.csv]")
        return ",".join(value)
    return value


def _blocks(value: object) -> object:
    sides = [int(side) for side in re.findall(r"\d+", str(value))]
    if not re.fullmatch(r"\d+x\d+", str(value)) or not all(1 <= k <= MOST_BLOCKS for k in sides):
        raise ValueError(
            f"expected rows x columns up to {MOST_BLOCKS}, such as 4x4, found {value!r}"
        )
    return value


Share = Annotated[float, Field(ge=0, le=1)]
Mpp = Annotated[float, Field(gt=0, lt=1000)]
LandmarkFiles = Annotated[str, BeforeValidator(_landmarks)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Section):
    """One pair of slides."""

    id: Annotated[str, BeforeValidator(_case_name)]
    patient: Annotated[str, Field(min_length=1)]
    he: Path
    ihc: Path
    her2: Annotated[Her2, BeforeValidator(parse_her2)] | None = None
    landmarks: LandmarkFiles | None = None
    """Picked pairs; without them the start is found automatically."""
    truth: LandmarkFiles | None = None
    """Pairs that only score the registration."""
    mpp_he: Mpp | None = None
    mpp_ihc: Mpp | None = None
    flip: bool | None = None
    """Whether one section lies face down; given, a registration that finds otherwise fails."""
    split: Split | None = None


class Register(_Section):
    """Settings of `register`."""

    recipe: Literal["default", "paper"] = "default"
    moving: Literal["he", "ihc"] = "he"
    channel: Channel = "hematoxylin"
    blocks: Annotated[str, BeforeValidator(_blocks)] = "4x4"
    image: Literal["tiff", "ome-tiff", "ome-zarr", "none"] = "tiff"


class Patch(_Section):
    """Settings of `patch`."""

    size: Annotated[int, Field(ge=SMALLEST_PATCH_PX, le=LARGEST_PATCH_PX)] = 1024
    stride: Annotated[int, Field(ge=1)] | None = None
    mpp: Annotated[float, Field(ge=0.05, le=50)] | None = None
    min_tissue: Share = PATCH_DEFAULTS.min_tissue
    max_filled: Share = PATCH_DEFAULTS.max_filled
    max_shift_um: Annotated[float, Field(ge=0)] = PATCH_DEFAULTS.max_shift_um
    min_percentile: Annotated[float, Field(ge=0, le=100)] = PATCH_DEFAULTS.min_percentile
    format: ImageKind = "png"
    layout: Layout = "bci"

    @property
    def settings(self) -> PatchSettings:
        """The settings as the patch stage takes them. Raises :class:`UsageError`."""
        return PatchSettings(
            size=self.size,
            stride=self.stride,
            mpp=self.mpp,
            min_tissue=self.min_tissue,
            max_filled=self.max_filled,
            max_shift_um=self.max_shift_um,
            min_percentile=self.min_percentile,
            image=self.format,
            side_by_side=self.layout == "pix2pix",
        )


class SplitShares(_Section):
    """How patients are shared out."""

    test: Share = 0.2
    val: Share = 0.0
    seed: int = 0

    @property
    def settings(self) -> SplitSettings:
        """The settings as the split takes them. Raises :class:`UsageError`."""
        return SplitSettings(self.test, self.val, self.seed)

    @model_validator(mode="after")
    def _possible(self) -> SplitShares:
        try:
            _ = self.settings
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self


class Synthetic(_Section):
    """Slides that `run` draws itself where they are missing, for demos and tests."""

    folder: Path
    size: int = 4096
    seed: int = 0
    picks: int = 4
    cases: Annotated[int, Field(ge=1)] = 2
    her2: list[Annotated[Her2, BeforeValidator(parse_her2)]] = ["0", "1+", "2+", "3+"]
    """Given to the cases in turn."""

    @model_validator(mode="after")
    def _possible(self) -> Synthetic:
        from registration.synth import SynthSettings

        SynthSettings(size=self.size, seed=self.seed, picks=self.picks)
        return self


class Manifest(_Section):
    """A cohort."""

    name: str = "dataset"
    out: Path
    """Folder for everything that is made."""
    cases: Annotated[list[Case], Field(min_length=1)]
    synthetic: Synthetic | None = None
    register_: Annotated[Register, Field(alias="register")] = Register()
    patch: Patch = Patch()
    split: SplitShares = SplitShares()
    train: dict[str, Any] | None = None
    """Settings of `train`; without this section nothing is trained."""

    def case(self, name: str) -> Case:
        """Return one case by its id; :class:`KeyError` where there is none."""
        return {case.id: case for case in self.cases}[name]


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; paths come back absolute.

    Raises :class:`ManifestError` listing every mistake with its place, before any work is done.
    """
    located = read_located(path)
    if not isinstance(located.value, dict):
        raise ManifestError(f"{path}:1:1: expected `cases:` and the settings of the stages")
    problems = check_manifest(located.value, path.parent)
    try:
        manifest = Manifest.model_validate(located.value)
    except ValidationError as error:
        problems += [said(detail, located.value, Manifest) for detail in error.errors()]
        raise _refused(located, problems) from error
    if problems or located.problems:
        raise _refused(located, problems)
    return _absolute(manifest, path.resolve().parent)


def _refused(located: Located, problems: list[tuple[Path_, str]]) -> ManifestError:
    """Return one error with all problems in the order of their lines."""
    lines = []
    for where, message in [*located.problems, *problems]:
        place = located.place(where, of_key=message.startswith(ABOUT_KEYS))
        name = ".".join(str(part) for part in where) or "manifest"
        lines.append((place.line, place.column, f"{name}: {message}"))
    unique = sorted(set(lines))
    return ManifestError(
        "\n".join(f"{located.path}:{line}:{column}: {text}" for line, column, text in unique)
    )


def _absolute(manifest: Manifest, base: Path) -> Manifest:
    """Return the manifest with absolute paths."""

    def files(text: str | None) -> str | None:
        return None if text is None else ",".join(str(base / part) for part in text.split(","))

    cases = [
        case.model_copy(
            update={
                "he": base / case.he,
                "ihc": base / case.ihc,
                "landmarks": files(case.landmarks),
                "truth": files(case.truth),
            }
        )
        for case in manifest.cases
    ]
    synthetic = manifest.synthetic
    if synthetic is not None:
        synthetic = synthetic.model_copy(update={"folder": base / synthetic.folder})
    return manifest.model_copy(
        update={"out": base / manifest.out, "cases": cases, "synthetic": synthetic}
    )
