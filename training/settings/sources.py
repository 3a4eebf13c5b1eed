"""Where settings come from: command line before environment before file before recipe.

>>> resolve({"recipe": "paper", "epochs": "5+5"}, environment={"BCI_TRAIN_BATCH": "4"}).batch
4
"""

from __future__ import annotations

import json
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from registration.files.words import did_you_mean, excerpt
from training.errors import ConfigError
from training.settings.config import TrainConfig
from training.settings.recipes import MODEL_SETTINGS, RECIPES

PREFIX = "BCI_TRAIN_"
DEFAULT_RECIPE = "robust"
TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def resolve(
    command_line: Mapping[str, Any],
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    base: Path | None = None,
) -> TrainConfig:
    """Return the settings of a run.

    ``command_line`` holds what was given there, values still text or already parsed. The
    environment is read from variables such as ``BCI_TRAIN_BATCH``. ``base`` is the settings file of
    a run that is resumed; everything else goes before it. Raises :class:`ConfigError` for
    an unknown setting or a value that does not fit, naming where it came from.
    """
    variables = os.environ if environment is None else environment
    from_environment = {
        name[len(PREFIX) :].lower(): value
        for name, value in variables.items()
        if name.startswith(PREFIX)
    }
    given: dict[str, Any] = {}
    for source, values in (
        (str(base), {} if base is None else read_settings(base)),
        (str(file), {} if file is None else read_settings(file)),
        ("environment", from_environment),
        ("command line", command_line),
    ):
        given |= {name: parse(name, value, source) for name, value in values.items()}
    recipe = given.get("recipe", DEFAULT_RECIPE)
    if recipe not in RECIPES:
        raise ConfigError(f"recipe: {recipe!r} is none of {', '.join(RECIPES)}")
    of_model = MODEL_SETTINGS.get(str(given.get("model")), {})
    return TrainConfig(**{**RECIPES[recipe], **of_model, **given, "recipe": recipe})


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a JSON or YAML file; raises :class:`ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"settings file cannot be read: {path} ({error.strerror})") from error
    values = _from_json(text, path) if path.suffix == ".json" else _from_yaml(text, path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `setting: value` lines")
    return {str(name): value for name, value in values.items()}


def parse(name: str, value: Any, source: str) -> Any:
    """Return ``value`` as the type that the setting ``name`` has; raises :class:`ConfigError`."""
    types_of = _types()
    if name not in types_of:
        raise ConfigError(
            f"{source}: unknown setting {excerpt(name)}{did_you_mean(name, types_of)}"
        )
    try:
        return _parser(types_of[name])(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: {name}: {value!r} does not fit ({error})") from error


def _types() -> dict[str, Any]:
    """Return the type of every setting."""
    hints = get_type_hints(TrainConfig)
    return {field.name: hints[field.name] for field in fields(TrainConfig)}


def _parser(wanted: Any) -> Callable[[Any], Any]:
    """Return the function that turns text or a plain value into the type."""
    if wanted is bool:
        return _boolean
    if wanted is int:
        return _whole
    if wanted is float:
        return float
    if isinstance(wanted, types.GenericAlias):
        return _numbers(wanted)
    return str


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in TRUE | FALSE:
        return text in TRUE
    raise ValueError("expected true or false")


def _whole(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError("expected a whole number")
    return int(float(value))


def _numbers(wanted: types.GenericAlias) -> Callable[[Any], tuple[Any, ...]]:
    """Return a parser of ``1,2,3``, ``50+50`` or a list."""
    kind = wanted.__args__[0]

    def parse_all(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [part for part in value.replace("+", ",").split(",") if part.strip()]
        return tuple(_parser(kind)(part) for part in value)

    return parse_all


def _from_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}:{error.colno}: {error.msg}") from error


def _from_yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: {error.problem}") from error
