"""The manifest: a cohort of slide pairs, and the settings of every stage.

Paths are relative to the manifest's folder. Unknown keys are refused. All mistakes are reported at
once, each as ``file:line:column: case p012: ihc: ...``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pipeline.errors import ManifestError
from pipeline.manifest.case_table import is_table, located_cases
from pipeline.manifest.checks import check_manifest
from pipeline.manifest.stains import expand_stains
from pipeline.manifest.yaml_positions import Located, read_located
from pipeline.patches.settings import PatchSettings
from pipeline.split import Split, SplitSettings
from pipeline.stages.settings import RegisterSettings
from registration.files.her2 import Her2, parse_her2
from registration.files.words import split_files
from registration.settings import Place, Settings, problem

ABOUT_KEYS = ("unknown", "given twice")
CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST_NAME = 200
"""Letters; file systems take 255, and patches have a place and a suffix behind it."""


def _case_name(value: object) -> str:
    if not isinstance(value, str) or not CASE_NAME.fullmatch(value):
        raise ValueError(
            f"expected letters, digits, dots, dashes and underscores, found {value!r}; "
            "the id becomes a folder and part of file names"
        )
    if len(value) > LONGEST_NAME:
        raise ValueError(f"expected at most {LONGEST_NAME} letters, found {len(value)}")
    return value


def _landmarks(value: object) -> object:
    """Return what ``--landmarks`` takes: one file, or two joined by a comma."""
    if isinstance(value, list):
        if len(value) != 2 or not all(isinstance(item, str) for item in value):
            raise ValueError("expected one file, or two: [HE.csv, IHC.csv]")
        return ",".join(value)
    return value


def _without_image(value: object) -> object:
    """Write no registered slide unless it is asked for: patches and readers go through the transform."""
    return {"image": "none", **value} if isinstance(value, dict) else value


Mpp = Annotated[float, Field(gt=0, lt=1000)]
LandmarkFiles = Annotated[str, BeforeValidator(_landmarks)]


class Case(Settings):
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
    pieces: LandmarkFiles | None = None
    """Outlines of pieces, control tissue and what to exclude, drawn in QuPath."""
    mpp_he: Mpp | None = None
    mpp_ihc: Mpp | None = None
    flip: bool | None = None
    """Whether one section lies face down; given, a registration that finds otherwise fails."""
    split: Split | None = None
    stain: Annotated[str, BeforeValidator(_case_name)] | None = None
    """Of the IHC slide, as the table of patches names it."""
    he_fixed: bool = False
    """Whether the H&E slide keeps its pixels, whatever ``register`` says: several stains share it."""


class Synthetic(Settings):
    """Slides that `run` draws itself where they are missing, for demos and tests."""

    folder: Path
    size: int = 4096
    seed: int = 0
    picks: int = 4
    cases: Annotated[int, Field(ge=1)] = 2
    her2: tuple[Annotated[Her2, BeforeValidator(parse_her2)], ...] = ("0", "1+", "2+", "3+")
    """Given to the cases in turn."""

    @model_validator(mode="after")
    def _possible(self) -> Synthetic:
        from registration.synth import SynthSettings

        SynthSettings(size=self.size, seed=self.seed, picks=self.picks)
        return self


class Manifest(Settings):
    """A cohort."""

    name: str = "dataset"
    out: Path
    """Folder for everything that is made."""
    cases: Annotated[list[Case], Field(min_length=1)]
    synthetic: Synthetic | None = None
    register_: Annotated[
        RegisterSettings, BeforeValidator(_without_image), Field(alias="register")
    ] = RegisterSettings(image="none")
    patch: PatchSettings = PatchSettings()
    split: SplitSettings = SplitSettings()
    train: dict[str, Any] | None = None
    """Settings of `train`; without this section nothing is trained."""

    def registering(self, case: Case) -> RegisterSettings:
        """Return how a case is registered."""
        if not case.he_fixed:
            return self.register_
        return self.register_.model_copy(update={"moving": "ihc"})

    def case(self, name: str) -> Case:
        """Return one case by its id; :class:`KeyError` where there is none."""
        return {case.id: case for case in self.cases}[name]


def load_manifest(path: Path, config: Path | None = None) -> Manifest:
    """Read and check a manifest; paths come back absolute.

    ``path`` may be a table of cases, whose settings then come from ``config``. Raises
    :class:`ManifestError` listing every mistake with its place, before any work is done.
    """
    if is_table(path):
        located = located_cases(path, config)
    elif config is not None:
        raise ManifestError(f"{path} holds settings itself; --config goes with a table of cases")
    else:
        located = read_located(path)
    if not isinstance(located.value, dict):
        raise ManifestError(f"{path}:1:1: expected `cases:` and the settings of the stages")
    expand_stains(located)
    problems = check_manifest(located.value, path.parent)
    try:
        manifest = Manifest.model_validate(located.value)
    except ValidationError as error:
        problems += [
            (_written(located.value, where), message)
            for where, message in (problem(detail, Manifest) for detail in error.errors())
        ]
        raise _refused(located, problems) from error
    if problems or located.problems:
        raise _refused(located, problems)
    return _absolute(manifest, path.resolve().parent)


def _written(value: Any, where: Place) -> Place:
    """Cut a place off where the manifest has nothing of that name."""
    for depth, part in enumerate(where):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return where[:depth]
    return where


def _refused(located: Located, problems: list[tuple[Place, str]]) -> ManifestError:
    """Return one error with all problems in the order of their lines."""
    lines = []
    for where, message in [*located.problems, *problems]:
        place = located.place(where, of_key=message.startswith(ABOUT_KEYS))
        path = place.path or located.path
        text = f"{_name(where, located.value)}: {message}"
        lines.append((str(path), place.line, place.column, text))
    unique = sorted(set(lines))
    return ManifestError(
        "\n".join(f"{path}:{line}:{column}: {text}" for path, line, column, text in unique)
    )


def _name(where: Place, value: Any) -> str:
    """Return a place in words: a case by its id, everything else by its keys."""
    if where[:1] == ("cases",) and len(where) > 1 and isinstance(where[1], int):
        case = value["cases"][where[1]]
        given = case.get("id") if isinstance(case, dict) else None
        inside = ".".join(str(part) for part in where[2:])
        return f"case {given or f'number {where[1] + 1}'}" + (f": {inside}" if inside else "")
    return ".".join(str(part) for part in where) or "manifest"


def _absolute(manifest: Manifest, base: Path) -> Manifest:
    """Return the manifest with absolute paths."""

    def files(text: str | None) -> str | None:
        if text is None:
            return None
        return ",".join(str(base / part) if part else "" for part in split_files(text, base))

    cases = [
        case.model_copy(
            update={
                "he": base / case.he,
                "ihc": base / case.ihc,
                "landmarks": files(case.landmarks),
                "truth": files(case.truth),
                "pieces": files(case.pieces),
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
