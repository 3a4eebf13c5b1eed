"""What pydantic found, in the words of someone who reads a manifest and not its model."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipeline.manifest.yaml_positions import Path_
from registration.files.words import did_you_mean, excerpt

EXPECTED = {
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "names with values",
    "model_type": "names with values",
    "path_type": "a path",
    "string_too_short": "something here",
    "too_short": "at least one case",
}

BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def said(detail: ErrorDetails, value: Any, model: type[BaseModel]) -> tuple[Path_, str]:
    """Return the place and the message of one error of :mod:`pydantic`."""
    where = tuple(part for part in detail["loc"] if _is_in(part))
    where = _existing(where, value) if detail["type"] != "missing" else where
    kind = detail["type"]
    if kind == "missing":
        return where[:-1], f"{where[-1]} is missing"
    if kind == "extra_forbidden":
        return where, f"unknown key{_nearest(str(where[-1]), _names(model, where[:-1]))}"
    if kind == "literal_error":
        wanted = detail.get("ctx", {}).get("expected", "").replace("'", "")
        return where, f"expected {wanted}, found {excerpt(detail['input'])}"
    if kind == "value_error":
        return where, detail["msg"].removeprefix("Value error, ")
    if kind in BOUNDS:
        words, key = BOUNDS[kind]
        return where, f"expected {words} {detail['ctx'][key]:g}, found {excerpt(detail['input'])}"
    if kind in EXPECTED:
        return where, f"expected {EXPECTED[kind]}, found {excerpt(detail['input'])}"
    return where, f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {excerpt(detail['input'])}"


def _is_in(part: str | int) -> bool:
    """Return whether a part of a location is the manifest's, and not a name that pydantic adds."""
    return isinstance(part, int) or "[" not in part


def _existing(where: Path_, value: Any) -> Path_:
    """Cut a location off where the manifest has nothing of that name."""
    for depth, part in enumerate(where):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return where[:depth]
    return where


def _names(model: type[BaseModel], where: Path_) -> list[str]:
    """Return the keys that may stand at a place."""
    current: Any = model
    for part in where:
        if isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in current.model_fields.items()}
        if part not in fields:
            return []
        current = _model_in(fields[part].annotation)
        if current is None:
            return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within a type such as ``list[Case]`` or ``Train | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _nearest(name: str, names: list[str]) -> str:
    known = f"; known here: {', '.join(names)}" if names else ""
    return did_you_mean(name, names) or known
