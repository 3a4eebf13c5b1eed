"""Where settings come from: command line before environment before file before recipe.

>>> resolve({"recipe": "paper", "epochs": "5+5"}, environment={"BCI_TRAIN_BATCH": "4"}).batch
4
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registration.errors import SettingsError
from registration.files.text import read_json, read_text
from registration.files.words import excerpt, yaml_problem
from training.settings.config import TrainConfig
from training.settings.recipes import MODEL_SETTINGS, RECIPES

PREFIX = "BCI_TRAIN_"
DEFAULT_RECIPE = "robust"
COMMAND_LINE = "command line"


def resolve(
    command_line: Mapping[str, Any],
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    base: Path | None = None,
) -> TrainConfig:
    """Return the settings of a run.

    ``command_line`` holds what was given there, values still text or already parsed. The
    environment is read from variables such as ``BCI_TRAIN_BATCH``. ``base`` is the settings file of
    a run that is resumed; everything else goes before it. Raises :class:`SettingsError` for
    an unknown setting or a value that does not fit, naming where it came from.
    """
    given: dict[str, Any] = {}
    names: dict[str, str] = {}
    for source, values in _sources(command_line, file, environment, base):
        given |= values
        names |= {name: f"{source}: {name}" for name in values}
    return TrainConfig.of(with_recipe(given), names=names)


def origins(
    names: Iterable[str],
    command_line: Mapping[str, Any],
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    base: Path | None = None,
) -> str:
    """Say where those of some settings that were given come from, as :func:`resolve` takes them.

    Empty where all of them stand on the command line, before a person's eyes.

    >>> origins(["batch", "crop"], {"batch": 4}, environment={"BCI_TRAIN_CROP": "512"})
    'command line (batch), environment (crop)'
    """
    found: dict[str, str] = {}
    for source, values in _sources(command_line, file, environment, base):
        found |= dict.fromkeys(values, source)
    by_source: dict[str, list[str]] = {}
    for name in names:
        if name in found:
            by_source.setdefault(found[name], []).append(name)
    if by_source.keys() <= {COMMAND_LINE}:
        return ""
    return ", ".join(f"{source} ({', '.join(given)})" for source, given in by_source.items())


def _sources(
    command_line: Mapping[str, Any],
    file: Path | None,
    environment: Mapping[str, str] | None,
    base: Path | None,
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the places where settings are given; a later one goes before those ahead of it."""
    variables = os.environ if environment is None else environment
    from_environment = {
        name[len(PREFIX) :].lower(): value
        for name, value in variables.items()
        if name.startswith(PREFIX)
    }
    return [
        (str(base), {} if base is None else read_settings(base)),
        (str(file), {} if file is None else read_settings(file)),
        ("environment", from_environment),
        (COMMAND_LINE, command_line),
    ]


def with_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with what its recipe and its model set beside it."""
    recipe = str(given.get("recipe", DEFAULT_RECIPE))
    of_model = MODEL_SETTINGS.get(str(given.get("model")), {})
    return {**RECIPES.get(recipe, {}), **of_model, "recipe": recipe, **given}


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a JSON or YAML file; raises :class:`SettingsError`."""
    if path.suffix == ".json":
        values = read_json(path, SettingsError)
    else:
        values = _from_yaml(read_text(path, SettingsError), path)
    if not isinstance(values, dict):
        raise SettingsError(f"{path} must hold `setting: value` lines")
    return {str(name): value for name, value in values.items()}


def _from_yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SettingsError(f"{path}{place}: {yaml_problem(error.problem)}") from None
    except (RecursionError, yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path} is no usable YAML: {excerpt(str(error))}") from None
