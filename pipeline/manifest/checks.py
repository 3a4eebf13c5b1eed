"""What a manifest's model cannot see: files, doubles, patients in two splits, training settings.

All of it looks at the manifest as it was read, so that one mistake does not hide another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from pydantic import ValidationError

from registration.files.words import nearest_entry, split_files
from registration.settings import Place, problem
from training.settings.config import TrainConfig
from training.settings.sources import with_recipe

Problem = tuple[Place, str]
Cases = Mapping[int, Mapping[str, Any]]

SLIDES = ("he", "ihc")
FILES = {
    "he": "H&E slide",
    "ihc": "IHC slide",
    "landmarks": "landmarks file",
    "truth": "truth file",
    "pieces": "outlines",
}


def check_manifest(value: Mapping[str, Any], base: Path) -> list[Problem]:
    """Return every mistake that concerns more than one value, or what lies outside the manifest."""
    listed = value.get("cases")
    cases = {
        number: case
        for number, case in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(case, dict)
    }
    drawn = value.get("synthetic")
    folder = drawn.get("folder") if isinstance(drawn, dict) else None
    problems = [*_same_ids(cases), *_same_slides(cases), *_patients(cases)]
    for number, case in cases.items():
        problems += _missing_files(number, case, base, None if folder is None else base / folder)
    training = value.get("train")
    if isinstance(training, dict):
        problems += _training(training)
    return problems


def nearest_file(path: Path, base: Path) -> str:
    """Suggest an existing file whose name resembles a missing one."""
    folder = path.parent
    if (posix := folder / PureWindowsPath(path.name).as_posix()) != path and posix.exists():
        return f": write {_relative(posix, base)}"
    if not folder.is_dir():
        return f" (there is no folder {_relative(folder, base)})"
    near = nearest_entry(path)
    return f". Nearest: {_relative(near, base)}" if near else ""


def _same_ids(cases: Cases) -> Iterator[Problem]:
    """Yield ids given twice; they become folders, where upper and lower case may be one."""
    first: dict[str, int] = {}
    for number, case in cases.items():
        name = case.get("id")
        if isinstance(name, str):
            other = first.setdefault(name.lower(), number)
            if other != number:
                yield ("cases", number, "id"), f"{name} is also the id of case number {other + 1}"


def _same_slides(cases: Cases) -> Iterator[Problem]:
    """Yield slides listed for two patients, or as both slides of a case."""
    first: dict[str, tuple[int, str]] = {}
    for number, case in cases.items():
        for stain in ("he", "ihc"):
            path = case.get(stain)
            if not isinstance(path, str):
                continue
            other, name = first.setdefault(path, (number, stain))
            if other == number and name != stain:
                yield ("cases", number, stain), f"the same file as the H&E slide: {path}"
            elif cases[other].get("patient") != case.get("patient"):
                yield (
                    ("cases", number, stain),
                    f"{path} is also the {FILES[name]} of case {_id(cases, other)}, of another patient",
                )


def _patients(cases: Cases) -> Iterator[Problem]:
    """Yield patients whose cases are given different splits."""
    first: dict[str, tuple[int, str]] = {}
    for number, case in cases.items():
        patient, split = case.get("patient"), case.get("split")
        if isinstance(patient, str) and isinstance(split, str):
            other, given = first.setdefault(patient, (number, split))
            if given != split:
                yield (
                    ("cases", number, "split"),
                    f"patient {patient} is in {split} here and in {given} in case {_id(cases, other)}; "
                    "all slides of a patient belong to one split",
                )


def _missing_files(
    number: int, case: Mapping[str, Any], base: Path, drawn: Path | None
) -> Iterator[Problem]:
    """Yield the files of a case that are not there; those yet to be drawn may be missing."""
    for key, what in FILES.items():
        for name in _names(key, case.get(key), base):
            path = base / name
            if path.exists() or (drawn is not None and path.is_relative_to(drawn)):
                continue
            yield (
                ("cases", number, key),
                f"{what} not found: {name}{nearest_file(path, base)}",
            )


def _id(cases: Cases, number: int) -> object:
    return cases[number].get("id")


def _names(key: str, value: object, base: Path) -> list[str]:
    """Return the file names in a value: one, two joined by a comma (but for slides), or a list."""
    if isinstance(value, str):
        names = [value] if key in SLIDES else split_files(value, base)
        return [name for name in names if name]
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _training(settings: Mapping[str, object]) -> Iterator[Problem]:
    """Yield the settings that `train` would refuse."""
    try:
        TrainConfig.model_validate(with_recipe(settings))
    except ValidationError as error:
        for detail in error.errors():
            where, message = problem(detail, TrainConfig)
            yield ("train", *where), message


def _relative(path: Path, base: Path) -> Path:
    return path.relative_to(base) if path.is_relative_to(base) else path
